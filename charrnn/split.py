"""Which lines are held out: random ones, with all copies of a line on the same side or not.

Each line has a rank, a hash of the seed and of the line, so copies have the same. Groups of equal
lines are taken in the order of their ranks, as long as they fit; one that is too large is left to
training. Where copies may part, the line's number is a part of its rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Ints
from charrnn.randomness import Purpose, generator, mix
from charrnn.store import BLOCK, Row, Writer

AT_ONCE = 4 * BLOCK  # lines whose ranks are held in memory


class Split(NamedTuple):
    """The numbers of the lines of each part, in the order of the text."""

    training: Row
    validation: Row
    different: int  # lines, copies not counted


def split(sums: Row, share: float, seed: int, place: Path | None, together: bool = True) -> Split:
    """Hold out `share` of the lines with these hashes; the parts are kept in `place`, if given."""
    lines = len(sums.numbers)
    key = generator(seed, Purpose.SPLIT).integers(0, 2**63, dtype=np.uint64)
    room = round(lines * share)
    different = 0
    taken: list[Ints] = [np.empty(0, dtype=np.uint64)]
    for ranks in _in_order(sums, key, together):
        groups, sizes = np.unique(ranks, return_counts=True)
        different += len(groups)
        while room and len(groups):
            fitting = sizes <= room
            groups, sizes = groups[fitting], sizes[fitting]
            count = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
            taken.append(groups[:count])
            room -= int(sizes[:count].sum())
            groups, sizes = groups[count:], sizes[count:]
    held_out = np.sort(np.concatenate(taken))
    parts = [Writer(place and place / name, np.int64) for name in ("training", "validation")]
    start = 0
    for ranks in _ranks(sums, key, together):
        inside = np.zeros(len(ranks), dtype=bool)
        if len(held_out):
            inside = held_out.take(np.searchsorted(held_out, ranks), mode="clip") == ranks
        for part, side in zip(parts, (~inside, inside), strict=True):
            part.add(np.flatnonzero(side) + start)
        start += len(ranks)
    return Split(parts[0].row(), parts[1].row(), different)


def _ranks(sums: Row, key: np.uint64, together: bool) -> Iterator[Ints]:
    start = 0
    for block in sums.blocks():
        of_line: Ints = block ^ key
        if not together:
            of_line = of_line + mix(np.arange(start, start + len(block), dtype=np.uint64))
        start += len(block)
        yield mix(of_line)


def _in_order(sums: Row, key: np.uint64, together: bool) -> Iterator[Ints]:
    """All ranks, those of one range after those of another, a few million at a time."""
    parts = -(-len(sums.numbers) // AT_ONCE)
    for part in range(parts):
        low, high = (np.uint64(((1 << 64) - 1) * n // parts) for n in (part, part + 1))
        some = [
            ranks if parts == 1 else ranks[(ranks >= low) & ((ranks < high) | (part == parts - 1))]
            for ranks in _ranks(sums, key, together)
        ]
        yield np.concatenate(some)
