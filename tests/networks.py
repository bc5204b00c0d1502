"""Small networks in float64 with large weights, and batches and states to feed them."""

import numpy as np

from charrnn.arrays import Batch
from charrnn.config.schema import ModelConfig
from charrnn.evaluation.evaluator import Score
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace

V, H, T, B = 7, 5, 6, 3


def make_model(vocab_size, cell, hidden, layers=1, dtype="float64", **settings):
    """Return a model of these sizes."""
    return Model(ModelConfig(cell, hidden, layers, dtype=dtype, **settings), vocab_size)


def network(cell="rnn", layers=1, seed=0, hidden=H, vocab_size=V, scale=0.5, outputs="top"):
    """Return a model and its parameters, biases too, drawn from N(0, scale^2)."""
    model = make_model(vocab_size, cell, hidden, layers, output_layers=outputs)
    params = Params(model.shapes(), "float64")
    params.flat[:] = np.random.default_rng(seed).normal(0.0, scale, params.flat.size)
    return model, params


def batch(T=T, B=B, seed=1, masked=False, vocab_size=V):
    """Return a batch (T, B) of random characters.

    With `masked`, row b has T - b characters, then padding.
    """
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, vocab_size, (2, T, B))
    mask = (np.arange(T).reshape(-1, 1) < T - np.arange(B)).astype(float) if masked else None
    return Batch(ids, targets, mask)


def nonzero_state(model, B=B, seed=2):
    """Return a random state (L, S, B, H), drawn from N(0, 0.25)."""
    return np.random.default_rng(seed).normal(0.0, 0.5, model.state_shape(B))


def gradients(model, params, batch, state, scale=1.0):
    """Return the loss, the gradients of the parameters and of the state, and the new state."""
    work = Workspace(model, *batch.ids.shape)
    grads = params.zeros_like()
    loss, new_state = model.forward(params, batch, state, work)
    dstate = model.backward(params, batch, work, grads, scale)
    return loss, grads, dstate, new_state


def from_textbook(weights, dtype="float64"):
    """Return the model and the parameters that the textbook loop's weights describe."""
    H, V = weights["Wxh"].shape
    model = make_model(V, "rnn", H, 1, dtype)
    params = Params(model.shapes(), dtype)
    for name, textbook_name in TEXTBOOK_NAMES.items():
        params[name][...] = weights[textbook_name].T.reshape(params[name].shape)
    return model, params


def score_stream(evaluator, ids):
    """Return the score of all of `ids` (N,) except the first, with carried state."""
    surprisals, _ = evaluator.score_sequence(ids, evaluator.model.zero_state(1))
    return Score(float(surprisals.sum()), surprisals.size)


TEXTBOOK_NAMES = {  # names of the parameters in the textbook loop
    "layer0.Wxh": "Wxh",
    "layer0.Whh": "Whh",
    "layer0.bh": "bh",
    "Why": "Why",
    "by": "by",
}
