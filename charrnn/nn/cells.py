"""A cell is a recurrence over the time steps of one layer, forward and backward.

Names and shapes: T time steps, B rows of the batch, H hidden units, G gates. `model` computes the
input part of every gate for the whole window, `a = x Wxh + bh` (T, B, G*H), and puts the state
carried in into `hs[0]` (B, H). A cell adds only what is recurrent.

`forward` fills `hs[1:]`, so `hs[t+1]` is the state after step t. `backward` overwrites `a` with
da = d loss / d a. Within the window that gradient is complete: step t receives, through dh, the
gradient of all later steps. Between windows only the value of the state is passed on, not its
gradient: this is "truncated" back-propagation through time.

The views of every step are created once, when the memory is allocated: at small sizes, slicing in
the loop would take as long as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from charrnn.arrays import Floats

Allocate = Callable[[tuple[int, ...]], Floats]  # allocates an array of a shape


def split_gates(x: Floats, G: int) -> Floats:
    """Return a view of `x` (..., B, G*H) as (..., G, B, H).

    NumPy works three to four times faster on a contiguous gate than on columns of a wider array
    (50 x 128 numbers: 0.6 against 2.2 microseconds), so activations are stored as (G, B, H), while
    the matrix products need (B, G*H).
    """
    view: Floats = x.reshape(*x.shape[:-1], G, -1).swapaxes(-2, -3)
    return view


CELLS: dict[str, type[Layer]] = {}


class Layer:
    """The arrays that every cell has, and views of them with time and rows in one axis.

    A subclass adds its own arrays and the views of each step, and implements `forward` and
    `backward`. After `backward`, `a_flat` holds da, the gradient at x Wxh + bh, and `dq_flat` dq,
    the gradient at h[t-1] Whh; they are the same array except in the gru.
    """

    gates: ClassVar[int]  # G
    state_names: ClassVar[tuple[str, ...]]  # the arrays carried from step to step
    default_init: ClassVar[str]  # of the weights, see `initialization`

    def __init_subclass__(cls) -> None:
        """Register the cell under its name in lower case, its value in `model.cell`."""
        CELLS[cls.__name__.lower()] = cls

    @classmethod
    def fill_biases(cls, bh: Floats, H: int) -> None:
        """Set the initial biases `bh` (G*H,) of a layer that are not 0."""

    def __init__(self, T: int, B: int, H: int, allocate: Allocate) -> None:
        self.hs = allocate((T + 1, B, H))
        self.a = allocate((T, B, self.gates * H))
        self.dhs = allocate((T, B, H))  # d loss / d hs[1:] from the layer above
        # d loss / d state: after the window before `backward`, at its start afterwards
        self.dstate = allocate((len(self.state_names), B, H))
        self.state_arrays: tuple[Floats, ...] = (self.hs,)
        self.half, self.one = (np.full((), x, dtype=self.hs.dtype) for x in (0.5, 1.0))
        self.a_flat = self.dq_flat = self.a.reshape(T * B, -1)
        self.hs_flat = self.hs[1:].reshape(T * B, H)
        self.hs_prev_flat = self.hs[:-1].reshape(T * B, H)  # h[t-1] of every step
        self.dhs_flat = self.dhs.reshape(T * B, H)

    def forward(self, Whh: Floats) -> None:
        """Run the recurrence over the window. `Whh` is (H, G*H)."""
        raise NotImplementedError

    def backward(self, Whh: Floats) -> None:
        """Overwrite `a` with da, and `dstate` with the gradient at the state carried in."""
        raise NotImplementedError


class RNN(Layer):
    """The tanh recurrence (Elman 1990), that of min-char-rnn.

        h[t]    = tanh(a[t] + h[t-1] Whh)        a = x Wxh + bh

    backward, with dh the gradient at h[t] from the layer above plus dh_next from step t+1:

        da[t]   = dh * (1 - h[t]^2)              the gist's dhraw
        dh_next = da[t] Whh^T
    """

    gates = 1
    state_names = ("h",)
    default_init = "uniform"

    def __init__(self, T: int, B: int, H: int, allocate: Allocate) -> None:
        super().__init__(T, B, H, allocate)
        self._forward_steps = list(zip(self.hs[:-1], self.a, self.hs[1:], strict=True))
        self._backward_steps = list(zip(self.dhs, self.a, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, tanh = np.add, np.tanh
        for h_prev, a, h in self._forward_steps:  # each (B, H)
            h_prev.dot(Whh, h)
            add(h, a, h)
            tanh(h, h)

    def backward(self, Whh: Floats) -> None:
        add, multiply, WhhT, dh_next = np.add, np.multiply, Whh.T, self.dstate[0]
        # The memory of `a` is reused: it holds 1 - h^2 of every step, and then da.
        dtanh = self.a_flat
        multiply(self.hs_flat, self.hs_flat, dtanh)
        np.subtract(self.one, dtanh, dtanh)
        for dh, da in self._backward_steps:  # each (B, H); da holds 1 - h[t]^2 at first
            add(dh, dh_next, dh)
            multiply(dh, da, da)
            da.dot(WhhT, dh_next)


class GRU(Layer):
    """The gated recurrent unit (Cho et al. 2014), reset after the recurrent product.

        q[t] = h[t-1] Whh                    one product for all three gates
        z[t] = sigmoid(a_z[t] + q_z[t])      update gate: the share of the old state that is kept
        r[t] = sigmoid(a_r[t] + q_r[t])      reset gate: its share in the candidate
        n[t] = tanh(a_n[t] + r[t] q_n[t])    the candidate
        h[t] = n[t] + z[t] (h[t-1] - n[t])   = (1 - z) n + z h[t-1]

    backward, with dh the gradient at h[t] from the layer above plus that from step t+1:

        da_z    = dh (h[t-1] - n) z (1 - z)  dq_z = da_z
        da_n    = dh (1 - z) (1 - n^2)       dq_n = da_n r
        da_r    = da_n q_n r (1 - r)         dq_r = da_r
        dh[t-1] = dh z + dq Whh^T
    """

    gates = 3
    state_names = ("h",)
    default_init = "orthogonal"

    def __init__(self, T: int, B: int, H: int, allocate: Allocate) -> None:
        super().__init__(T, B, H, allocate)
        self.activations = allocate((T, 3, B, H))  # z, r, n
        self.q_n = allocate((T, B, H))
        self.dq = allocate((T, B, 3 * H))
        self.dq_flat = self.dq.reshape(T * B, 3 * H)
        self._q, self._dh_z = allocate((B, 3 * H)), allocate((B, H))
        self._d, self._slope = allocate((3, B, H)), allocate((2, B, H))
        a, dq, gates = split_gates(self.a, 3), split_gates(self.dq, 3), self.activations
        steps = [(self.hs[t], a[t], gates[t, :2], *gates[t], self.q_n[t]) for t in range(T)]
        self._forward_steps = [(*step, h) for step, h in zip(steps, self.hs[1:], strict=True)]
        self._backward_steps = list(zip(steps, self.dhs, dq, self.dq, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, multiply, subtract, tanh, half = np.add, np.multiply, np.subtract, np.tanh, self.half
        q, gate_q = self._q, split_gates(self._q, 3)
        q_zr, q_third = gate_q[:2], gate_q[2]
        # a (3, B, H), zr (2, B, H); z, r, n, q_n, h and h_prev (B, H)
        for h_prev, a, zr, z, r, n, q_n, h in self._forward_steps:
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
        d, slope, dh_z, dh_next = self._d, self._slope, self._dh_z, self.dstate[0]
        d_zr, (d_z, d_r, d_n), one_minus_z = d[:2], d, slope[0]  # d becomes da, then dq
        for (h_prev, a, zr, z, r, n, q_n), dh, dq, dq_flat in self._backward_steps:
            add(dh, dh_next, dh)
            multiply(dh, z, dh_z)
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
            a[...] = d  # d is da here
            multiply(d_n, r, d_n)  # dq_n: d is dq now
            dq[...] = d
            dq_flat.dot(WhhT, dh_next)
            add(dh_next, dh_z, dh_next)


class LSTM(Layer):
    """Long short-term memory with a forget gate (Hochreiter 1997, Gers et al. 2000).

        q[t] = h[t-1] Whh                    one product for all four gates
        i[t] = sigmoid(a_i[t] + q_i[t])      input gate: the share of the candidate that is added
        f[t] = sigmoid(a_f[t] + q_f[t])      forget gate: the share of c[t-1] that is kept
        o[t] = sigmoid(a_o[t] + q_o[t])      output gate: the share of tanh(c) in h
        g[t] = tanh(a_g[t] + q_g[t])         the candidate
        c[t] = f[t] c[t-1] + i[t] g[t]       the cell state
        h[t] = o[t] tanh(c[t])

    backward, with dh and dc the gradients at h[t] and c[t] from the layer above and step t+1:

        dc     += dh o (1 - tanh(c)^2)
        da_i    = dc g i (1 - i)
        da_f    = dc c[t-1] f (1 - f)
        da_o    = dh tanh(c) o (1 - o)
        da_g    = dc i (1 - g^2)
        dc[t-1] = dc f
        dh[t-1] = da Whh^T
    """

    gates = 4
    state_names = ("h", "c")
    default_init = "orthogonal"

    @classmethod
    def fill_biases(cls, bh: Floats, H: int) -> None:
        """Set the forget gate's bias to 1, so that the cell state is kept at first.

        Jozefowicz et al. (2015), "An Empirical Exploration of Recurrent Network Architectures".
        """
        bh[H : 2 * H] = 1.0  # gates i, f, o, g

    def __init__(self, T: int, B: int, H: int, allocate: Allocate) -> None:
        super().__init__(T, B, H, allocate)
        self.cs = allocate((T + 1, B, H))
        self.state_arrays = (self.hs, self.cs)
        self.tanh_c = allocate((T, B, H))
        self.activations = allocate((T, 4, B, H))  # i, f, o, g
        self._q = allocate((B, 4 * H))
        self._d, self._slope = allocate((4, B, H)), allocate((4, B, H))
        a, hs, cs, gates = split_gates(self.a, 4), self.hs, self.cs, self.activations
        steps = [(cs[t], a[t], gates[t], gates[t, :3], *gates[t], self.tanh_c[t]) for t in range(T)]
        self._forward_steps = list(zip(steps, hs[:-1], hs[1:], cs[1:], strict=True))
        self._backward_steps = list(zip(steps, self.dhs, self.a, strict=True))[::-1]

    def forward(self, Whh: Floats) -> None:
        add, multiply, tanh, half = np.add, np.multiply, np.tanh, self.half
        q, gate_q = self._q, split_gates(self._q, 4)
        # a and ifog (4, B, H), ifo (3, B, H); i ... tanh_c, h_prev, h and c (B, H)
        for (c_prev, a, ifog, ifo, i, f, o, g, tanh_c), h_prev, h, c in self._forward_steps:
            h_prev.dot(Whh, q)
            add(a, gate_q, ifog)
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
        # tanh_c is overwritten with dh o (1 - tanh(c)^2)
        for (c_prev, a, _, ifo, i, f, o, g, tanh_c), dh, da in self._backward_steps:
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
            multiply(d, slope, a)  # a and da are two views of the same memory
            da.dot(WhhT, dh_next)
