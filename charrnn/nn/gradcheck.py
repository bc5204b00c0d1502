"""A comparison of the gradients of `backward` with finite differences of the loss.

The derivative at a parameter p is the limit of (loss(p + eps) - loss(p - eps)) / (2 eps), which
needs only `forward`. In float64 with eps 1e-5 it agrees with a correct `backward` to about 1e-9;
a gradient with an error of a tenth of a percent fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Batch, Floats
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace

EPS = 1e-5
ABSOLUTE, RELATIVE = 1e-8, 1e-5  # tolerance: ABSOLUTE + RELATIVE * max(|backward|, |difference|)
STATE = "initial state"


@dataclass(frozen=True)
class Row:
    """The largest differences between `backward` and finite differences in one array."""

    name: str
    shape: tuple[int, ...]
    checked: int  # how many numbers of the array were compared
    absolute: float  # largest |backward - difference|
    relative: float  # largest |backward - difference| / max(|backward|, |difference|)
    passed: bool


def check(
    model: Model,
    params: Params,
    batch: Batch,
    state: Floats,
    work: Workspace,
    entries: int | None = None,
    seed: int = 0,
) -> list[Row]:
    """Return the differences between `backward` and central differences, a row per array.

    The rows are the parameter arrays, then the state. `params` and `state` are float64 and are
    restored at the end. At most `entries` numbers of each array are compared, chosen at random by
    `seed`; None compares all.
    """
    grads = params.zeros_like()
    model.forward(params, batch, state, work)
    gradients = {**grads, STATE: model.backward(params, batch, work, grads)}
    rng = np.random.default_rng(seed)

    def loss_with(array: Floats, index: int, value: float) -> float:
        """Return the loss with one number of an array replaced."""
        array.flat[index] = value
        return model.forward(params, batch, state, work)[0]

    rows = []
    for name, array in {**params, STATE: state}.items():
        indices = rng.permutation(array.size)[:entries]
        differences = np.empty(len(indices))
        for n, index in enumerate(indices):
            value = array.flat[index]
            above, below = (loss_with(array, index, value + step) for step in (EPS, -EPS))
            array.flat[index] = value
            differences[n] = (above - below) / (2 * EPS)
        rows.append(_compare(name, array.shape, gradients[name].flat[indices], differences))
    return rows


def _compare(name: str, shape: tuple[int, ...], gradients: Floats, differences: Floats) -> Row:
    """Return the row of an array from its gradients (N,) and finite differences (N,)."""
    errors = np.abs(gradients - differences)
    larger = np.maximum(np.abs(gradients), np.abs(differences))
    relative = np.divide(errors, larger, out=np.zeros_like(errors), where=larger > 0)
    passed = bool((errors <= ABSOLUTE + RELATIVE * larger).all())
    return Row(name, shape, len(gradients), float(errors.max()), float(relative.max()), passed)


def state_matters(
    model: Model, params: Params, batch: Batch, state: Floats, work: Workspace
) -> float:
    """Return the largest change of a logit of the last step between `state` and the zero state.

    0 means that the network has no memory.
    """
    model.run(params, batch.ids, state, work)
    logits = work.logits[-work.B :].copy()  # (B, V)
    model.run(params, batch.ids, np.zeros_like(state), work)
    return float(np.abs(work.logits[-work.B :] - logits).max())
