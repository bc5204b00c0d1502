"""The memory for the activations of a window, allocated once and reused."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.arrays import Floats, Ints
from charrnn.nn.cells import Allocate

if TYPE_CHECKING:  # `model` imports this module
    from charrnn.nn.model import Model

MAX_WORKSPACES = 64  # kept at once: lines from a pipe can have any number of window sizes


class Workspace:
    """The activations of one window of (T, B), allocated once and reused.

    After `Model.forward`, `logits` (T*B, V) holds the probabilities, and `nll` (T*B,) the loss of
    each target in nats, zero where it is masked.
    """

    def __init__(self, model: Model, T: int, B: int, allocate: Allocate | None = None) -> None:
        allocate = allocate or functools.partial(np.empty, dtype=model.dtype)
        H, V = model.hidden, model.vocab_size
        self.T, self.B = T, B
        self.layers = [model.cell(T, B, H, allocate) for _ in range(model.layers)]
        self.logits = allocate((T * B, V))
        self.flat_logits = self.logits.reshape(-1)
        self.max_logits = allocate((T * B, 1))  # the largest logit of each position
        self.softmax_sums = allocate((T * B,))  # the sum of exp(logits)
        self.nll = allocate((T * B,))
        self.ones = np.ones(T * B, dtype=model.dtype)  # for a sum over positions as a product
        self.ones_V = np.ones(V, dtype=model.dtype)
        if T * B >= V:
            self.Wxh_plus_b = allocate((V, model.cell.gates * H))  # Wxh + bh of the first layer
        self.one_hot = allocate((T * B, V))  # for the gradient of the first layer's Wxh
        self.flat_one_hot = self.one_hot.reshape(-1)
        if model.first_output_layer < model.layers - 1:
            self.dhs_above = allocate((T * B, H))  # the gradient of a layer from the one above
        # (T*B,): the index in flat_logits of the first logit and of the target of each position
        self.position_offsets = np.arange(T * B) * V
        self.flat_indices = np.empty(T * B, dtype=np.intp)
        # Without dropout, the lists of masks are empty:
        self.output_masks: list[Floats] = []  # (T, B, H) per layer, (1, B, H) if variational
        self.recurrent_masks: list[Floats] = []  # (H, G*H) per layer
        # (T*B, H) per layer
        self.layer_outputs: list[Floats] = [layer.hs_flat for layer in self.layers]
        self.masked_Whh: list[Floats] = []  # (H, G*H) per layer
        self.awaits_backward = False  # whether `logits` holds the result of `forward`
        self._allocate = allocate

    def draw_dropout(
        self,
        random: np.random.PCG64,
        dropout: float,
        variational: bool = False,
        recurrent_dropout: float = 0.0,
        first_row: int = 0,
    ) -> None:
        """Draw masks that drop a share `dropout` of every layer's output and scale up the rest.

        `variational` drops the same units at every step of the window (Gal and Ghahramani 2016);
        `recurrent_dropout` is the share of the recurrent weights dropped for the window (Merity et
        al. 2018). Every forward and backward uses these masks until the next call. The rest is
        scaled in training ("inverted" dropout, Srivastava et al. 2014): scoring needs no scaling.

        The random numbers are in this order: the recurrent weights, then the rows of the batch. The
        first row here is row `first_row` of the batch, and the generator skips the rows before it:
        the mask of a row does not depend on the process that computes it.
        """
        T, B, H = self.layers[0].dhs.shape
        if dropout and not self.output_masks:
            self.output_masks = [
                self._allocate((1 if variational else T, B, H)) for _ in self.layers
            ]
            self.layer_outputs = [self._allocate((T * B, H)) for _ in self.layers]
        if recurrent_dropout and not self.recurrent_masks:
            shape = (H, self.layers[0].gates * H)
            self.recurrent_masks = [self._allocate(shape) for _ in self.layers]
            self.masked_Whh = [self._allocate(shape) for _ in self.layers]
        for mask in self.recurrent_masks:
            _fill_mask(
                _random_uint16(random, 1, mask.size).reshape(mask.shape), recurrent_dropout, mask
            )
        if self.output_masks:
            steps = len(self.output_masks[0])
            size = len(self.output_masks) * steps * H  # numbers per row
            random.advance(first_row * _word_count(size))
            numbers = _random_uint16(random, B, size).reshape(B, len(self.output_masks), steps, H)
            for layer, mask in enumerate(self.output_masks):
                _fill_mask(numbers[:, layer].transpose(1, 0, 2), dropout, mask)

    def outputs_after_dropout(self, layer: int) -> Floats:
        """Return the output (T*B, H) of a layer, after dropout."""
        if self.output_masks:
            mask, output = self.output_masks[layer], self.layer_outputs[layer]
            hs = self.layers[layer].hs[1:]  # (T, B, H)
            np.multiply(hs, mask, output.reshape(hs.shape))
        return self.layer_outputs[layer]

    def mask_Whh(self, layer: int, Whh: Floats) -> Floats:
        """Return the recurrent weights (H, G*H) of a layer, after dropout."""
        if not self.recurrent_masks:
            return Whh
        return np.multiply(Whh, self.recurrent_masks[layer], self.masked_Whh[layer])


def _word_count(count: int) -> int:
    """Return the number of 64-bit words that `count` 16-bit numbers need."""
    return -(-count // 4)


def _random_uint16(random: np.random.PCG64, rows: int, count: int) -> Ints:
    """Return random 16-bit numbers (rows, count); each row starts with a new 64-bit word."""
    words = random.random_raw(rows * _word_count(count))
    return words.view(np.uint16).reshape(rows, -1)[:, :count]


def _fill_mask(numbers: Ints, dropout: float, mask: Floats) -> None:
    """Set `mask` to 0 where numbers / 65,536 < dropout, else to 1 / (1 - dropout)."""
    threshold = np.uint16(min(round(dropout * 65536), 65535))
    np.multiply(numbers >= threshold, mask.dtype.type(1 / (1 - dropout)), mask)


class Workspaces:
    """The workspaces of all window sizes that occur, in the same memory.

    Lines of many lengths make windows of many sizes, of which only one is in use at a time. The
    n-th array of each workspace is at the start of the n-th buffer, which fits the largest of them.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._buffers: list[Floats] = []
        self._workspaces: dict[tuple[int, int], Workspace] = {}

    def get(self, T: int, B: int) -> Workspace:
        """Return the workspace of (T, B). Its use overwrites the other workspaces."""
        work = self._workspaces.get((T, B))
        if work is None:
            if len(self._workspaces) >= MAX_WORKSPACES:
                self._workspaces.clear()
            allocate = functools.partial(self._allocate, itertools.count())
            work = self._workspaces[T, B] = Workspace(self.model, T, B, allocate)
        return work

    def _allocate(self, counter: Iterator[int], shape: tuple[int, ...]) -> Floats:
        """Return an array of a shape, in the buffer whose index is the next number of `counter`."""
        index, size = next(counter), math.prod(shape)
        if index == len(self._buffers):
            self._buffers.append(np.empty(0, dtype=self.model.dtype))
        if self._buffers[index].size < size:
            self._workspaces.clear()  # their arrays are in the smaller buffer
            self._buffers[index] = np.empty(size, dtype=self.model.dtype)
        return self._buffers[index][:size].reshape(shape)
