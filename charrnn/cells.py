"""A cell is a recurrence over the time steps of one layer, forward and backward.

Names and shapes: T time steps, B rows of the batch, H hidden units, G gates. A cell is handed the
input's share of every gate, bias included, in `a` (T, B, G*H), and the state carried in, in
`hs[0]` (B, H). Everything that is not recurrent happens once per window in `model`.

`forward` fills `hs[1:]`, so `hs[t+1]` is the state after step t. `backward` turns `a` into
d loss / d a. Within the window that gradient is complete: every step receives, through `dh`, the
share of all later steps. Between windows only the value of the state is carried on, which is
what "truncated" back-propagation through time means.

Each step's views are cut once, when the memory is allocated: at small sizes, cutting them in the
loop would cost as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.params import Floats

New = Callable[[tuple[int, ...]], Floats]  # allocates an array of a shape


class Layer:
    """The arrays every cell has, and views of them with time and rows in one axis.

    A cell adds its own arrays, cuts its steps, and is a recurrence forward and backward.
    """

    gates: int  # G
    states: tuple[str, ...]  # what is carried from step to step

    def __init__(self, T: int, B: int, H: int, new: New) -> None:
        self.hs = new((T + 1, B, H))
        self.a = new((T, B, self.gates * H))
        self.dhs = new((T, B, H))  # d loss / d hs[1:] from the layer above
        self.dstate = new((len(self.states), B, H))  # from beyond the window, then carried in
        self.carried = (self.hs,)
        self.inputs = self.a.reshape(T * B, -1)
        self.outputs = self.hs[1:].reshape(T * B, H)
        self.befores = self.hs[:-1].reshape(T * B, H)  # the state each step started from
        self.doutputs = self.dhs.reshape(T * B, H)

    def forward(self, Whh: Floats) -> None:
        """Run the recurrence over the window. `Whh` is (H, G*H)."""
        raise NotImplementedError

    def backward(self, Whh: Floats) -> None:
        """Turn `a` into d loss / d a, and `dstate` into the gradient at the state carried in."""
        raise NotImplementedError


class RNN(Layer):
    """The tanh recurrence (Elman 1990).

        h[t] = tanh(a[t] + h[t-1] Whh)

    backward, with dh the gradient at h[t] from the layer above and from step t+1:

        da[t]   = dh * (1 - h[t]^2)
        dh[t-1] = da[t] Whh^T
    """

    gates = 1
    states = ("h",)

    def __init__(self, T: int, B: int, H: int, new: New) -> None:
        super().__init__(T, B, H, new)
        self._steps = list(zip(self.hs[:-1], self.a, self.hs[1:], strict=True))
        self._back = list(zip(self.dhs, self.a, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, tanh = np.add, np.tanh
        for h_prev, a, h in self._steps:  # each (B, H)
            h_prev.dot(Whh, h)
            add(h, a, h)
            tanh(h, h)

    def backward(self, Whh: Floats) -> None:
        add, multiply, WhhT = np.add, np.multiply, Whh.T
        inputs, outputs, dh_next = self.inputs, self.outputs, self.dstate[0]
        multiply(outputs, outputs, inputs)
        np.subtract(1, inputs, inputs)  # 1 - h^2, over the whole window at once
        for dh, da in self._back:  # each (B, H)
            add(dh, dh_next, dh)
            multiply(da, dh, da)
            da.dot(WhhT, dh_next)


CELLS: dict[str, type[Layer]] = {"rnn": RNN}
