"""Code points cut into lines as they come, with a hash of each line.

The hash is a polynomial in the line's mixed characters, modulo 2^64: equal lines have equal ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.store import Writer
from charrnn.rng import mix

NEWLINE = 10
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd
DTYPES = {"starts": np.int64, "sums": np.uint64}


class Lines:
    """Cuts code points into lines as they come."""

    def __init__(self, place: Path | None) -> None:
        self.blank = 0
        self.starts = Writer(place and place / "starts", DTYPES["starts"])
        self.sums = Writer(place and place / "sums", DTYPES["sums"])
        self.starts.add(np.array([1]))
        self._total = 1  # ids so far: the opening newline
        self._after_newline = True
        self._open = 0  # characters of the line that is not at its end
        self._sum = 0  # of those
        self._powers = np.ones(1, dtype=np.uint64)  # BASE^0, BASE^1, ... of a piece's length

    def cut(self, points: Ints) -> Ints:
        """The points that belong to lines; where lines end in them is noted."""
        newline = points == NEWLINE
        before = np.concatenate([[self._after_newline], newline[:-1]])
        empty = newline & before
        self._after_newline = bool(newline[-1])
        count = int(np.count_nonzero(empty))
        if count:
            self.blank += count
            points, newline = points[~empty], newline[~empty]
        if not len(points):
            return points
        ends = np.flatnonzero(newline) + 1  # (E,): where the lines that end here end
        self.starts.add(ends + self._total)
        self._total += len(points)
        self._add_sums(points, ends)
        return points

    def _add_sums(self, points: Ints, ends: Ints) -> None:
        begins = np.concatenate([[0], ends])
        begins = begins[begins < len(points)]
        lengths = np.diff(np.append(begins, len(points)))
        places = np.arange(len(points)) - np.repeat(begins, lengths)
        longest = int(lengths.max())
        if len(self._powers) < longest:
            powers = np.full(longest, BASE, dtype=np.uint64)
            powers[0] = 1
            self._powers = np.multiply.accumulate(powers)
        terms = mix(points.astype(np.uint64) + np.uint64(1)) * self._powers[places]
        sums = np.add.reduceat(terms, begins)  # (E,), or one more
        if self._open:  # the first of them goes on
            power = pow(int(BASE), self._open, 1 << 64)
            sums[0] = (int(sums[0]) * power + self._sum) % (1 << 64)
        whole = len(ends)
        self.sums.add(sums[:whole])
        if whole:
            self._open, self._sum = 0, 0
        if len(sums) > whole:
            self._open += int(lengths[-1])
            self._sum = int(sums[-1])
