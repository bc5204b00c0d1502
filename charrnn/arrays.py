"""Types of arrays that the whole package uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Shapes = Mapping[str, tuple[int, ...]]


class StartStates(NamedTuple):
    """K states that texts start from, each after a stretch of the training text."""

    state: Floats  # (L, S, K, H), before the last character of the stretch is read
    ids: Ints  # (K,), of that character


class Batch(NamedTuple):
    """One window: the ids of T characters in B rows, and at each position the next id."""

    ids: Ints  # (T, B)
    targets: Ints  # (T, B)
    mask: Floats | None = None  # (T, B): 1 where the loss counts a target, 0 in padding
    from_zero: bool = False  # whether the rows start here, so that the initial state is zero

    @property
    def chars(self) -> int:
        """The number of targets that the loss counts."""
        return self.targets.size if self.mask is None else int(self.mask.sum())

    def rows(self, part: slice) -> Batch:
        """Return the batch with only these rows."""
        mask = None if self.mask is None else self.mask[:, part]
        return Batch(self.ids[:, part], self.targets[:, part], mask, self.from_zero)
