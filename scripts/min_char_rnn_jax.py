"""The textbook loop in JAX, with its update compiled as one function: the fastest CPU baseline.

Needs jax (`pip install jax`); nothing else in this project does.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

CLIP, LEARNING_RATE = 5.0, 0.1


def init(key: jax.Array, vocab_size: int, hidden: int) -> dict[str, jax.Array]:
    """Return small random weights and zero biases as {name: array}, as in Karpathy's gist."""
    shapes = {
        "Wxh": (vocab_size, hidden),
        "Whh": (hidden, hidden),
        "Why": (hidden, vocab_size),
    }
    keys = jax.random.split(key, len(shapes))
    weights = {
        name: 0.01 * jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return weights | {"bh": jnp.zeros(hidden), "by": jnp.zeros(vocab_size)}


def loss_and_state(
    weights: dict[str, jax.Array], ids: jax.Array, targets: jax.Array, h: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the loss in nats, summed over a window of ids (T,), and the last state (H,)."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x + h @ weights["Whh"])
        return h, h

    last_h, hs = jax.lax.scan(step, h, weights["Wxh"][ids] + weights["bh"])
    log_p = jax.nn.log_softmax(hs @ weights["Why"] + weights["by"])
    return -jnp.take_along_axis(log_p, targets[:, None], 1).sum(), last_h


@jax.jit
def update(
    weights: dict[str, jax.Array],
    squares: dict[str, jax.Array],
    ids: jax.Array,
    targets: jax.Array,
    h: jax.Array,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array, jax.Array]:
    """Make one update with a window: forward, backward, clipping by value, one step of Adagrad.

    Return the new weights, the new sums of squared gradients, the loss in nats and the last state.
    """
    (loss, h), grads = jax.value_and_grad(loss_and_state, has_aux=True)(weights, ids, targets, h)
    grads = jax.tree.map(lambda g: jnp.clip(g, -CLIP, CLIP), grads)
    squares = jax.tree.map(lambda s, g: s + g * g, squares, grads)
    weights = jax.tree.map(
        lambda w, g, s: w - LEARNING_RATE * g / jnp.sqrt(s + 1e-8), weights, grads, squares
    )
    return weights, squares, loss, h


class Trainer:
    """A training loop on one window of random ids, with carried state."""

    def __init__(self, vocab_size: int, hidden: int, T: int) -> None:
        self.weights = init(jax.random.key(0), vocab_size, hidden)
        self.squares = jax.tree.map(jnp.zeros_like, self.weights)
        self.h = jnp.zeros(hidden)
        ids = np.random.default_rng(0).integers(0, vocab_size, T + 1).astype(np.int32)
        self.ids, self.targets = ids[:-1], ids[1:]

    def step(self) -> float:
        """Make one update and return the loss of the window in nats."""
        self.weights, self.squares, loss, self.h = update(
            self.weights, self.squares, self.ids, self.targets, self.h
        )
        return float(loss)
