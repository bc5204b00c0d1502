"""Checks the gradients of a config's network on a small batch of its corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from charrnn.config.schema import Config
from charrnn.data import batches
from charrnn.data.corpus import read_corpus
from charrnn.nn.gradcheck import ABSOLUTE, EPS, RELATIVE, Row, check, state_matters
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace
from charrnn.rng import Purpose, bit_generator, generator

MAX_STEPS, MAX_ROWS = 8, 3  # of the batch that is checked
MIN_EFFECT = 1e-6  # of the initial state on a logit, if the network has a memory
MAX_BATCHES_TRIED = 200  # batches that are searched for padding


def check_config(config: Config, entries: int, seed: int) -> tuple[str, bool]:
    """Check the network of a config on a small batch of its corpus, in float64.

    `entries` limits how many numbers of each array are checked. Returns a printable table and
    whether all checks passed. Weights and biases are drawn from U(-1/sqrt(H), 1/sqrt(H)).
    Initial weights as small as in min-char-rnn would make most gradients so small that an error is
    within the tolerance. Raises ConfigError and CorpusError.
    """
    corpus = read_corpus(config.corpus, seed)
    settings = dataclasses.replace(config.model, dtype="float64")
    train = dataclasses.replace(
        config.train,
        batch_size=min(config.train.batch_size, MAX_ROWS),
        seq_length=min(config.train.window(config.corpus.mode), MAX_STEPS),
    )
    model = Model(settings, len(corpus.vocab))
    rng = generator(seed, Purpose.CHECK)
    params = Params(model.shapes(), "float64")
    params.flat[:] = rng.uniform(-1, 1, params.flat.size) / np.sqrt(model.hidden)
    stream = batches.make_batches(corpus, train, seed, "float64")
    candidates = [stream.next() for _ in range(MAX_BATCHES_TRIED)]
    batch = next((batch for batch in candidates if batch.mask is not None), candidates[0])
    T, B = batch.ids.shape
    work = Workspace(model, T, B)
    model.draw_dropout(work, bit_generator(seed, Purpose.CHECK, 1))
    state = rng.uniform(-1, 1, model.state_shape(B))
    masked = "no mask" if batch.mask is None else f"{batch.mask.size - batch.chars} masked"
    title = (
        f"{settings.cell}, {model.layers} x {model.hidden}, dropout {model.dropout:g}; "
        f"T {T}, B {B}, {masked}; float64, eps {EPS:g}, up to {entries} numbers an array"
    )
    rows = check(model, params, batch, state, work, entries, seed)
    effect = state_matters(model, params, batch, state, work)
    passed = effect > MIN_EFFECT and all(row.passed for row in rows)
    return "\n".join([title, *_lines(rows, effect)]), passed


def _lines(rows: list[Row], effect: float) -> Iterator[str]:
    """Yield a line for each array, one for the effect of the state, and the result."""
    width = max(len(row.name) for row in rows)
    yield f"{'array':<{width}}  {'shape':<14}  checked  absolute  relative"
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        yield (
            f"{row.name:<{width}}  {shape:<14}  {row.checked:7}  {row.absolute:8.1e}  "
            f"{row.relative:8.1e}  {'ok' if row.passed else 'WRONG'}"
        )
    yield (
        f"state matters: another state changes the last logits by up to {effect:.1e}  "
        f"{'ok' if effect > MIN_EFFECT else 'NO MEMORY'}"
    )
    failed = ", ".join(row.name for row in rows if not row.passed)
    tolerance = f"within {ABSOLUTE:g} + {RELATIVE:g} max(|backward|, |difference|)"
    yield f"not {tolerance}: {failed}" if failed else tolerance
