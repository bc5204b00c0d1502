"""Every random choice of a run comes from its one seed, each purpose from a generator of its own.

So the order of the lines does not depend on how many numbers the initial weights took, and an
order that can be computed again needs no place in a checkpoint.
"""

from __future__ import annotations

import os
from enum import IntEnum

import numpy as np

from charrnn.arrays import Floats, Ints


class Purpose(IntEnum):
    """What random numbers are drawn for."""

    WEIGHTS = 0
    SPLIT = 1
    ORDER = 2
    DROPOUT = 4
    CHECK = 5


def generator(seed: int, purpose: Purpose, *number: int) -> np.random.Generator:
    """The generator of one purpose, and of one epoch, step or text where that is numbered."""
    return np.random.default_rng([seed, int(purpose), *number])


def bit_generator(seed: int, purpose: Purpose, *number: int) -> np.random.PCG64:
    """The bits of such a generator, which can skip any count of them."""
    return np.random.PCG64([seed, int(purpose), *number])


def text_keys(seed: int, texts: Ints) -> Ints:
    """What the random numbers of each of these texts (B,) are made from, (B,)."""
    of_seed = mix(np.array([seed & _MASK], dtype=np.uint64))
    return mix(of_seed + texts.astype(np.uint64) * _GOLDEN)


def uniforms(keys: Ints, positions: Ints) -> Floats:
    """Return a random number in [0, 1) for each position of each text, the same at every call.

    `keys` and `positions` are (B,), the result is (B,) in float64. A counter-based generator: each
    number is a hash of seed, text and position, with the mixing function of SplitMix64 (Steele et
    al. 2014), so a thousand texts draw their next numbers in a few passes over small arrays.
    """
    mixed = mix(keys + positions.astype(np.uint64) * _GOLDEN)
    numbers: Floats = (mixed >> np.uint64(11)) * 2.0**-53
    return numbers


_MASK = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: Ints) -> Ints:
    """Numbers of 64 bits, (N,), each turned into one that shows no trace of it."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_seed() -> int:
    """A seed nobody chose."""
    return int.from_bytes(os.urandom(4), "big")
