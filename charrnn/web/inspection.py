"""The inspection of a text: the predictions of a network and the activations of its hidden units.

Both come from one forward pass. A character is predicted before it is read; its activations are
those after it was read, as in Karpathy (2015), "The Unreasonable Effectiveness of Recurrent Neural
Networks". In a list, the newline that ends a line is predicted but not read, because the next line
starts from the zero state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn import units
from charrnn.arrays import Floats, Ints
from charrnn.evaluation.evaluator import Readout, Score
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.nn.model import Model
from charrnn.nn.workspace import Workspace

TOP_K = 5  # likeliest characters
MAX_CHARS = 20_000  # characters of a text that are inspected; all of it is scored
CHUNK_CHARS = 1024  # characters that are inspected together


@dataclass(frozen=True)
class Inspection:
    """The readout of the first N characters of a text, and the score of the whole text.

    K is `TOP_K`, or less in a small vocabulary; U is the number of hidden units of all layers, the
    lowest layer first.
    """

    text: str
    length: int  # characters of the whole text
    score: Score  # of the whole text
    bits: Floats  # (N,): surprisal, -log2 p; NaN at a character that is not scored
    ranks: Ints  # (N,): 1 is the likeliest; 0 at a character that is not scored
    likeliest: Ints  # (K, N): ids, the likeliest first
    probabilities: Floats  # (K, N): of the likeliest
    activations: Floats  # (U, N), float32; NaN at a character that is not read


def inspection_readout(model: Model) -> Readout:
    """Return a readout with rows for the nats, the rank, K ids, K probabilities and U outputs."""
    K = min(TOP_K, model.vocab_size)
    return Readout(2 + 2 * K + model.layers * model.hidden, functools.partial(_inspect, K))


def _inspect(K: int, work: Workspace) -> Floats:
    """Return the rows (2 + 2K + U, T*B) after a forward."""
    p = work.logits  # (T*B, V): the probabilities
    ranks = 1 + np.count_nonzero(p > p.take(work.flat_indices).reshape(-1, 1), axis=1)
    top = np.sort(np.argpartition(-p, K - 1, axis=1)[:, :K], axis=1)  # (T*B, K)
    order = np.argsort(-np.take_along_axis(p, top, axis=1), axis=1, kind="stable")
    likeliest = np.take_along_axis(top, order, axis=1)
    probabilities = np.take_along_axis(p, likeliest, axis=1)
    states = [layer.hs_flat.T for layer in work.layers]  # each (H, T*B)
    return np.concatenate([work.nll[None], ranks[None], likeliest.T, probabilities.T, *states])


def inspect_text(task: ScoringTask, max_chars: int = MAX_CHARS) -> Inspection:
    """Score a whole text, and return the readout of its first `max_chars` characters.

    Raises VocabError and CorpusError.
    """
    model = task.loaded.model
    K = min(TOP_K, model.vocab_size)
    beginning, length = "", 0

    def measured() -> Iterator[str]:
        nonlocal beginning, length
        for piece in task.text():
            beginning += piece[: max_chars - len(beginning)]
            length += len(piece)
            yield piece

    score = task.total_score(task.score_pieces(measured()))
    chunks = (beginning[i : i + CHUNK_CHARS] for i in range(0, len(beginning), CHUNK_CHARS))
    texts, pieces, unknown = [], [], []
    for piece in task.score_pieces(chunks, inspection_readout(model)):
        texts.append(piece.text)
        pieces.append(piece.values.astype(np.float32))
        unknown.append(piece.unknown)
    text = "".join(texts)[:max_chars]  # without the newline that scoring adds to a line cut off
    readout = np.concatenate(pieces, axis=1)[:, :max_chars]
    nats, states = readout[0], readout[2 + 2 * K :]
    predictions = np.nan_to_num(readout[1 : 2 + 2 * K])
    stream = task.settings.mode == "stream"
    included = ~np.concatenate(unknown)[:max_chars] if stream else ~np.isnan(nats)
    positions = np.flatnonzero(included)  # of the characters of the sequences
    is_read = np.array([stream or text[i] != "\n" for i in positions[:-1]], dtype=bool)
    activations = np.full_like(states, np.nan)
    # The state after a character is in the readout of the next one, which it predicts.
    activations[:, positions[:-1][is_read]] = states[:, positions[1:][is_read]]
    return Inspection(
        text,
        length,
        score,
        units.bits(nats),
        predictions[0].astype(np.intp),
        predictions[1 : 1 + K].astype(np.intp),
        predictions[1 + K :],
        activations,
    )
