"""What a network made of a text, character by character: its forecasts, and what its cells did.

Both come from one forward pass. The forecast of a character is made before it is read; the
activation that belongs to it is that after it was read, as in Karpathy (2015), "The Unreasonable
Effectiveness of Recurrent Neural Networks". In a list, the newline that ends a line is foretold
and not read, for the next line begins from the zero state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn import units
from charrnn.arrays import Floats, Ints
from charrnn.evaluation.evaluator import Figures, Score
from charrnn.evaluation.scoring_task import Subject
from charrnn.nn.model import Model
from charrnn.nn.workspace import Workspace

TOP = 5  # likeliest characters
SHOWN = 20_000  # characters of a text that are looked at; all of it is scored
CHUNK = 1024  # characters whose activations are in memory as 64-bit numbers


@dataclass(frozen=True)
class Reading:
    """The beginning of a text, N characters, and the score of all of it.

    K is `TOP`, or less in a small vocabulary; C are the hidden units of all layers, lowest first.
    """

    text: str
    length: int  # characters of the whole text
    score: Score  # of the whole text
    bits: Floats  # (N,): -log2 p; NaN at a character that is not scored
    ranks: Ints  # (N,): 1 is the likeliest
    likeliest: Ints  # (K, N): ids, the likeliest first
    probabilities: Floats  # (K, N): theirs
    activations: Floats  # (C, N), 16 bits; NaN at a character that is not read


@dataclass(eq=False)
class Beginning:
    """A text that goes by once; its first characters are kept."""

    pieces: Iterable[str]
    most: int  # characters kept
    length: int = 0  # characters gone by
    text: str = ""

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces:
            self.text += piece[: self.most - len(self.text)]
            self.length += len(piece)
            yield piece


def figures_of(model: Model) -> Figures:
    """Rows: the nats, the rank, K ids and their K probabilities, then every layer's outputs."""
    K = min(TOP, model.vocab_size)
    return Figures(2 + 2 * K + model.layers * model.hidden, functools.partial(_close_look, K))


def _close_look(K: int, work: Workspace) -> Floats:
    p = work.logits  # (T*B, V)
    ranks = 1 + np.count_nonzero(p > p.take(work.picks).reshape(-1, 1), axis=1)
    some = np.sort(np.argpartition(-p, K - 1, axis=1)[:, :K], axis=1)  # (T*B, K)
    order = np.argsort(-np.take_along_axis(p, some, axis=1), axis=1, kind="stable")
    likeliest = np.take_along_axis(some, order, axis=1)
    of_them = np.take_along_axis(p, likeliest, axis=1)
    states = [layer.outputs.T for layer in work.layers]  # each (H, T*B)
    return np.concatenate([work.nll[None], ranks[None], likeliest.T, of_them.T, *states])


def read(subject: Subject, most: int = SHOWN) -> Reading:
    """Score a whole text, and look closely at its first `most` characters.

    Raises VocabError and CorpusError.
    """
    model = subject.loaded.model
    K = min(TOP, model.vocab_size)
    beginning = Beginning(subject.text(), most)
    score = subject.total(subject.scored(beginning))
    chunks = (beginning.text[at : at + CHUNK] for at in range(0, len(beginning.text), CHUNK))
    texts, forecasts, states, unknown = [], [], [], []
    for piece in subject.scored(chunks, figures_of(model)):
        texts.append(piece.text)
        forecasts.append(piece.figures[: 2 + 2 * K].astype(np.float32))
        states.append(piece.figures[2 + 2 * K :].astype(np.float16))
        unknown.append(piece.unknown)
    text = "".join(texts)
    nats, ranks, *others = np.concatenate(forecasts, axis=1)
    stream = subject.settings.mode == "stream"
    counted = ~np.concatenate(unknown) if stream else ~np.isnan(nats)
    places = np.flatnonzero(counted)
    goes_on = np.array([stream or text[place] != "\n" for place in places[:-1]], dtype=bool)
    read, foretold = places[:-1][goes_on], places[1:][goes_on]
    before = np.concatenate(states, axis=1)  # (C, N): as each character was foretold
    activations = np.full_like(before, np.nan)
    activations[:, read] = before[:, foretold]
    N = min(len(text), most)  # a line that was cut off has got a newline of its own
    rest = np.nan_to_num(np.stack([ranks, *others]))[:, :N]
    return Reading(
        text[:N],
        beginning.length,
        score,
        units.bits(nats[:N]),
        rest[0].astype(np.intp),
        rest[1 : 1 + K].astype(np.intp),
        rest[1 + K :],
        activations[:, :N],
    )
