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
    np.multiply.accumulate(powers, out=powers)
    hashes = np.zeros(len(starts) - 1, dtype=np.uint64)
    for at in range(1, len(ids), BLOCK):
        block = ids[at : at + BLOCK]
        first = int(np.searchsorted(starts, at, side="right")) - 1  # its lines, some in part
        last = int(np.searchsorted(starts, at + len(block), side="left"))
        begins = np.maximum(starts[first:last] - at, 0)  # in the block
        lengths = np.diff(begins, append=len(block))
        places = np.arange(at, at + len(block)) - np.repeat(starts[first:last], lengths)
        hashes[first:last] += np.add.reduceat(mixed[block] * powers[places], begins)
    return hashes
