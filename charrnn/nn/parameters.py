"""The parameters of a network: one flat vector, and named arrays that are views of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Floats, Shapes

BLOCK = 1 << 15  # elements updated at a time: the vectors of one block fit in the cache


def blocks(*vectors: Floats) -> Iterator[tuple[Floats, ...]]:
    """Yield matching views of equally long vectors, `BLOCK` elements at a time."""
    for start in range(0, len(vectors[0]), BLOCK):
        yield tuple(vector[start : start + BLOCK] for vector in vectors)


class Params(dict[str, Floats]):
    """Named arrays of the given shapes, stored end to end in `flat` (P,).

    An optimizer step, gradient clipping or an allreduce is one pass over `flat`; the network uses
    the views, such as `params["layer0.Whh"]`. Gradients are a second `Params`.
    """

    def __init__(self, shapes: Shapes, dtype: npt.DTypeLike, extra: int = 0) -> None:
        """Allocate zeros. `vector` (P + extra,) has `extra` more numbers after `flat`."""
        super().__init__()
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        self.shapes = dict(shapes)
        self.vector: Floats = np.zeros(sum(sizes) + extra, dtype)
        self.flat: Floats = self.vector[: sum(sizes)]  # (P,)
        ends = itertools.accumulate(sizes)
        # the part of `flat` that each array is
        self.parts = {n: slice(end - k, end) for n, k, end in zip(shapes, sizes, ends, strict=True)}
        for name, part in self.parts.items():
            self[name] = self.flat[part].reshape(shapes[name])

    @classmethod
    def of(cls, arrays: Mapping[str, Floats]) -> Params:
        """Return parameters with the values of these arrays, all of one dtype."""
        shapes = {name: array.shape for name, array in arrays.items()}
        params = cls(shapes, np.result_type(*arrays.values()))
        for name, array in arrays.items():
            params[name][...] = array
        return params

    def zeros_like(self, extra: int = 0) -> Params:
        """Return zeros of the same names, shapes and dtype, for example for gradients."""
        return Params(self.shapes, self.flat.dtype, extra)

    def copy(self) -> Params:
        """Return a copy."""
        return Params.of(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Params.of, (dict(self),)  # by default, pickle copies the views

    def can_overflow(self) -> bool:
        """Return whether a sum of products with activations could be infinite or NaN.

        Activations are at most 1 in size: if this is False, all logits are finite.
        """
        largest = max(self.flat.max(), -self.flat.min())  # NaN if a parameter is NaN
        return not largest < np.finfo(self.flat.dtype).max / (8 * self.flat.size)
