"""Optimizers: each turns a gradient into a step, in a few passes over one flat vector.

The passes go block by block. p is a parameter and g its gradient. All operations are element-wise,
but for the matrices of Muon, and t counts the steps from 1. The docstring of a class gives its
formula, with the names of its code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from charrnn.arrays import Floats
from charrnn.config.schema import OptimizerConfig
from charrnn.nn.parameters import Params, blocks


def clip_by_value(gradient: Floats, limit: float) -> float:
    """Clip every element of the gradient to [-limit, limit], in place.

    Returns the largest absolute value before clipping; NaN when any element is NaN.
    """
    max_abs = _max_abs(gradient)
    if max_abs > limit:  # seldom true, and the comparison is cheaper than np.clip
        np.clip(gradient, -limit, limit, out=gradient)
    return max_abs


def clip_by_norm(gradient: Floats, limit: float) -> float:
    """Scale the gradient down, in place, to a Euclidean norm of at most `limit`.

    Returns the norm before scaling. When it is not finite, the gradient does not change.
    Pascanu et al. 2013.
    """
    norm = _norm(gradient)
    if limit < norm < math.inf:
        np.multiply(gradient, gradient.dtype.type(limit / norm), gradient)
    return norm


def _max_abs(vector: Floats) -> float:
    """Return the largest absolute value of a vector; NaN when any element is NaN."""
    return max(float(vector.max()), -float(vector.min()))


def _norm(vector: Floats) -> float:
    """Return the Euclidean norm of a vector, also where its squares overflow.

    Squares of float32 overflow from 2e19 on, those of float64 from 1e154 on.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.dot(vector, vector))
    if math.isfinite(squares):
        return math.sqrt(squares)
    max_abs = _max_abs(vector)
    if not math.isfinite(max_abs):
        return max_abs
    scaled = vector / vector.dtype.type(max_abs)  # elements in [-1, 1]
    return max_abs * math.sqrt(float(np.dot(scaled, scaled)))


def _update_average(average: Floats, decay: float, values: Floats) -> None:
    """Update an exponential moving average by one step, in place; overwrites `values`."""
    values *= 1 - decay
    average *= decay
    average += values


OPTIMIZERS: dict[str, type[Optimizer]] = {}


