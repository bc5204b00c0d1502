"""Random numbers of a run: all from one seed, with a separate generator for each purpose.

So the order of the lines does not depend on the number of initial weights, and a checkpoint need
not contain an order that can be computed again.
"""

from __future__ import annotations

import os
from enum import IntEnum

import numpy as np

from charrnn.arrays import Floats, Ints


class Purpose(IntEnum):
    """The purpose of a generator."""

    WEIGHTS = 0
    SPLIT = 1
    ORDER = 2
    DROPOUT = 4
    CHECK = 5
    STARTS = 6
    RESETS = 7


def generator(seed: int, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the generator of a purpose; `numbers` select that of an epoch, step or text."""
    return np.random.default_rng([seed, int(purpose), *numbers])


def bit_generator(seed: int, purpose: Purpose, *numbers: int) -> np.random.PCG64:
    """Return the source of bits of that generator, which can advance by any count."""
    return np.random.PCG64([seed, int(purpose), *numbers])


def text_keys(seed: int, texts: Ints) -> Ints:
    """Return the keys (B,) for the random numbers of the texts with these numbers (B,)."""
    seed_key = mix(np.array([seed & _MASK], dtype=np.uint64))
    return mix(seed_key + texts.astype(np.uint64) * _GOLDEN)


def uniforms(keys: Ints, positions: Ints) -> Floats:
    """Return a random number in [0, 1) for each position of each text, the same at every call.

    `keys` and `positions` are (B,), the result is (B,) in float64. A counter-based generator: each
    number is a hash of seed, text and position, with the mixing function of SplitMix64 (Steele et
    al. 2014), so a thousand texts draw their next numbers in a few passes over small arrays.
    """
    hashes = mix(keys + positions.astype(np.uint64) * _GOLDEN)
    numbers: Floats = (hashes >> np.uint64(11)) * 2.0**-53
    return numbers


_MASK = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: Ints) -> Ints:
    """Return the hash of each 64-bit number in x (N,), by the mixing function of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_seed() -> int:
    """Return a seed from the system's random source."""
    return int.from_bytes(os.urandom(4), "big")
