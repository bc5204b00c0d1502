"""Start offsets and hashes of the lines of an encoded text.

The hash of a line is a polynomial modulo 2^64 whose coefficients are hashes of its code points.
Equal lines have equal hashes, in every vocabulary.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.vocabulary import Vocab, code_points
from charrnn.rng import mix

BLOCK = 1 << 20  # characters or lines processed at a time
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it is 0


def line_starts(ids: Ints, newline: int) -> Ints:
    """Return the offsets after each newline of `ids` (N,): R line starts and the end, (R + 1,)."""
    return np.concatenate(
        [
            np.flatnonzero(ids[start : start + BLOCK] == newline) + start + 1
            for start in range(0, len(ids), BLOCK)
        ]
    )


def line_hashes(ids: Ints, starts: Ints, vocab: Vocab) -> Ints:
    """Return a 64-bit hash of each line of `ids` (N,), (R,); `starts` (R + 1,) are its offsets."""
    mixed = mix(code_points(vocab.chars).astype(np.uint64) + np.uint64(1))  # (V,)
    powers = np.full(int(np.diff(starts).max()), BASE)  # BASE^0, BASE^1, ... along a line
    powers[0] = 1
    np.multiply.accumulate(powers, out=powers)
    hashes = np.zeros(len(starts) - 1, dtype=np.uint64)
    for start in range(1, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        # Lines first to last - 1 are in the block; the first and the last of them may be cut.
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, start + len(block), side="left"))
        offsets = np.maximum(starts[first:last] - start, 0)  # of the lines in the block
        lengths = np.diff(offsets, append=len(block))
        positions = np.arange(start, start + len(block)) - np.repeat(starts[first:last], lengths)
        hashes[first:last] += np.add.reduceat(mixed[block] * powers[positions], offsets)
    return hashes
