"""An optimiser turns a gradient into a step: a few passes over one flat vector, in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charrnn.params import Floats

BLOCK = 1 << 15  # numbers updated at a time, so that the vectors of a pass stay in the cache


def clip_by_value(gradient: Floats, limit: float) -> None:
    """Cut every number of the gradient to [-limit, limit], in place."""
    if max(gradient.max(), -gradient.min()) > limit:  # seldom, and cheaper to ask than to cut
        np.clip(gradient, -limit, limit, out=gradient)


class Adagrad:
    """Steps that shrink with the squares of all gradients so far (Duchi et al. 2011).

        m += g^2
        p -= learning_rate * g / sqrt(m + 1e-8)

    The 1e-8 is in the memory from the start rather than added at each step.
    """

    slots = ("memory",)

    def __init__(self, size: int, dtype: npt.DTypeLike) -> None:
        self.memory: Floats = np.full(size, 1e-8, dtype=dtype)
        self._scratch: Floats = np.empty(min(size, BLOCK), dtype=dtype)

    def step(self, flat: Floats, gradient: Floats, learning_rate: float) -> None:
        """Update `flat` (P,) in place; `gradient` (P,) is used up."""
        rate = flat.dtype.type(learning_rate)
        for p, g, m, scratch in self._blocks(flat, gradient):
            np.multiply(g, g, scratch)
            np.add(m, scratch, m)
            np.sqrt(m, scratch)
            np.divide(g, scratch, g)
            np.multiply(g, rate, g)
            np.subtract(p, g, p)

    def _blocks(
        self, flat: Floats, gradient: Floats
    ) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        for start in range(0, len(flat), BLOCK):
            part = slice(start, start + BLOCK)
            p = flat[part]
            yield p, gradient[part], self.memory[part], self._scratch[: len(p)]


OPTIMIZERS = {"adagrad": Adagrad}
