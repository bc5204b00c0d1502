"""Small networks in float64 with weights large enough to matter, and batches to feed them."""

import numpy as np

from charrnn.arrays import Batch
from charrnn.config.schema import ModelConfig
from charrnn.evaluation.evaluator import Score
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace

V, H, T, B = 7, 5, 6, 3


def model_of(vocab_size, cell, hidden, layers=1, dtype="float64", **dropout):
    """A network of these sizes."""
    return Model(ModelConfig(cell, hidden, layers, dtype=dtype, **dropout), vocab_size)


def network(cell="rnn", layers=1, seed=0, hidden=H, vocab_size=V, scale=0.5):
    """A model and parameters drawn from N(0, scale^2), biases too."""
    model = model_of(vocab_size, cell, hidden, layers)
    params = Params(model.shapes(), "float64")
    params.flat[:] = np.random.default_rng(seed).normal(0.0, scale, params.flat.size)
    return model, params


def batch(T=T, B=B, seed=1, masked=False, vocab_size=V):
    """Random characters; with `masked`, row b is padded after its first T - b."""
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, vocab_size, (2, T, B))
    mask = (np.arange(T).reshape(-1, 1) < T - np.arange(B)).astype(float) if masked else None
    return Batch(ids, targets, mask)


def state_of(model, B=B, seed=2):
    """A state that is not zero."""
    return np.random.default_rng(seed).normal(0.0, 0.5, model.state_shape(B))


def gradients(model, params, batch, state, scale=1.0):
    """The loss, the gradients, the gradient at the state, and the new state."""
    work = Workspace(model, *batch.ids.shape)
    grads = params.zeros_like()
    loss, new_state = model.forward(params, batch, state, work)
    dstate = model.backward(params, batch, work, grads, scale)
    return loss, grads, dstate, new_state


def from_textbook(weights, dtype="float64"):
    """The same network as a dictionary of the textbook loop's weights."""
    H, V = weights["Wxh"].shape
    model = model_of(V, "rnn", H, 1, dtype)
    params = Params(model.shapes(), dtype)
    for name, letter in TEXTBOOK.items():
        params[name][...] = weights[letter].T.reshape(params[name].shape)
    return model, params


def score_of(evaluator, ids):
    """The score of all of these ids but the first, with carried state."""
    figures, _ = evaluator.follow(ids, evaluator.model.zero_state(1))
    return Score(float(figures.sum()), figures.size)


TEXTBOOK = {
    "layer0.Wxh": "Wxh",
    "layer0.Whh": "Whh",
    "layer0.bh": "bh",
    "Why": "Why",
    "by": "by",
}
