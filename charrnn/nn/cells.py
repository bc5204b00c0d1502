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
from typing import ClassVar

import numpy as np

from charrnn.arrays import Floats

New = Callable[[tuple[int, ...]], Floats]  # allocates an array of a shape


def by_gate(x: Floats, G: int) -> Floats:
    """A view of `x` (..., B, G*H) as (..., G, B, H).

    NumPy works three to four times faster on a gate that lies in one piece than on columns of a
    wider array (50 x 128 numbers: 0.6 against 2.2 microseconds), so activations are kept as
    (G, B, H), while the matrix products need (B, G*H).
    """
    view: Floats = x.reshape(*x.shape[:-1], G, -1).swapaxes(-2, -3)
    return view


CELLS: dict[str, type[Layer]] = {}


class Layer:
    """The arrays every cell has, and views of them with time and rows in one axis.

    A cell adds its own arrays, cuts its steps, and is a recurrence forward and backward. After
    `backward`, `inputs` holds the gradient at the input's share and `products` that at h Whh; in
    all cells but the gru they are the same numbers.
    """

    gates: ClassVar[int]  # G
    states: ClassVar[tuple[str, ...]]  # what is carried from step to step
    init: ClassVar[str]  # the weights that train well, see `initialization`

    def __init_subclass__(cls) -> None:
        """Every cell is known by its name in lower case, as `model.cell` has it."""
        CELLS[cls.__name__.lower()] = cls

    @classmethod
    def fill_biases(cls, bh: Floats, H: int) -> None:
        """Change the first biases (G*H,) of a layer, where zeros are not the best."""

    def __init__(self, T: int, B: int, H: int, new: New) -> None:
        self.hs = new((T + 1, B, H))
        self.a = new((T, B, self.gates * H))
        self.dhs = new((T, B, H))  # d loss / d hs[1:] from the layer above
        self.dstate = new((len(self.states), B, H))  # from beyond the window, then carried in
        self.carried: tuple[Floats, ...] = (self.hs,)
        self.half, self.one = (np.full((), x, dtype=self.hs.dtype) for x in (0.5, 1.0))
        self.inputs = self.products = self.a.reshape(T * B, -1)
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
    init = "uniform"

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
        np.subtract(self.one, inputs, inputs)  # 1 - h^2, over the whole window at once
        for dh, da in self._back:  # each (B, H)
            add(dh, dh_next, dh)
            multiply(da, dh, da)
            da.dot(WhhT, dh_next)


