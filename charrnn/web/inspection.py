"""What a network made of a text, character by character: its forecasts, and what its cells did.

Both come from one forward pass. The forecast of a character is made before it is read; the
activation that belongs to it is that after it was read, as in Karpathy (2015), "The Unreasonable
Effectiveness of Recurrent Neural Networks". In a list, the newline that ends a line is foretold
and not read, for the next line begins from the zero state.
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
MAX_CHARS = 20_000  # characters of a text that are looked at; all of it is scored
CHUNK_CHARS = 1024  # characters that are looked at together


@dataclass(frozen=True)
class Inspection:
    """The beginning of a text, N characters, and the score of all of it.

    K is `TOP_K`, or less in a small vocabulary; C are the hidden units of all layers, lowest first.
    """

    text: str
    length: int  # characters of the whole text
    score: Score  # of the whole text
    bits: Floats  # (N,): -log2 p; NaN at a character that is not scored
    ranks: Ints  # (N,): 1 is the likeliest
    likeliest: Ints  # (K, N): ids, the likeliest first
    probabilities: Floats  # (K, N): theirs
    activations: Floats  # (C, N), 32 bits; NaN at a character that is not read


def inspection_readout(model: Model) -> Readout:
    """Rows: the nats, the rank, K ids and their K probabilities, then every layer's outputs."""
    K = min(TOP_K, model.vocab_size)
    return Readout(2 + 2 * K + model.layers * model.hidden, functools.partial(_inspect, K))


def _inspect(K: int, work: Workspace) -> Floats:
    p = work.logits  # (T*B, V)
    ranks = 1 + np.count_nonzero(p > p.take(work.target_indices).reshape(-1, 1), axis=1)
    some = np.sort(np.argpartition(-p, K - 1, axis=1)[:, :K], axis=1)  # (T*B, K)
    order = np.argsort(-np.take_along_axis(p, some, axis=1), axis=1, kind="stable")
    likeliest = np.take_along_axis(some, order, axis=1)
    of_them = np.take_along_axis(p, likeliest, axis=1)
    states = [layer.outputs.T for layer in work.layers]  # each (H, T*B)
    return np.concatenate([work.nll[None], ranks[None], likeliest.T, of_them.T, *states])


def inspect_text(task: ScoringTask, most: int = MAX_CHARS) -> Inspection:
    """Score a whole text, and look closely at its first `most` characters.

    Raises VocabError and CorpusError.
    """
    model = task.loaded.model
    K = min(TOP_K, model.vocab_size)
    beginning, length = "", 0

    def measured() -> Iterator[str]:
        nonlocal beginning, length
        for piece in task.text():
            beginning += piece[: most - len(beginning)]
            length += len(piece)
            yield piece

    score = task.total_score(task.score_pieces(measured()))
    chunks = (beginning[at : at + CHUNK_CHARS] for at in range(0, len(beginning), CHUNK_CHARS))
    texts, pieces, unknown = [], [], []
    for piece in task.score_pieces(chunks, inspection_readout(model)):
        texts.append(piece.text)
        pieces.append(piece.values.astype(np.float32))
        unknown.append(piece.unknown)
    text = "".join(texts)[:most]  # a line that was cut off has got a newline of its own
    readout = np.concatenate(pieces, axis=1)[:, :most]
    nats, forecasts, states = (
        readout[0],
        np.nan_to_num(readout[1 : 2 + 2 * K]),
        readout[2 + 2 * K :],
    )
    stream = task.settings.mode == "stream"
    counted = ~np.concatenate(unknown)[:most] if stream else ~np.isnan(nats)
    places = np.flatnonzero(counted)
    goes_on = np.array([stream or text[place] != "\n" for place in places[:-1]], dtype=bool)
    activations = np.full_like(states, np.nan)
    activations[:, places[:-1][goes_on]] = states[:, places[1:][goes_on]]  # as it was foretold
    return Inspection(
        text,
        length,
        score,
        units.bits(nats),
        forecasts[0].astype(np.intp),
        forecasts[1 : 1 + K].astype(np.intp),
        forecasts[1 + K :],
        activations,
    )
