"""Is the back-propagation correct? Ask the loss itself, one number at a time.

The derivative at a parameter is the limit of (loss(p + eps) - loss(p - eps)) / (2 eps), which needs
no calculus at all, only `forward`. In float64 with eps 1e-5 it agrees with a right `backward` to
about 1e-9, while a gradient that is wrong by a tenth of a percent stands out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn import batches
from charrnn import corpus as corpora
from charrnn.arrays import Batch, Floats
from charrnn.model import Model
from charrnn.params import Params
from charrnn.randomness import Purpose, generator
from charrnn.settings import Config
from charrnn.workspace import Workspace

EPS = 1e-5
ABSOLUTE, RELATIVE = 1e-8, 1e-5  # tolerance: ABSOLUTE + RELATIVE * max(|backward|, |difference|)
STATE = "initial state"
STEPS, ROWS = 8, 3  # of the slice that a config is checked on
LOOKS = 200  # batches looked at to find one with padding


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
    dstate = model.backward(params, batch, work, grads)
    rng = np.random.default_rng(seed)

    def loss() -> float:
        return model.forward(params, batch, state, work)[0]

    arrays = [(name, params[name], grads[name]) for name in params]
    arrays.append((STATE, state, dstate))
    rows = []
    for name, array, gradient in arrays:
        count = array.size if entries is None else min(entries, array.size)
        places = rng.permutation(array.size)[:count]
        found = np.array(
            [_difference(loss, array, np.unravel_index(p, array.shape)) for p in places]
        )
        rows.append(compare(name, array.shape, gradient.reshape(-1)[places], found))
    return rows


def _difference(loss: Callable[[], float], array: Floats, place: tuple[Any, ...]) -> float:
    kept = array[place]
    array[place] = kept + EPS
    above = loss()
    array[place] = kept - EPS
    below = loss()
    array[place] = kept
    return (above - below) / (2 * EPS)


def compare(name: str, shape: tuple[int, ...], gradient: Floats, difference: Floats) -> Row:
    """One row of the table: gradients and differences of the same numbers, (N,) each."""
    apart = np.abs(gradient - difference)
    size = np.maximum(np.abs(gradient), np.abs(difference))
    relative = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    passed = bool((apart <= ABSOLUTE + RELATIVE * size).all())
    return Row(name, shape, len(gradient), float(apart.max()), float(relative.max()), passed)


@dataclass(frozen=True)
class Result:
    """A whole check."""

    rows: list[Row]
    state_effect: float  # see `state_matters`
    what: str  # the network and the slice it read

    @property
    def remembers(self) -> bool:
        """Whether the state carried in makes any difference."""
        return self.state_effect > 1e-6


def check_config(config: Config, entries: int, seed: int) -> Result:
    """Check the network of a config on a small slice of its own corpus, in float64.

    The weights are drawn U(-1/sqrt(H), 1/sqrt(H)), biases too: first weights as small as in
    min-char-rnn would make most gradients so small that an error could hide in the tolerance.
    Raises ConfigError and CorpusError.
    """
    corpus = corpora.read(config.corpus, seed)
    settings = dataclasses.replace(config.model, dtype="float64")
    train = dataclasses.replace(
        config.train,
        batch_size=min(config.train.batch_size, ROWS),
        seq_length=min(config.train.window(config.corpus.mode), STEPS),
    )
    model = Model.of(settings, len(corpus.vocab))
    rng = generator(seed, Purpose.CHECK)
    params = Params(model.shapes(), "float64")
    params.flat[:] = rng.uniform(-1, 1, params.flat.size) / np.sqrt(model.hidden)
    stream = batches.of(corpus, train, seed, "float64")
    batch = stream.next()
    for _ in range(LOOKS):  # in lines, look for a batch that has padding
        if corpus.records is None or batch.chars < batch.ids.size:
            break
        batch = stream.next()
    T, B = batch.ids.shape
    work = Workspace(model, T, B)
    model.draw_dropout(work, rng)
    state = rng.uniform(-1, 1, model.state_shape(B))
    masked = "no mask" if batch.mask is None else f"{batch.mask.size - batch.chars} masked"
    what = (
        f"{settings.cell}, {model.layers} x {model.hidden}, dropout {model.dropout:g}; "
        f"T {T}, B {B}, {masked}; float64, eps {EPS:g}, up to {entries} numbers an array"
    )
    rows = check(model, params, batch, state, work, entries, seed)
    return Result(rows, state_matters(model, params, batch, state, work), what)


def table(result: Result) -> str:
    """A check as people read it."""
    width = max(len(row.name) for row in result.rows)
    lines = [result.what, f"{'array':<{width}}  {'shape':<14}  checked  absolute  relative"]
    for row in result.rows:
        shape = " x ".join(map(str, row.shape))
        lines.append(
            f"{row.name:<{width}}  {shape:<14}  {row.checked:7}  {row.absolute:8.1e}  "
            f"{row.relative:8.1e}  {'ok' if row.passed else 'WRONG'}"
        )
    lines.append(
        f"state matters: another state changes the last logits by up to {result.state_effect:.1e}  "
        f"{'ok' if result.remembers else 'NO MEMORY'}"
    )
    failed = [row.name for row in result.rows if not row.passed]
    tolerance = f"{ABSOLUTE:g} + {RELATIVE:g} max(|backward|, |difference|)"
    verdict = f"not within {tolerance}: {', '.join(failed)}" if failed else f"within {tolerance}"
    return "\n".join([*lines, verdict])


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