class GRU(Layer):
    """The gated recurrent unit (Cho et al. 2014), reset after the recurrent product.

        q[t] = h[t-1] Whh                    one product for all three gates
        z[t] = sigmoid(a_z[t] + q_z[t])      how much of the old state stays
        r[t] = sigmoid(a_r[t] + q_r[t])      how much of it the candidate sees
        n[t] = tanh(a_n[t] + r[t] q_n[t])    the candidate
        h[t] = n[t] + z[t] (h[t-1] - n[t])

    backward, with dh the gradient at h[t] from the layer above and from step t+1:

        da_z    = dh (h[t-1] - n) z (1 - z)  dq_z = da_z
        da_n    = dh (1 - z) (1 - n^2)       dq_n = da_n r
        da_r    = da_n q_n r (1 - r)         dq_r = da_r
        dh[t-1] = dh z + dq Whh^T
    """

    gates = 3
    states = ("h",)
    init = "orthogonal"

    def __init__(self, T: int, B: int, H: int, new: New) -> None:
        super().__init__(T, B, H, new)
        self.on = new((T, 3, B, H))  # z, r, n
        self.q_n = new((T, B, H))
        self.dq = new((T, B, 3 * H))
        self.products = self.dq.reshape(T * B, 3 * H)
        self._product = new((B, 3 * H))
        self._d, self._slope, self._kept = new((3, B, H)), new((2, B, H)), new((B, H))
        a, dq, hs, on = by_gate(self.a, 3), by_gate(self.dq, 3), self.hs, self.on
        steps = [(hs[t], a[t], on[t, :2], *on[t], self.q_n[t]) for t in range(T)]
        self._steps = [(*step, h) for step, h in zip(steps, hs[1:], strict=True)]
        self._back = list(zip(steps, self.dhs, dq, self.dq, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, multiply, subtract, tanh, half = np.add, np.multiply, np.subtract, np.tanh, self.half
        q = self._product
        q_zr, q_third = by_gate(q, 3)[:2], by_gate(q, 3)[2]
        for h_prev, a, zr, z, r, n, q_n, h in self._steps:  # a (3, B, H), zr (2, B, H), n (B, H)
            h_prev.dot(Whh, q)
            add(a[:2], q_zr, zr)
            multiply(zr, half, zr)  # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow
            tanh(zr, zr)
            multiply(zr, half, zr)
            add(zr, half, zr)
            q_n[...] = q_third
            multiply(r, q_n, n)
            add(n, a[2], n)
            tanh(n, n)
            subtract(h_prev, n, h)
            multiply(z, h, h)
            add(n, h, h)

    def backward(self, Whh: Floats) -> None:
        add, multiply, subtract, WhhT, one = np.add, np.multiply, np.subtract, Whh.T, self.one
        d, slope, kept, dh_next = self._d, self._slope, self._kept, self.dstate[0]
        d_zr, (d_z, d_r, d_n), one_minus_z = d[:2], d, slope[0]
        for (h_prev, a, zr, z, r, n, q_n), dh, dq, product in self._back:
            add(dh, dh_next, dh)
            multiply(dh, z, kept)
            subtract(h_prev, n, d_z)
            multiply(d_z, dh, d_z)
            multiply(n, n, d_n)
            subtract(one, d_n, d_n)
            multiply(d_n, dh, d_n)
            subtract(one, zr, slope)
            multiply(d_n, one_minus_z, d_n)  # da_n
            multiply(d_n, q_n, d_r)
            multiply(slope, zr, slope)
            multiply(d_zr, slope, d_zr)  # da_z, da_r
            a[...] = d
            multiply(d_n, r, d_n)  # dq_n
            dq[...] = d
            product.dot(WhhT, dh_next)
            add(dh_next, kept, dh_next)


class LSTM(Layer):
    """Long short-term memory with a forget gate (Hochreiter 1997, Gers et al. 2000).

        q[t] = h[t-1] Whh                    one product for all four gates
        i[t] = sigmoid(a_i[t] + q_i[t])      how much of the candidate comes in
        f[t] = sigmoid(a_f[t] + q_f[t])      how much of the old cell stays
        o[t] = sigmoid(a_o[t] + q_o[t])      how much of the cell is shown
        g[t] = tanh(a_g[t] + q_g[t])         the candidate
        c[t] = f[t] c[t-1] + i[t] g[t]
        h[t] = o[t] tanh(c[t])

    backward, with dh and dc the gradients at h[t] and c[t] from above and from step t+1:

        dc     += dh o (1 - tanh(c)^2)
        da_i    = dc g i (1 - i)
        da_f    = dc c[t-1] f (1 - f)
        da_o    = dh tanh(c) o (1 - o)
        da_g    = dc i (1 - g^2)
        dc[t-1] = dc f
        dh[t-1] = da Whh^T
    """

    gates = 4
    states = ("h", "c")
    init = "orthogonal"

    @classmethod
    def fill_biases(cls, bh: Floats, H: int) -> None:
        """Let the forget gate begin at 1: it remembers until it has learnt to forget.

        Jozefowicz et al. (2015), "An Empirical Exploration of Recurrent Network Architectures".
        """
        bh[H : 2 * H] = 1.0  # gates i, f, o, g

    def __init__(self, T: int, B: int, H: int, new: New) -> None:
        super().__init__(T, B, H, new)
        self.cs = new((T + 1, B, H))
        self.carried = (self.hs, self.cs)
        self.tanh_c = new((T, B, H))
        self.on = new((T, 4, B, H))  # i, f, o, g
        self._product = new((B, 4 * H))
        self._d, self._slope = new((4, B, H)), new((4, B, H))
        a, hs, cs, on = by_gate(self.a, 4), self.hs, self.cs, self.on
        steps = [(cs[t], a[t], on[t], on[t, :3], *on[t], self.tanh_c[t]) for t in range(T)]
        self._steps = list(zip(steps, hs[:-1], hs[1:], cs[1:], strict=True))
        self._back = list(zip(steps, self.dhs, self.a, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, multiply, tanh, half = np.add, np.multiply, np.tanh, self.half
        product = self._product
        q = by_gate(product, 4)
        for (c_prev, a, ifog, ifo, i, f, o, g, tanh_c), h_prev, h, c in self._steps:
            h_prev.dot(Whh, product)  # a, q, ifog (4, B, H); ifo (3, B, H); i ... c (B, H)
            add(a, q, ifog)
            multiply(ifo, half, ifo)  # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow
            tanh(ifog, ifog)
            multiply(ifo, half, ifo)
            add(ifo, half, ifo)
            multiply(f, c_prev, c)
            multiply(i, g, tanh_c)
            add(c, tanh_c, c)
            tanh(c, tanh_c)
            multiply(o, tanh_c, h)

    def backward(self, Whh: Floats) -> None:
        add, multiply, subtract, WhhT, one = np.add, np.multiply, np.subtract, Whh.T, self.one
        d, slope, (dh_next, dc) = self._d, self._slope, self.dstate
        (d_i, d_f, d_o, d_g), slope_ifo, slope_g = d, slope[:3], slope[3]
        for (c_prev, a, _, ifo, i, f, o, g, tanh_c), dh, product in self._back:
            add(dh, dh_next, dh)
            multiply(dh, tanh_c, d_o)
            multiply(tanh_c, tanh_c, tanh_c)
            subtract(one, tanh_c, tanh_c)
            multiply(tanh_c, o, tanh_c)
            multiply(tanh_c, dh, tanh_c)
            add(dc, tanh_c, dc)
            multiply(dc, g, d_i)
            multiply(dc, c_prev, d_f)
            multiply(dc, i, d_g)
            multiply(dc, f, dc)
            subtract(one, ifo, slope_ifo)
            multiply(slope_ifo, ifo, slope_ifo)
            multiply(g, g, slope_g)
            subtract(one, slope_g, slope_g)
            multiply(d, slope, a)  # da
            product.dot(WhhT, dh_next)
