"""Is the back-propagation correct? Ask the loss itself, one number at a time.

The derivative at a parameter is the limit of (loss(p + eps) - loss(p - eps)) / (2 eps), which needs
no calculus at all, only `forward`. In float64 with eps 1e-5 it agrees with a right `backward` to
about 1e-9, while a gradient that is wrong by a tenth of a percent stands out.
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
    """How far `backward` and the differences of one array are apart, at worst."""

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


def _compare(name: str, shape: tuple[int, ...], gradient: Floats, difference: Floats) -> Row:
    """Return a row of the table: gradients and differences of the same numbers, (N,) each."""
    apart = np.abs(gradient - difference)
    size = np.maximum(np.abs(gradient), np.abs(difference))
    relative = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    passed = bool((apart <= ABSOLUTE + RELATIVE * size).all())
    return Row(name, shape, len(gradient), float(apart.max()), float(relative.max()), passed)


def state_matters(
    model: Model, params: Params, batch: Batch, state: Floats, work: Workspace
) -> float:
    """How much the state carried in changes the last prediction: largest difference of a logit.

    Zero would mean that the network has no memory at all.
    """
    model.run(params, batch.ids, state, work)
    last = work.logits[-work.B :].copy()
    model.run(params, batch.ids, np.zeros_like(state), work)
    return float(np.abs(work.logits[-work.B :] - last).max())
