"""Every random choice of a run comes from its one seed, each purpose from a generator of its own.

So the order of the lines does not depend on how many numbers the initial weights took, and an
order that can be computed again needs no place in a checkpoint.
"""

from __future__ import annotations

import secrets
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are drawn for."""

    WEIGHTS = 0
    SPLIT = 1
    ORDER = 2
    SAMPLE = 3
    DROPOUT = 4
    CHECK = 5


def generator(seed: int, purpose: Purpose, *number: int) -> np.random.Generator:
    """The generator of one purpose, and of one epoch, step or text where that is numbered."""
    return np.random.default_rng([seed, int(purpose), *number])


def fresh_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(2**32)
