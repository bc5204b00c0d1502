"""Types of arrays that all folders of the package share."""

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
    """One window: the ids of T characters in B rows, and at each position the id that follows."""

    ids: Ints  # (T, B)
    targets: Ints  # (T, B)
    mask: Floats | None = None  # (T, B): 1 where a target counts, 0 where a row is padded
    from_zero: bool = False  # the rows begin here, so the state carried in is zero

    @property
    def chars(self) -> int:
        """The number of targets that count."""
        return self.targets.size if self.mask is None else int(self.mask.sum())

    def rows(self, part: slice) -> Batch:
        """Return the batch of these rows alone."""
        mask = None if self.mask is None else self.mask[:, part]
        return Batch(self.ids[:, part], self.targets[:, part], mask, self.from_zero)
