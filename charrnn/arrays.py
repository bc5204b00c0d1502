"""Types of arrays that every room shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Shapes = Mapping[str, tuple[int, ...]]


class Batch(NamedTuple):
    """One window of characters and, at each position, the character that follows it."""

    ids: Ints  # (T, B)
    targets: Ints  # (T, B)
    mask: Floats | None = None  # (T, B): 1 where a target counts, 0 where a row is padded
    fresh: bool = False  # the rows begin here, from the zero state

    @property
    def chars(self) -> int:
        """How many targets count."""
        return self.targets.size if self.mask is None else int(self.mask.sum())

    def rows(self, which: slice) -> Batch:
        """Some of its rows."""
        mask = None if self.mask is None else self.mask[:, which]
        return Batch(self.ids[:, which], self.targets[:, which], mask, self.fresh)
