"""Is the back-propagation correct? Compare it with finite differences of the loss.

The derivative at a parameter p is the limit of (loss(p + eps) - loss(p - eps)) / (2 eps), which
needs only `forward`. In float64 with eps 1e-5 it agrees with a correct `backward` to about 1e-9;
a gradient that is wrong by a tenth of a percent fails.
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
    checked: int  # how many of its numbers were compared
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
    """Compare `backward` with central differences: a row per parameter array, then the state.

    `params` and `state` are float64, and are as before at the end. `entries` limits how many
    numbers of each array are compared, chosen by `seed`; None compares all.
    """
    grads = params.zeros_like()
    model.forward(params, batch, state, work)
    gradients = {**grads, STATE: model.backward(params, batch, work, grads)}
    rng = np.random.default_rng(seed)

    def loss_with(array: Floats, index: int, value: float) -> float:
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
    """Return a row of the table: gradients and differences of the same numbers, (N,) each."""
    errors = np.abs(gradients - differences)
    larger = np.maximum(np.abs(gradients), np.abs(differences))
    relative = np.divide(errors, larger, out=np.zeros_like(errors), where=larger > 0)
    passed = bool((errors <= ABSOLUTE + RELATIVE * larger).all())
    return Row(name, shape, len(gradients), float(errors.max()), float(relative.max()), passed)


def state_matters(
    model: Model, params: Params, batch: Batch, state: Floats, work: Workspace
) -> float:
    """Return how much the state carried in changes the last prediction.

    That is the largest change of a logit, against the zero state. 0 would mean that the network
    has no memory.
    """
    model.run(params, batch.ids, state, work)
    last = work.logits[-work.B :].copy()
    model.run(params, batch.ids, np.zeros_like(state), work)
    return float(np.abs(work.logits[-work.B :] - last).max())
