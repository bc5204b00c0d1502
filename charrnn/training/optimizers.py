"""An optimiser turns a gradient into a step: a few passes over one flat vector, block by block.

p is a parameter, g its gradient, all operations are element by element, and t counts the steps from
1. Each class states its formula in the letters of its code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Floats
from charrnn.config.schema import OptimizerConfig

BLOCK = 1 << 15  # numbers updated at a time, so that the vectors of a pass stay in the cache


def clip_by_value(gradient: Floats, limit: float) -> float:
    """Cut every number of the gradient to [-limit, limit], in place.

    Returns the largest of them before, without its sign; NaN when any of them is.
    """
    largest = _largest(gradient)
    if largest > limit:  # seldom, and cheaper to ask than to cut
        np.clip(gradient, -limit, limit, out=gradient)
    return largest


def clip_by_norm(gradient: Floats, limit: float) -> float:
    """Shrink the gradient to a Euclidean norm of `limit` if it is longer (Pascanu et al. 2013).

    Returns the norm before. When that is not finite, nothing is changed.
    """
    norm = _norm(gradient)
    if limit < norm < math.inf:
        np.multiply(gradient, gradient.dtype.type(limit / norm), gradient)
    return norm


def _largest(vector: Floats) -> float:
    """The largest number of a vector, without its sign; NaN when any of them is."""
    return max(float(vector.max()), -float(vector.min()))


def _norm(vector: Floats) -> float:
    """The Euclidean norm. The squares of float32 overflow from 2e19 on, those of float64 later."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.dot(vector, vector))
    if math.isfinite(squares):
        return math.sqrt(squares)
    largest = _largest(vector)
    if not math.isfinite(largest):
        return largest
    shares = vector / vector.dtype.type(largest)  # at most 1 each
    return largest * math.sqrt(float(np.dot(shares, shares)))


def blocks(*vectors: Floats) -> Iterator[tuple[Floats, ...]]:
    """Matching pieces of long vectors, each small enough for the cache."""
    for start in range(0, len(vectors[0]), BLOCK):
        yield tuple(vector[start : start + BLOCK] for vector in vectors)


def _update_average(average: Floats, decay: float, values: Floats) -> None:
    """Let an exponential moving average follow by one step, in place; `values` is used up."""
    values *= 1 - decay
    average *= decay
    average += values


OPTIMIZERS: dict[str, type[Optimizer]] = {}


class Optimizer(ABC):
    """Vectors that remember earlier gradients, (P,) each, and the rule of the update."""

    vector_names: ClassVar[tuple[str, ...]] = ()
    initial_value = 0.0  # what the vectors hold before the first step

    def __init_subclass__(cls) -> None:
        """Every optimiser is known by its name in lower case, as `optimizer.name` has it."""
        OPTIMIZERS[cls.__name__.lower()] = cls

    def __init__(self, config: OptimizerConfig, size: int, dtype: npt.DTypeLike) -> None:
        self.config = config
        self.state_vectors = {
            name: np.full(size, self.initial_value, dtype=dtype) for name in self.vector_names
        }

    def step(self, flat: Floats, gradient: Floats, rate: float, t: int) -> None:
        """Update `flat` (P,) in place with this learning rate; `gradient` (P,) is used up."""
        for p, g, *vectors in blocks(flat, gradient, *self.state_vectors.values()):
            self._update(p, g, vectors, rate, t)

    def restore(self, state_vectors: Mapping[str, Floats]) -> None:
        """Take what `state_vectors` once held.

        Raises ValueError for other vectors than these, and for sums of squares that cannot be.
        """
        if state_vectors.keys() != self.state_vectors.keys():
            raise ValueError("these are the vectors of another optimiser")
        for name, vector in state_vectors.items():
            if name == "squares" and vector.min() < vector.dtype.type(self.initial_value):
                raise ValueError("no sum of squares is so small")
            self.state_vectors[name][:] = vector

    @abstractmethod
    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        """The formula, on one block."""


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if that is set (Polyak 1964).

    v  = momentum v + g
    p -= rate v
    """

    vector_names = ("velocity",)

    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        (v,) = vectors
        v *= self.config.momentum
        v += g
        p -= v * rate


class Adagrad(Optimizer):
    """Steps that shrink with the squares of all gradients so far (Duchi et al. 2011).

    v += g^2
    p -= rate g / sqrt(v + 1e-8)

    The 1e-8 is in v from the start rather than added at each step.
    """

    vector_names = ("squares",)
    initial_value = 1e-8

    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        (v,) = vectors
        v += g * g
        p -= g / np.sqrt(v) * rate


class RMSprop(Optimizer):
    """Steps divided by a running size of the gradient (Tieleman and Hinton 2012).

    v  = decay v + (1 - decay) g^2
    p -= rate g / (sqrt(v) + 1e-8)
    """

    vector_names = ("squares",)

    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        (v,) = vectors
        _update_average(v, self.config.rmsprop_decay, g * g)
        p -= g / (np.sqrt(v) + 1e-8) * rate


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).

    m  = beta1 m + (1 - beta1) g
    v  = beta2 v + (1 - beta2) g^2
    p -= rate weight_decay p
    p -= rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + 1e-8)
    """

    vector_names = ("mean", "squares")

    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        m, v = vectors
        beta1, beta2 = self.config.beta1, self.config.beta2
        _update_average(v, beta2, g * g)
        _update_average(m, beta1, g)
        if self.config.weight_decay:
            p *= 1 - rate * self.config.weight_decay
        root = math.sqrt(1 - beta2**t)  # the corrections of both averages go into the step's size
        p -= m / (np.sqrt(v) + 1e-8 * root) * (rate * root / (1 - beta1**t))


class MovingAverage:
    """An exponential moving average of the weights (Polyak and Juditsky 1992).

    e += (1 - d) (p - e),  d = min(decay, t / (t + 10))

    so that a short run's average is not its first weights.
    """

    def __init__(self, decay: float, flat: Floats) -> None:
        """`flat` (P,) is e: it is updated in place."""
        self.decay = decay
        self.flat = flat

    def update(self, flat: Floats, t: int) -> None:
        """Let the average follow `flat` (P,) by one step."""
        share = 1 - min(self.decay, t / (t + 10))
        for e, p in blocks(self.flat, flat):
            e += (p - e) * share
