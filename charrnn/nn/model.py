"""The network: characters in, a probability for every next character out, and the gradients.

    x[0]   = Wxh[0][ids] + bh[0]               a row gathered per character: a one-hot product
    x[l]   = hs[l-1] Wxh[l] + bh[l]            the layer below, one product for the whole window
    hs[l]  = cell(x[l], Whh[l])                see `cells`
    logits = hs[L-1] Why + by                  in training, dropout on every hs that is read
    loss   = sum over the window of -ln softmax(logits)[target], averaged over the rows

Names and shapes: T time steps, B rows, V characters, H hidden units, L layers, G gates. Arrays are
time-major, (T, B, ...). Weights are (in, out), so the code reads `x @ W`: the transpose of
Karpathy's gist. The softmax runs over the last axis, the V characters of one position, whatever
the number of rows.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Batch, Floats, Ints, Shapes
from charrnn.config.schema import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace


class Model:
    """Shapes and arithmetic of the network. Weights, state and memory are handed in each time."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        """Take the sizes of the network, what it drops in training, and its number type."""
        self.vocab_size = vocab_size
        self.cell = CELLS[config.cell]
        self.hidden = config.hidden
        self.layers = config.layers
        self.dtype = np.dtype(config.dtype)
        self.dropout = config.dropout
        self.variational = config.variational
        self.recurrent_dropout = config.recurrent_dropout
        self.drops = self.dropout > 0 or self.recurrent_dropout > 0  # anything in training
        self.names = [  # of each layer's parameters
            (f"layer{layer}.Wxh", f"layer{layer}.Whh", f"layer{layer}.bh")
            for layer in range(self.layers)
        ]

    def shapes(self) -> Shapes:
        """The name and shape of every parameter array."""
        V, H, GH = self.vocab_size, self.hidden, self.cell.gates * self.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (Wxh, Whh, bh) in enumerate(self.names):
            shapes[Wxh] = (V if layer == 0 else H, GH)
            shapes[Whh] = (H, GH)
            shapes[bh] = (GH,)
        shapes["Why"] = (H, V)
        shapes["by"] = (V,)
        return shapes

    def state_shape(self, B: int) -> tuple[int, int, int, int]:
        """(L, S, B, H); S is 1, or 2 where a cell has a c."""
        return (self.layers, len(self.cell.states), B, self.hidden)

    def zero_state(self, B: int) -> Floats:
        """The state (L, S, B, H) at the start of a text."""
        return np.zeros(self.state_shape(B), dtype=self.dtype)

    def draw_dropout(self, work: Workspace, source: np.random.PCG64, first: int = 0) -> None:
        """Draw what this model drops in training, in the rows of a batch from `first` on."""
        work.draw_dropout(source, self.dropout, self.variational, self.recurrent_dropout, first)

    def forward(
        self, params: Params, batch: Batch, state: Floats, work: Workspace
    ) -> tuple[float, Floats]:
        """The loss in nats, summed over the window and averaged over the rows, and the new state.

        `state` (L, S, B, H) is the state carried in, and is left as it is. Each position's
        probabilities and loss stay in `work`.
        """
        new_state = self.run(params, batch.ids, state, work)
        logits, shift, nll = work.logits, work.shift, work.nll
        np.maximum.reduce(logits, axis=1, keepdims=True, out=shift)
        np.subtract(logits, shift, logits)  # the largest is 0: exp cannot overflow
        np.add(work.starts, batch.targets.reshape(-1), work.picks)
        target_logits = logits.take(work.picks)
        np.exp(logits, logits)
        logits.dot(work.ones_V, work.total)  # a sum over characters as a product
        np.divide(logits, work.total.reshape(-1, 1), logits)  # now the probabilities
        np.log(work.total, nll)
        # -ln p of the target, from the shifted logits: never the log of a rounded probability
        np.subtract(nll, target_logits, nll)
        if batch.mask is not None:
            np.multiply(nll, batch.mask.reshape(-1), nll)
        work.awaits_backward = True
        return float(work.ones.dot(nll)) / work.B, new_state

    def run(self, params: Params, ids: Ints, state: Floats, work: Workspace) -> Floats:
        """The network up to its logits, left in `work.logits`; returns the new state."""
        work.awaits_backward = False
        new_state = np.empty_like(state)
        for index, (layer, (Wxh, Whh, bh)) in enumerate(zip(work.layers, self.names, strict=True)):
            if index > 0:
                work.read(index - 1).dot(params[Wxh], layer.inputs)
                np.add(layer.inputs, params[bh], layer.inputs)
            elif ids.size < self.vocab_size:
                # mode="clip" spares NumPy a buffer; ids are always inside the vocabulary
                params[Wxh].take(ids.reshape(-1), axis=0, out=layer.inputs, mode="clip")
                np.add(layer.inputs, params[bh], layer.inputs)
            else:  # add the bias to each character's row once, not wherever it occurs
                rows = np.add(params[Wxh], params[bh], work.rows)
                rows.take(ids.reshape(-1), axis=0, out=layer.inputs, mode="clip")
            for s, carried in enumerate(layer.carried):
                carried[0] = state[index, s]
            layer.forward(work.recurrent(index, params[Whh]))
            for s, carried in enumerate(layer.carried):
                new_state[index, s] = carried[-1]
        work.read(self.layers - 1).dot(params["Why"], work.logits)
        np.add(work.logits, params["by"], work.logits)
        return new_state

    def backward(
        self,
        params: Params,
        batch: Batch,
        work: Workspace,
        grads: Params,
        scale: float = 1.0,
    ) -> Floats:
        """Fill `grads` with the gradient of `scale` times the loss that `forward` just returned.

        Returns the gradient (L, S, B, H) at the state that was carried in. It works in the memory
        of that forward: a second call without another one raises RuntimeError.
        """
        if not work.awaits_backward:
            raise RuntimeError("each backward needs a forward of its own: call Model.forward first")
        work.awaits_backward = False
        dlogits = work.logits  # d(-ln p[target]) / d logits = p - 1[target]
        work.flat_logits[work.picks] -= 1
        if batch.mask is not None:
            np.multiply(dlogits, batch.mask.reshape(-1, 1), dlogits)
        if scale != work.B:
            np.multiply(dlogits, scale / work.B, dlogits)

        work.reads[-1].T.dot(dlogits, grads["Why"])
        work.ones.dot(dlogits, grads["by"])
        dlogits.dot(params["Why"].T, work.layers[-1].doutputs)

        dstate = np.empty(self.state_shape(work.B), dtype=self.dtype)
        for index in range(self.layers - 1, -1, -1):
            layer, (Wxh, Whh, bh) = work.layers[index], self.names[index]
            if work.masks:
                np.multiply(layer.dhs, work.masks[index], layer.dhs)
            layer.dstate.fill(0)  # nothing comes back from beyond the window
            layer.backward(work.dropped[index] if work.kept else params[Whh])
            da = layer.inputs
            layer.befores.T.dot(layer.products, grads[Whh])
            if work.kept:
                np.multiply(grads[Whh], work.kept[index], grads[Whh])
            work.ones.dot(da, grads[bh])
            if index == 0:
                self._gather(batch.ids, da, grads[Wxh], work)
            else:
                work.reads[index - 1].T.dot(da, grads[Wxh])
                da.dot(params[Wxh].T, work.layers[index - 1].doutputs)
            dstate[index] = layer.dstate
        return dstate

    def _gather(self, ids: Ints, da: Floats, dWxh: Floats, work: Workspace) -> None:
        """Row v of `dWxh` is the sum of the rows of `da` whose character is v."""
        work.one_hot.fill(0)
        np.add(work.starts, ids.reshape(-1), work.picks)
        work.flat_one_hot[work.picks] = 1
        work.one_hot.T.dot(da, dWxh)
