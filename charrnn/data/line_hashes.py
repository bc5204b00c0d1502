"""Where the lines of an encoded text begin, and a hash of each.

The hash is a polynomial in the line's mixed characters, modulo 2^64: equal lines have equal ones,
whatever the vocabulary.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.vocabulary import Vocab, code_points
from charrnn.rng import mix

BLOCK = 1 << 20  # characters, or lines, looked at at a time
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd


def line_starts(ids: Ints, newline: int) -> Ints:
    """The places after each newline in `ids` (N,): where R lines begin, and the end; (R + 1,)."""
    return np.concatenate(
        [
            np.flatnonzero(ids[at : at + BLOCK] == newline) + at + 1
            for at in range(0, len(ids), BLOCK)
        ]
    )


def line_hashes(ids: Ints, starts: Ints, vocab: Vocab) -> Ints:
    """A number of 64 bits for each of these lines, (R,)."""
    mixed = mix(code_points(vocab.chars).astype(np.uint64) + np.uint64(1))  # (V,)
    powers = np.full(int(np.diff(starts).max()), BASE)  # BASE^0, BASE^1, ... along a line
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    hashes = np.empty(len(starts) - 1, dtype=np.uint64)
    first = 0
    while first < len(hashes):
        after = int(np.searchsorted(starts, starts[first] + BLOCK, side="right")) - 1
        last = max(after, first + 1)  # a line that is longer than a block is looked at alone
        begins = starts[first:last] - starts[first]
        block = ids[starts[first] : starts[last]]
        places = np.arange(len(block)) - np.repeat(begins, np.diff(starts[first : last + 1]))
        hashes[first:last] = np.add.reduceat(mixed[block] * powers[places], begins)
        first = last
    return hashes
