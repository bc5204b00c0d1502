"""Runs the network on one text, one character at a time, to sample from it.

At this size every call of NumPy costs more than its arithmetic. So two things are computed once:
the input (H,) that each character contributes, and an upper bound of the logits.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats
from charrnn.nn.cells import RNN
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace


class SingleStep:
    """`Model.run` for one row and one step, for any network."""

    def __init__(self, model: Model, params: Params) -> None:
        self.model = model
        self.params = params
        # A hidden unit is at most 1 in absolute value, so no logit is larger than this.
        self.max_logit = float((abs(params["Why"]).sum(axis=0) + abs(params["by"])).max())
        self._work = Workspace(model, 1, 1)
        self._ids = np.zeros((1, 1), dtype=np.intp)
        self._state = model.zero_state(1)

    def start(self, state: Floats) -> None:
        """Set the state (L, S, 1, H) before the next character."""
        self._state = state

    def read(self, id_: int) -> Floats:
        """Return the logits (V,) after this character. The next call overwrites them."""
        self._ids[0, 0] = id_
        self._state = self.model.run(self.params, self._ids, self._state, self._work)
        logits: Floats = self._work.logits[0]
        return logits


class RNNSingleStep(SingleStep):
    """One step of an rnn of one layer, twice as fast.

    One product computes the logits and the recurrent input q of the next step:

    h         = tanh(Wxh[id] + q)
    q, logits = (h, 1) (Whh Why)
                       (bh  by )
    """

    def __init__(self, model: Model, params: Params) -> None:
        super().__init__(model, params)
        H, V = model.hidden, model.vocab_size
        self._inputs = list(params["layer0.Wxh"])  # (H,) of every character
        self._weights = np.block(
            [[params["layer0.Whh"], params["Why"]], [params["layer0.bh"], params["by"]]]
        )
        self._h1 = np.ones(H + 1, dtype=model.dtype)
        self._h = self._h1[:H]
        self._product = np.empty(H + V, dtype=model.dtype)
        self._q, self._logits = self._product[:H], self._product[H:]

    def start(self, state: Floats) -> None:
        """Set the state (1, 1, 1, H) before the next character."""
        self._h[:] = state[0, 0, 0]
        self._h1.dot(self._weights, self._product)

    def read(self, id_: int) -> Floats:
        """Return the logits (V,) after this character. The next call overwrites them."""
        h = self._h
        np.add(self._q, self._inputs[id_], h)
        np.tanh(h, h)
        self._h1.dot(self._weights, self._product)
        return self._logits


def make_step(model: Model, params: Params) -> SingleStep:
    """Return the fastest step for this network."""
    step_class = RNNSingleStep if model.cell is RNN and model.layers == 1 else SingleStep
    return step_class(model, params)