class Optimizer(ABC):
    """An update rule, and the vectors (P,) that it keeps between steps."""

    vector_names: ClassVar[tuple[str, ...]] = ()
    initial_value = 0.0  # of every element of the vectors, before the first step

    def __init_subclass__(cls) -> None:
        """Register the optimizer by its lower-case name, which is its `optimizer.name`."""
        OPTIMIZERS[cls.__name__.lower()] = cls

    def __init__(
        self, config: OptimizerConfig, params: Params, hidden_weights: Sequence[str] = ()
    ) -> None:
        """Allocate the vectors. `hidden_weights` names the matrices between hidden units."""
        self.config = config
        self.state_vectors = {
            name: np.full_like(params.flat, self.initial_value) for name in self.vector_names
        }

    def step(self, flat: Floats, gradient: Floats, rate: float, t: int) -> None:
        """Update `flat` (P,) in place at the learning rate `rate`; overwrites `gradient` (P,)."""
        for p, g, *vectors in blocks(flat, gradient, *self.state_vectors.values()):
            self._update(p, g, vectors, rate, t)

    def restore(self, state_vectors: Mapping[str, Floats]) -> None:
        """Copy `state_vectors` of a checkpoint.

        Raises ValueError when their names differ, or a sum of squares is below its initial value.
        """
        if state_vectors.keys() != self.state_vectors.keys():
            raise ValueError("the vectors are those of another optimizer")
        for name, vector in state_vectors.items():
            if name == "squares" and vector.min() < vector.dtype.type(self.initial_value):
                raise ValueError("a sum of squares is below its initial value")
            self.state_vectors[name][:] = vector

    @abstractmethod
    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        """Update one block by the formula of the class, in place."""


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum (Polyak 1964).

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
    p -= rate g / sqrt(v)

    v starts at 1e-8, so no step needs to add it.
    """

    vector_names = ("squares",)
    initial_value = 1e-8

    def _update(self, p: Floats, g: Floats, vectors: list[Floats], rate: float, t: int) -> None:
        (v,) = vectors
        v += g * g
        p -= g / np.sqrt(v) * rate


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Tieleman and Hinton 2012).

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
        root = math.sqrt(1 - beta2**t)  # both bias corrections go into the step size
        p -= m / (np.sqrt(v) + 1e-8 * root) * (rate * root / (1 - beta1**t))


class Muon(Adam):
    """Orthogonal steps for the matrices between hidden units (Jordan et al. 2024), Adam for others.

    For a matrix p (H, G*H), with the mean m of its gradients g and Nesterov's momentum:

    m  = 0.95 m + 0.05 g
    u  = 0.95 m + 0.05 g
    p -= rate weight_decay p
    p -= rate 0.1 sqrt(G*H) orthogonalize(u)

    The root mean square of the elements of such a step is about 0.1 rate, whatever the gradient.
    """

    momentum = 0.95
    step_size = 0.1

    def __init__(
        self, config: OptimizerConfig, params: Params, hidden_weights: Sequence[str] = ()
    ) -> None:
        """Allocate the vectors. `hidden_weights` names the matrices that get orthogonal steps."""
        super().__init__(config, params, hidden_weights)
        self._arrays = [  # of the vectors: each parameter's part, and its shape if it is a matrix
            (params.parts[name], shape if name in hidden_weights else None)
            for name, shape in params.shapes.items()
        ]

    def step(self, flat: Floats, gradient: Floats, rate: float, t: int) -> None:
        """Update `flat` (P,) in place at the learning rate `rate`; overwrites `gradient` (P,)."""
        vectors = flat, gradient, *self.state_vectors.values()
        for part, shape in self._arrays:
            p, g, m, v = (vector[part] for vector in vectors)
            if shape:
                self._update_matrix(p.reshape(shape), g.reshape(shape), m.reshape(shape), rate)
            else:
                for p_block, g_block, *vector_blocks in blocks(p, g, m, v):
                    self._update(p_block, g_block, vector_blocks, rate, t)

    def _update_matrix(self, p: Floats, g: Floats, m: Floats, rate: float) -> None:
        """Update one matrix, in place."""
        g *= 1 - self.momentum
        m *= self.momentum
        m += g
        g += m * self.momentum  # g is u now
        if self.config.weight_decay:
            p *= 1 - rate * self.config.weight_decay
        p -= orthogonalize(g) * (rate * self.step_size * math.sqrt(p.shape[1]))


def orthogonalize(u: Floats) -> Floats:
    """Return about U V^T for a matrix u = U S V^T (n, m), n <= m: all singular values near 1.

    Two steps of a Newton-Schulz iteration, in which X X^T is the square of the singular values:

    X = (3.4445 - 4.775 X X^T + 2.0315 (X X^T)^2) X

    More steps bring the singular values nearer to 1, but do not lower the loss. The first X is u
    divided by an upper bound of its largest singular value. A matrix of zeros stays one.
    """
    XXT = u.dot(u.T)
    bound = math.sqrt(math.sqrt(float(np.vdot(XXT, XXT)))) or 1.0  # (sum of S^4)^(1/4)
    X = u / u.dtype.type(bound)
    XXT /= u.dtype.type(bound) * u.dtype.type(bound)
    for iteration in range(2):
        if iteration:
            XXT = X.dot(X.T)
        polynomial = 2.0315 * XXT.dot(XXT.T) - 4.775 * XXT
        np.einsum("ii->i", polynomial)[:] += 3.4445
        X = polynomial.dot(X)
    return X


class MovingAverage:
    """An exponential moving average of the weights (Polyak and Juditsky 1992).

    e += (1 - d) (p - e),  d = min(decay, t / (t + 10))

    d is smaller in the first steps, so that the initial weights do not dominate short runs.
    """

    def __init__(self, decay: float, flat: Floats) -> None:
        """Let `flat` (P,) be e, which every update changes in place."""
        self.decay = decay
        self.flat = flat

    def update(self, flat: Floats, t: int) -> None:
        """Update the average by one step towards `flat` (P,)."""
        rate = 1 - min(self.decay, t / (t + 10))
        for e, p in blocks(self.flat, flat):
            e += (p - e) * rate
