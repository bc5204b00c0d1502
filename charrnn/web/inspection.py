"""The inspection of a text: the activation of every hidden unit after each character was read.

As in Karpathy (2015), "The Unreasonable Effectiveness of Recurrent Neural Networks". The newline
that ends a line of a list is not read, because the next line starts from the zero state.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats
from charrnn.evaluation.evaluator import Readout
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.nn.workspace import Workspace

CHUNK_CHARS = 1024  # characters that are inspected together


def _read_states(work: Workspace) -> Floats:
    """Return the surprisals and the hidden states of all layers, (1 + U, T*B)."""
    return np.concatenate([work.nll[None], *(layer.hs_flat.T for layer in work.layers)])


def activations(task: ScoringTask, text: str) -> Floats:
    """Return the activations (U, N) after each character of a text (N,).

    U counts the hidden units of all layers, the lowest layer first. The activation is NaN where a
    character is not read, and after the last one. Raises VocabError.
    """
    model, N = task.loaded.model, len(text)
    readout = Readout(1 + model.layers * model.hidden, _read_states)
    chunks = (text[i : i + CHUNK_CHARS] for i in range(0, N, CHUNK_CHARS))
    pieces = [*task.score_pieces(chunks, readout)]
    # Scoring adds a newline to a line that is cut off.
    unknown = np.concatenate([piece.unknown for piece in pieces])[:N]
    values = np.concatenate([piece.values.astype(np.float32) for piece in pieces], axis=1)[:, :N]
    stream, after = task.settings.mode == "stream", np.full_like(values[1:], np.nan)
    positions = np.flatnonzero(~unknown if stream else ~np.isnan(values[0]))
    is_read = np.array([stream or text[i] != "\n" for i in positions[:-1]], dtype=bool)
    # The state after a character is in the readout of the next one, which it predicts.
    after[:, positions[:-1][is_read]] = values[1:, positions[1:][is_read]]
    return after
