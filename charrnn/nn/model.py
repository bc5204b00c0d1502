"""The network: the probabilities of the next character, the loss and the gradients.

    a[0]   = Wxh[0][ids] + bh[0]               rows of Wxh: the product with one-hot vectors
    a[l]   = hs[l-1] Wxh[l] + bh[l]            from the layer below, for the whole window at once
    hs[l]  = cell(a[l], Whh[l])                see `cells`
    logits = hs[L-1] Why + by                  in training with dropout on the outputs hs
    loss   = sum over the window of -ln softmax(logits)[target], averaged over the rows

Names and shapes: T time steps, B rows, V characters, H hidden units, L layers, G gates. Arrays are
time-major, (T, B, ...). Weights are (in, out), so the code reads `x @ W`: the transpose of
Karpathy's gist. The softmax is over the last axis, the V characters of one position.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Batch, Floats, Ints, Shapes
from charrnn.config.schema import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace


class Model:
    """The shapes and arithmetic of the network; parameters, state and memory are arguments."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        """Set the sizes, dropout and dtype from the config."""
        self.vocab_size = vocab_size
        self.cell = CELLS[config.cell]
        self.hidden = config.hidden
        self.layers = config.layers
        self.dtype = np.dtype(config.dtype)
        self.dropout = config.dropout
        self.variational_dropout = config.variational_dropout
        self.recurrent_dropout = config.recurrent_dropout
        self.uses_dropout = self.dropout > 0 or self.recurrent_dropout > 0  # in training
        self.names = [  # of each layer's parameters
            (f"layer{layer}.Wxh", f"layer{layer}.Whh", f"layer{layer}.bh")
            for layer in range(self.layers)
        ]

    def shapes(self) -> Shapes:
        """Return the name and shape of every parameter array."""
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
        """Return (L, S, B, H); S is 1, or 2 for a cell that also carries c."""
        return (self.layers, len(self.cell.state_names), B, self.hidden)

    def zero_state(self, B: int) -> Floats:
        """Return the state (L, S, B, H) at the start of a text."""
        return np.zeros(self.state_shape(B), dtype=self.dtype)

    def draw_dropout(self, work: Workspace, bits: np.random.PCG64, first_row: int = 0) -> None:
        """Draw the dropout masks of a training window; its rows start at batch row `first_row`."""
        work.draw_dropout(
            bits, self.dropout, self.variational_dropout, self.recurrent_dropout, first_row
        )

    def forward(
        self, params: Params, batch: Batch, state: Floats, work: Workspace
    ) -> tuple[float, Floats]:
        """Return the loss in nats, summed over time and averaged over the rows, and the new state.

        `state` (L, S, B, H) is the state carried in; it is not changed. `work` then holds the
        probabilities and the loss at each position.
        """
        new_state = self.run(params, batch.ids, state, work)
        logits, nll = work.logits, work.nll
        np.maximum.reduce(logits, axis=1, keepdims=True, out=work.max_logits)
        np.subtract(logits, work.max_logits, logits)  # the largest is 0: exp cannot overflow
        np.add(work.row_starts, batch.targets.reshape(-1), work.target_indices)
        target_logits = logits.take(work.target_indices)
        np.exp(logits, logits)
        logits.dot(work.ones_V, work.normalizers)  # the sum over characters, as a product
        np.divide(logits, work.normalizers.reshape(-1, 1), logits)  # now the probabilities
        np.log(work.normalizers, nll)
        # -ln p[target] from the shifted logits: never the log of a rounded probability
        np.subtract(nll, target_logits, nll)
        if batch.mask is not None:
            np.multiply(nll, batch.mask.reshape(-1), nll)
        work.awaits_backward = True
        return float(work.ones.dot(nll)) / work.B, new_state

    def run(self, params: Params, ids: Ints, state: Floats, work: Workspace) -> Floats:
        """Compute the logits (T*B, V) into `work.logits`, and return the new state (L, S, B, H)."""
        work.awaits_backward = False
        new_state = np.empty_like(state)
        for index, (layer, (Wxh, Whh, bh)) in enumerate(zip(work.layers, self.names, strict=True)):
            if index > 0:
                work.output_of(index - 1).dot(params[Wxh], layer.inputs)
                np.add(layer.inputs, params[bh], layer.inputs)
            elif ids.size < self.vocab_size:
                # mode="clip" saves NumPy a buffer; ids are always inside the vocabulary
                params[Wxh].take(ids.reshape(-1), axis=0, out=layer.inputs, mode="clip")
                np.add(layer.inputs, params[bh], layer.inputs)
            else:  # V <= T*B: add the bias once per character, not once per position
                inputs = np.add(params[Wxh], params[bh], work.biased_inputs)
                inputs.take(ids.reshape(-1), axis=0, out=layer.inputs, mode="clip")
            for s, carried in enumerate(layer.state_arrays):
                carried[0] = state[index, s]
            layer.forward(work.drop_recurrent(index, params[Whh]))
            for s, carried in enumerate(layer.state_arrays):
                new_state[index, s] = carried[-1]
        work.output_of(self.layers - 1).dot(params["Why"], work.logits)
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

        Returns the gradient (L, S, B, H) at the state that was carried in. `work` is that of the
        forward pass and is overwritten. Raises RuntimeError unless the last pass
        in `work` was `forward`.
        """
        if not work.awaits_backward:
            raise RuntimeError("backward has no forward pass to use: call Model.forward first")
        work.awaits_backward = False
        dlogits = work.logits  # d(-ln p[target]) / d logits = p - 1[target]
        work.flat_logits[work.target_indices] -= 1
        if batch.mask is not None:
            np.multiply(dlogits, batch.mask.reshape(-1, 1), dlogits)
        if scale != work.B:
            np.multiply(dlogits, scale / work.B, dlogits)

        work.layer_outputs[-1].T.dot(dlogits, grads["Why"])
        work.ones.dot(dlogits, grads["by"])
        dlogits.dot(params["Why"].T, work.layers[-1].doutputs)

        dstate = np.empty(self.state_shape(work.B), dtype=self.dtype)
        for index in range(self.layers - 1, -1, -1):
            layer, (Wxh, Whh, bh) = work.layers[index], self.names[index]
            if work.output_masks:
                np.multiply(layer.dhs, work.output_masks[index], layer.dhs)
            layer.dstate.fill(0)  # truncated: no gradient from after the window
            layer.backward(work.masked_Whh[index] if work.recurrent_masks else params[Whh])
            da = layer.inputs
            layer.previous_outputs.T.dot(layer.products, grads[Whh])
            if work.recurrent_masks:
                np.multiply(grads[Whh], work.recurrent_masks[index], grads[Whh])
            work.ones.dot(da, grads[bh])
            if index == 0:
                self._add_rows(batch.ids, da, grads[Wxh], work)
            else:
                work.layer_outputs[index - 1].T.dot(da, grads[Wxh])
                da.dot(params[Wxh].T, work.layers[index - 1].doutputs)
            dstate[index] = layer.dstate
        return dstate

    def _add_rows(self, ids: Ints, da: Floats, dWxh: Floats, work: Workspace) -> None:
        """Set row v of `dWxh` to the sum of the rows of `da` whose character is v."""
        work.one_hot.fill(0)
        np.add(work.row_starts, ids.reshape(-1), work.target_indices)
        work.flat_one_hot[work.target_indices] = 1
        work.one_hot.T.dot(da, dWxh)
