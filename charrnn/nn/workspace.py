"""Every activation of a window, in memory that is allocated once and reused."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.arrays import Floats, Ints
from charrnn.nn.cells import New

if TYPE_CHECKING:  # it has workspaces in its own signatures
    from charrnn.nn.model import Model

SIZES = 64  # window sizes whose views are kept: an endless pipe of lines brings all there are


class Workspace:
    """Every activation of one window of (T, B), allocated once and reused.

    After `Model.forward`: `logits` (T*B, V) holds the probabilities, `nll` (T*B,) the loss of
    each target in nats, zero where it is masked.
    """

    def __init__(self, model: Model, T: int, B: int, new: New | None = None) -> None:
        new = new or functools.partial(np.empty, dtype=model.dtype)
        H, V = model.hidden, model.vocab_size
        self.T, self.B = T, B
        self.layers = [model.cell(T, B, H, new) for _ in range(model.layers)]
        self.logits = new((T * B, V))
        self.flat_logits = self.logits.reshape(-1)
        self.shift = new((T * B, 1))  # the largest logit of each position
        self.total = new((T * B,))  # and its normaliser
        self.nll = new((T * B,))
        self.ones = np.ones(T * B, dtype=model.dtype)  # a sum over positions as a product
        self.ones_V = np.ones(V, dtype=model.dtype)
        if T * B >= V:
            self.rows = new((V, model.cell.gates * H))  # the first layer's input of a character
        self.one_hot = new((T * B, V))  # by which the first layer's gradient is gathered
        self.flat_one_hot = self.one_hot.reshape(-1)
        self.starts = np.arange(T * B) * V  # (T*B,): where each position's logits begin
        self.picks = np.empty(T * B, dtype=np.intp)  # where its target's logit is
        # Dropout, or none as in scoring:
        self.masks: list[Floats] = []  # (T, B, H) a layer, or (1, B, H) for the whole window
        self.kept: list[Floats] = []  # (H, G*H) a layer: the recurrent weights that are left
        self.reads: list[Floats] = [layer.outputs for layer in self.layers]  # (T*B, H) a layer
        self.dropped: list[Floats] = []  # (H, G*H) a layer: the recurrent weights it works with
        self.awaits_backward = False  # whether `logits` holds the probabilities of a forward
        self._new = new

    def draw_dropout(
        self,
        source: np.random.PCG64,
        dropout: float,
        variational: bool = False,
        recurrent: float = 0.0,
        first: int = 0,
    ) -> None:
        """Drop this share of every layer's output from now on, and scale up what is left.

        `variational` drops the same units at every step of the window (Gal and Ghahramani 2016);
        `recurrent` is the share of the recurrent weights that are dropped for the window (Merity
        et al. 2018). The masks hold for every forward and backward until they are drawn again.
        Scaling in training ("inverted" dropout, Srivastava et al. 2014) leaves nothing to do
        afterwards.

        The random numbers of the recurrent weights come first, then those of one row of the batch
        after another. The first row here is row `first` of the batch: the generator jumps over
        those before it, so a row has the same mask wherever it is computed.
        """
        T, B, H = self.layers[0].dhs.shape
        if dropout and not self.masks:
            self.masks = [self._new((1 if variational else T, B, H)) for _ in self.layers]
            self.reads = [self._new((T * B, H)) for _ in self.layers]
        if recurrent and not self.kept:
            shape = (H, self.layers[0].gates * H)
            self.kept = [self._new(shape) for _ in self.layers]
            self.dropped = [self._new(shape) for _ in self.layers]
        for kept in self.kept:
            _keep(_random(source, 1, kept.size).reshape(kept.shape), recurrent, kept)
        if self.masks:
            steps = len(self.masks[0])
            size = len(self.masks) * steps * H  # numbers a row
            source.advance(first * _words(size))
            numbers = _random(source, B, size).reshape(B, len(self.masks), steps, H)
            for layer, mask in enumerate(self.masks):
                _keep(numbers[:, layer].transpose(1, 0, 2), dropout, mask)

    def read(self, layer: int) -> Floats:
        """The output (T*B, H) of a layer as what is above reads it."""
        if self.masks:
            mask, read = self.masks[layer], self.reads[layer]
            hs = self.layers[layer].hs[1:]  # (T, B, H)
            np.multiply(hs, mask, read.reshape(hs.shape))
        return self.reads[layer]

    def recurrent(self, layer: int, Whh: Floats) -> Floats:
        """The recurrent weights (H, G*H) of a layer, as it works with them in this window."""
        if not self.kept:
            return Whh
        return np.multiply(Whh, self.kept[layer], self.dropped[layer])


def _words(count: int) -> int:
    """Words of 64 bits that hold so many numbers of 16 bits."""
    return -(-count // 4)


def _random(source: np.random.PCG64, rows: int, count: int) -> Ints:
    """Random numbers of 16 bits, (rows, count); each row begins with a word of its own."""
    words = source.random_raw(rows * _words(count))
    return words.view(np.uint16).reshape(rows, -1)[:, :count]


def _keep(numbers: Ints, dropout: float, mask: Floats) -> None:
    """Let `mask` be 0 for the lowest share of these 16-bit numbers, else what keeps the mean."""
    first_kept = np.uint16(min(round(dropout * 65536), 65535))
    np.multiply(numbers >= first_kept, mask.dtype.type(1 / (1 - dropout)), mask)


class Workspaces:
    """A workspace for every window size that occurs, all in the same memory.

    Lines of many lengths make windows of many sizes, and only one of them is in use at a time: the
    n-th array of each lies at the start of the n-th buffer, which is as large as the largest.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._buffers: list[Floats] = []
        self._made: dict[tuple[int, int], Workspace] = {}

    def get(self, T: int, B: int) -> Workspace:
        """The workspace of (T, B), made at its first use. What another one held is lost."""
        work = self._made.get((T, B))
        if work is None:
            if len(self._made) >= SIZES:
                self._made.clear()
            new = functools.partial(self._new, itertools.count())
            work = self._made[T, B] = Workspace(self.model, T, B, new)
        return work

    def _new(self, number: Iterator[int], shape: tuple[int, ...]) -> Floats:
        index, size = next(number), math.prod(shape)
        if index == len(self._buffers):
            self._buffers.append(np.empty(0, dtype=self.model.dtype))
        if self._buffers[index].size < size:
            self._made.clear()  # the smaller ones move over when they are next needed
            self._buffers[index] = np.empty(size, dtype=self.model.dtype)
        return self._buffers[index][:size].reshape(shape)
