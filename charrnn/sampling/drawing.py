"""Draws characters from logits.

    p = softmax(logits / temperature), cut to the top k, cut to the smallest set of mass p

Temperature 0 takes the likeliest character.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Floats, Ints


@dataclass(frozen=True)
class SamplingOptions:
    """How a character is drawn from the probabilities."""

    temperature: float = 1.0  # 0 or more; 0 takes the likeliest
    top_k: int | None = None  # draw only from the k likeliest
    top_p: float = 1.0  # draw only from the smallest set with this mass

    @property
    def truncates(self) -> bool:
        """Whether some characters are never drawn."""
        return self.top_k is not None or self.top_p < 1


def probabilities(logits: Floats, options: SamplingOptions) -> Floats:
    """Return the unnormalized probability (V, B) of drawing each character, for temperature > 0.

    `logits` is (B, V). Sums over characters run down the columns: NumPy adds whole rows at a time,
    which is five times as fast for 1,024 texts as a sum along each row.
    """
    p: Floats = np.array(logits.T, order="C")
    p -= p.max(axis=0)
    if options.temperature != 1:
        with np.errstate(over="ignore"):  # -inf is right for a temperature near 0
            p = p.astype(np.float64) / options.temperature
    np.exp(p, p)
    if options.truncates:
        order = np.argsort(-p, axis=0, kind="stable")
        ordered = np.take_along_axis(p, order, axis=0)
        if options.top_k is not None:
            ordered[options.top_k :] = 0
        if options.top_p < 1:
            likelier = ordered.cumsum(axis=0) - ordered  # the mass of all likelier characters
            excluded = likelier >= options.top_p * ordered.sum(axis=0)
            ordered[1:][excluded[1:]] = 0  # the likeliest stays, also where the product is 0
        np.put_along_axis(p, order, ordered, axis=0)
    return p


def sample_ids(logits: Floats, options: SamplingOptions, u: Floats) -> Ints:
    """Draw one id (B,) for each row of logits (B, V), by random numbers `u` (B,) in [0, 1)."""
    if options.temperature == 0:
        greedy: Ints = logits.argmax(axis=1)
        return greedy
    cumulative = probabilities(logits, options).astype(np.float64)
    for previous, row in itertools.pairwise(cumulative):
        np.add(previous, row, row)  # twenty times as fast as cumsum for 1,024 texts
    # The threshold is a fraction of the last sum, so rounding cannot lead beyond the last possible
    # character. The drawn id is the number of cumulative sums up to the threshold.
    drawn: Ints = np.add.reduce(cumulative <= u * cumulative[-1], axis=0, dtype=np.int64)
    return drawn


class RowSampler:
    """Draws like `sample_ids`, up to rounding, from one row of logits (V,), but much faster."""

    def __init__(
        self, options: SamplingOptions, V: int, max_logit: float, dtype: npt.DTypeLike
    ) -> None:
        """Allocate the arrays; no logit is larger than `max_logit`, so exp may need no shift."""
        self.options = options
        temperature, max_float = options.temperature, float(np.finfo(dtype).max)
        no_overflow = max_logit < min(1.0, temperature) * (math.log(max_float / V) - 1)
        self._plain = not options.truncates and no_overflow and 0 < temperature < max_float
        self._p, self._p64 = np.empty(V, dtype=dtype), np.empty(V)
        self._cumulative = np.empty(V)

    def draw(self, logits: Floats, u: float) -> int:
        """Draw one id, by a random number `u` in [0, 1)."""
        p, cumulative, temperature = self._p, self._cumulative, self.options.temperature
        if temperature == 0:
            return int(logits.argmax())
        if self._plain:
            np.exp(logits if temperature == 1 else np.divide(logits, temperature, p), p)
        else:
            p = probabilities(logits.reshape(1, -1), self.options)[:, 0]
        self._p64[:] = p
        np.add.accumulate(self._p64, 0, None, cumulative)
        return int(cumulative.searchsorted(u * cumulative.item(-1), "right"))


def surprisals(logits: Floats, ids: Ints) -> Floats:
    """Return -ln p (B,) of one character of each row, at temperature 1 without truncation."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    picked = np.take_along_axis(shifted, ids.reshape(-1, 1), axis=1)[:, 0]
    nats: Floats = np.log(np.exp(shifted).sum(axis=1)) - picked
    return nats
