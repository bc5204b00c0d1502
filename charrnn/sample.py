"""Text out of a model, one character at a time: each is drawn, then fed back in.

    p = softmax(logits / temperature), cut to the top k, cut to the smallest set of mass p

Temperature 0 takes the likeliest character. A model of lines starts every record from the zero
state after a newline, as it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.model import Model, Workspaces
from charrnn.params import Floats, Ints, Params
from charrnn.vocab import Vocab

PRIME_WINDOW = 256  # steps of a prime read at a time


@dataclass(frozen=True)
class Taste:
    """How a character is chosen from the probabilities."""

    temperature: float = 1.0  # 0 or more; 0 is the likeliest
    top_k: int | None = None  # only the k likeliest
    top_p: float = 1.0  # only the likeliest that make up this probability


def choose(logits: Floats, taste: Taste, rng: np.random.Generator) -> int:
    """A character drawn from the logits (V,) of one position."""
    if taste.temperature == 0:
        return int(logits.argmax())
    p = probabilities(logits, taste)
    cumulative = p.cumsum()
    # The sum may fall short of 1 by rounding: the draw is a share of what there is.
    drawn = int(cumulative.searchsorted(rng.random() * cumulative[-1], side="right"))
    return min(drawn, int(p.nonzero()[0][-1]))


def probabilities(logits: Floats, taste: Taste) -> Floats:
    """The probabilities (V,) that a character is drawn with, in float64; temperature above 0."""
    scaled = logits.astype(np.float64)
    scaled -= scaled.max()  # before the division: a tiny temperature cannot overflow
    with np.errstate(over="ignore", under="ignore"):
        scaled /= taste.temperature
        p: Floats = np.exp(scaled, out=scaled)
    if taste.top_k is not None and taste.top_k < len(p):
        kept = np.argsort(-p, kind="stable")[: taste.top_k]
        p = _only(p, kept)
    p /= p.sum()
    if taste.top_p < 1:
        order = np.argsort(-p, kind="stable")
        count = int(p[order].cumsum().searchsorted(taste.top_p)) + 1
        p = _only(p, order[:count])
        p /= p.sum()
    return p


def _only(p: Floats, kept: Ints) -> Floats:
    cut = np.zeros_like(p)
    cut[kept] = p[kept]
    return cut


class Sampler:
    """Writes text with one model. Every call of `text` starts afresh, from the zero state."""

    def __init__(self, model: Model, params: Params, vocab: Vocab, mode: str) -> None:
        self.model = model
        self.params = params
        self.vocab = vocab
        self.lines = mode == "lines"
        self._works = Workspaces(model)

    def text(
        self,
        rng: np.random.Generator,
        taste: Taste,
        prime: str = "",
        chars: int | None = None,
        lines: int | None = None,
    ) -> Iterator[str]:
        """The prime and then characters, until so many are drawn or so many lines are ended.

        With neither limit it never ends. In a model of lines every record begins with the prime.
        Raises VocabError when the prime has a character that the vocabulary lacks.
        """
        newline = self.vocab.encode("\n")[0] if "\n" in self.vocab else None
        state, first = self._begin(rng, newline)
        prime_ids = self.vocab.encode(prime, "the prime")
        drawn = ended = 0
        while True:
            yield from prime
            logits, state = self._feed(np.concatenate([first, prime_ids]), state)
            char = -1
            while char != newline or not self.lines:
                if drawn == chars or ended == lines:
                    return
                char = choose(logits, taste, rng)
                yield self.vocab.chars[char]
                drawn += 1
                ended += char == newline
                logits, state = self._feed(np.array([char]), state)
            if drawn == chars or ended == lines:
                return
            state = self.model.zero_state(1)  # the next record

    def _begin(self, rng: np.random.Generator, newline: int | None) -> tuple[Floats, Ints]:
        """The zero state, and a character that stands before the text: a newline if it can."""
        first = int(rng.integers(len(self.vocab))) if newline is None else newline
        return self.model.zero_state(1), np.array([first])

    def _feed(self, ids: Ints, state: Floats) -> tuple[Floats, Floats]:
        """Read `ids` (T,): the logits (V,) of what follows, and the new state."""
        for start in range(0, len(ids), PRIME_WINDOW):
            window = ids[start : start + PRIME_WINDOW].reshape(-1, 1)
            work = self._works.get(len(window), 1)
            state = self.model.run(self.params, window, state, work)
        return work.logits[-1], state
