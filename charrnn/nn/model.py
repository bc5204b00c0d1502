"""The network: the probabilities of the next character, the loss and the gradients.

    a[0]   = Wxh[0][ids] + bh[0]               rows of Wxh: the product with one-hot vectors
    a[l]   = hs[l-1] Wxh[l] + bh[l]            from the layer below, for all T time steps at once
    hs[l]  = cell(a[l], Whh[l], state[l])      the hidden states of a layer, see `cells`
    logits = hs[L-1] Why + by                  or (hs[0], ..., hs[L-1]) Why + by, see below
    loss   = sum over the time steps of -ln softmax(logits)[target], averaged over the rows

With `model.output_layers: all` the output reads every layer (Graves 2013): Why is (L*H, V), and
the gradient of a lower hs[l] is the sum of that from the layer above and that from the logits.

In training, dropout masks every hs[l] that the layer above or the logits read, and recurrent
dropout masks Whh.

Names and shapes: T time steps, B rows of the batch, V characters, H hidden units, L layers, G
gates, S state arrays of a layer (h, and c in an lstm). Arrays are time-major, (T, B, ...); a name
that ends in `_flat` is a view with T and B in one axis, as in `logits` (T*B, V). Weights are (in,
out), so a product is x W; Karpathy's gist stores the transposes. The softmax is over the last axis,
the V characters of one position.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Batch, Floats, Ints, Shapes
from charrnn.config.schema import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace


class Model:
    """The shapes and arithmetic of the network; parameters, state and workspace are arguments."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        """Set the sizes, dropout and dtype from the config."""
        self.vocab_size = vocab_size
        self.cell = CELLS[config.cell]
        self.hidden = config.hidden
        self.layers = config.layers
        # The output reads this layer and those above it.
        self.first_output_layer = 0 if config.output_layers == "all" else config.layers - 1
        self.dtype = np.dtype(config.dtype)
        self.dropout = config.dropout
        self.variational_dropout = config.variational_dropout
        self.recurrent_dropout = config.recurrent_dropout
        self.uses_dropout = self.dropout > 0 or self.recurrent_dropout > 0
        self.parameter_names = [  # Wxh, Whh and bh of each layer
            (f"layer{layer}.Wxh", f"layer{layer}.Whh", f"layer{layer}.bh")
            for layer in range(self.layers)
        ]

    @property
    def hidden_weights(self) -> list[str]:
        """The names of the matrices between hidden units: Whh, and Wxh above the first layer."""
        Wxh, Whh, _ = zip(*self.parameter_names, strict=True)
        return [*Whh, *Wxh[1:]]

    def shapes(self) -> Shapes:
        """Return the name and shape of every parameter array."""
        V, H, GH = self.vocab_size, self.hidden, self.cell.gates * self.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (Wxh, Whh, bh) in enumerate(self.parameter_names):
            shapes[Wxh] = (V if layer == 0 else H, GH)
            shapes[Whh] = (H, GH)
            shapes[bh] = (GH,)
        shapes["Why"] = ((self.layers - self.first_output_layer) * H, V)
        shapes["by"] = (V,)
        return shapes

    def output_weights(self, Why: Floats) -> list[tuple[int, Floats]]:
        """Return each layer that the output reads, from the top, and its rows (H, V) of `Why`."""
        layers = range(self.layers - 1, self.first_output_layer - 1, -1)
        return list(zip(layers, Why.reshape(-1, self.hidden, self.vocab_size)[::-1], strict=True))

    def state_shape(self, B: int) -> tuple[int, int, int, int]:
        """Return (L, S, B, H)."""
        return (self.layers, len(self.cell.state_names), B, self.hidden)

    def zero_state(self, B: int) -> Floats:
        """Return the state (L, S, B, H) at the start of a text."""
        return np.zeros(self.state_shape(B), dtype=self.dtype)

    def draw_dropout(self, work: Workspace, random: np.random.PCG64, first_row: int = 0) -> None:
        """Draw the dropout masks of a window whose first row is row `first_row` of the batch."""
        shares = self.dropout, self.variational_dropout, self.recurrent_dropout
        work.draw_dropout(random, *shares, first_row)

    def forward(
        self, params: Params, batch: Batch, state: Floats, work: Workspace
    ) -> tuple[float, Floats]:
        """Return the loss in nats, summed over time and averaged over the rows, and the new state.

        `state` (L, S, B, H) is the state carried in; it is not changed. Afterwards `work.logits`
        holds the probabilities, and `work.nll` the loss of each position, 0 where it is masked.
        """
        new_state = self.run(params, batch.ids, state, work)
        logits, nll = work.logits, work.nll
        np.maximum.reduce(logits, axis=1, keepdims=True, out=work.max_logits)
        np.subtract(logits, work.max_logits, logits)  # the largest is 0: exp cannot overflow
        np.add(work.position_offsets, batch.targets.reshape(-1), work.flat_indices)
        target_logits = logits.take(work.flat_indices)
        np.exp(logits, logits)
        logits.dot(work.ones_V, work.softmax_sums)  # sums over the V characters, as a product
        np.divide(logits, work.softmax_sums.reshape(-1, 1), logits)  # now the probabilities
        np.log(work.softmax_sums, nll)
        # -ln p[target] = ln(sum of exp) - logit: ln(p) would fail where p is rounded to 0
        np.subtract(nll, target_logits, nll)
        if batch.mask is not None:
            np.multiply(nll, batch.mask.reshape(-1), nll)
        work.awaits_backward = True
        return float(work.ones.dot(nll)) / work.B, new_state

    def run(self, params: Params, ids: Ints, state: Floats, work: Workspace) -> Floats:
        """Compute the logits (T*B, V) into `work.logits`, and return the new state (L, S, B, H)."""
        work.awaits_backward = False
        new_state = np.empty_like(state)
        layers = zip(work.layers, self.parameter_names, strict=True)
        for index, (layer, (Wxh, Whh, bh)) in enumerate(layers):
            if index > 0:
                work.outputs_after_dropout(index - 1).dot(params[Wxh], layer.a_flat)
                np.add(layer.a_flat, params[bh], layer.a_flat)
            elif ids.size < self.vocab_size:
                # mode="clip" writes to `out` without a buffer; ids are inside the vocabulary anyway
                params[Wxh].take(ids.reshape(-1), axis=0, out=layer.a_flat, mode="clip")
                np.add(layer.a_flat, params[bh], layer.a_flat)
            else:  # V <= T*B: add the bias once per character, not once per position
                Wxh_plus_b = np.add(params[Wxh], params[bh], work.Wxh_plus_b)
                Wxh_plus_b.take(ids.reshape(-1), axis=0, out=layer.a_flat, mode="clip")
            for s, states in enumerate(layer.state_arrays):  # each (T+1, B, H)
                states[0] = state[index, s]
            layer.forward(work.mask_Whh(index, params[Whh]))
            for s, states in enumerate(layer.state_arrays):
                new_state[index, s] = states[-1]
        work.outputs_after_dropout(self.layers - 1)
        (top, Why), *lower = self.output_weights(params["Why"])
        work.layer_outputs[top].dot(Why, work.logits)
        for index, Why in lower:
            work.layer_outputs[index].dot(Why, work.one_hot)  # memory that is free here
            np.add(work.logits, work.one_hot, work.logits)
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

        Returns the gradient (L, S, B, H) with respect to the state carried in. `work` is that of
        the forward pass, and is overwritten; raises RuntimeError if its last pass was another.
        """
        if not work.awaits_backward:
            raise RuntimeError("backward has no forward pass to use: call Model.forward first")
        work.awaits_backward = False
        dlogits = (
            work.logits
        )  # the probabilities p: d(-ln p[target]) / d logits = p - onehot(target)
        work.flat_logits[work.flat_indices] -= 1
        if batch.mask is not None:
            np.multiply(dlogits, batch.mask.reshape(-1, 1), dlogits)
        if scale != work.B:
            np.multiply(dlogits, scale / work.B, dlogits)

        for index, dWhy in self.output_weights(grads["Why"]):
            work.layer_outputs[index].T.dot(dlogits, dWhy)
        work.ones.dot(dlogits, grads["by"])
        for index, Why in self.output_weights(params["Why"]):
            dlogits.dot(Why.T, work.layers[index].dhs_flat)

        dstate = np.empty(self.state_shape(work.B), dtype=self.dtype)
        for index in range(self.layers - 1, -1, -1):
            layer, (Wxh, Whh, bh) = work.layers[index], self.parameter_names[index]
            if work.output_masks:
                np.multiply(layer.dhs, work.output_masks[index], layer.dhs)
            layer.dstate.fill(0)  # truncated: no gradient comes from later windows
            layer.backward(work.masked_Whh[index] if work.recurrent_masks else params[Whh])
            da = layer.a_flat  # overwritten by `backward`
            layer.hs_prev_flat.T.dot(layer.dq_flat, grads[Whh])
            if work.recurrent_masks:
                np.multiply(grads[Whh], work.recurrent_masks[index], grads[Whh])
            work.ones.dot(da, grads[bh])
            if index == 0:
                self._fill_Wxh_gradient(batch.ids, da, grads[Wxh], work)
            else:
                work.layer_outputs[index - 1].T.dot(da, grads[Wxh])
                below = work.layers[index - 1].dhs_flat
                if index > self.first_output_layer:  # `below` holds the gradient from the logits
                    da.dot(params[Wxh].T, work.dhs_above)
                    np.add(below, work.dhs_above, below)
                else:
                    da.dot(params[Wxh].T, below)
            dstate[index] = layer.dstate
        return dstate

    def _fill_Wxh_gradient(self, ids: Ints, da: Floats, dWxh: Floats, work: Workspace) -> None:
        """Set row v of `dWxh` to the sum of `da` over the positions whose input character is v."""
        work.one_hot.fill(0)
        np.add(work.position_offsets, ids.reshape(-1), work.flat_indices)
        work.flat_one_hot[work.flat_indices] = 1
        work.one_hot.T.dot(da, dWxh)
