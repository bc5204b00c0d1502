"""The network reading one text, one character at a time, as in writing one.

At this size every call of NumPy costs more than its arithmetic, so what can be known beforehand is:
the input's share of each character, and how large a logit can be.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Floats
from charrnn.nn.cells import RNN
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace


class SingleStep:
    """Any network: `Model.run` for one row and one step."""

    def __init__(self, model: Model, params: Params) -> None:
        self.model = model
        self.params = params
        # Outputs of a cell are at most 1, so no logit is larger than this.
        self.largest = float((abs(params["Why"]).sum(axis=0) + abs(params["by"])).max())
        self._work = Workspace(model, 1, 1)
        self._ids = np.zeros((1, 1), dtype=np.intp)
        self._state = model.zero_state(1)

    def start(self, state: Floats) -> None:
        """Go on from this state (L, S, 1, H)."""
        self._state = state

    def read(self, char: int) -> Floats:
        """The logits (V,) of what follows this character; they hold until the next one."""
        self._ids[0, 0] = char
        self._state = self.model.run(self.params, self._ids, self._state, self._work)
        logits: Floats = self._work.logits[0]
        return logits


class RNNSingleStep(SingleStep):
    """An rnn of one layer, twice as fast.

    h         = tanh(Wxh[char] + q)
    q, logits = (h, 1) (Whh Why)         what the state is needed for, next and now, at once
                       (bh  by )
    """

    def __init__(self, model: Model, params: Params) -> None:
        super().__init__(model, params)
        H, V = model.hidden, model.vocab_size
        self._rows = list(params["layer0.Wxh"])  # (H,) of every character
        self._weights = np.block(
            [[params["layer0.Whh"], params["Why"]], [params["layer0.bh"], params["by"]]]
        )
        self._h1 = np.ones(H + 1, dtype=model.dtype)
        self._h = self._h1[:H]
        self._both = np.empty(H + V, dtype=model.dtype)
        self._q, self._logits = self._both[:H], self._both[H:]

    def start(self, state: Floats) -> None:
        """Go on from this state (1, 1, 1, H)."""
        self._h[:] = state[0, 0, 0]
        self._h1.dot(self._weights, self._both)

    def read(self, char: int) -> Floats:
        """The logits (V,) of what follows this character; they hold until the next one."""
        h = self._h
        np.add(self._q, self._rows[char], h)
        np.tanh(h, h)
        self._h1.dot(self._weights, self._both)
        return self._logits


def make_step(model: Model, params: Params) -> SingleStep:
    """The fastest for this network."""
    fastest = RNNSingleStep if model.cell is RNN and model.layers == 1 else SingleStep
    return fastest(model, params)
