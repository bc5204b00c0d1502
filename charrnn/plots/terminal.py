"""Losses as a curve in the terminal: dots of braille, or plain characters where it has none.

A cell of braille has two columns of four dots, each a bit of the character's number:

    1  8
    2 16
    4 32
   64 128
"""

from __future__ import annotations

import itertools
import math
import statistics
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charrnn.plots.history import LN2, Point, Run, when

BRAILLE = 0x2800  # the cell without a dot
DOTS = ((1, 8), (2, 16), (4, 32), (64, 128))
FRAME = tuple("│┤├┬└┘─")
PLAIN_FRAME = tuple("|+++++-")
COLOURS = (33, 208, 35, 170, 43, 203, 178, 141)  # of 256: legible on black and on white
LETTERS = string.ascii_lowercase
LEAST_COLUMNS, LEAST_ROWS = 20, 5  # of the field inside the axes
DOTTED = 4  # training: one dot in so many of a full line


@dataclass(frozen=True)
class Style:
    """What the terminal can show."""

    columns: int
    lines: int
    braille: bool
    colour: bool


@dataclass(frozen=True)
class Scale:
    """Places `size` dots from `low` to `high`."""

    low: float
    high: float
    size: int

    def dot(self, value: float) -> int:
        """The dot of a value, from 0 on."""
        return round((value - self.low) / (self.high - self.low) * (self.size - 1))


class Field:
    """The inside of the axes: cells, each with dots, one character or nothing, and a colour."""

    def __init__(self, columns: int, rows: int, braille: bool) -> None:
        self.columns, self.rows, self.braille = columns, rows, braille
        self.wide, self.high = (2, 4) if braille else (1, 1)  # dots of a cell
        self._dots = [[0] * columns for _ in range(rows)]
        self._chars = [[" "] * columns for _ in range(rows)]
        self._colours: list[list[int | None]] = [[None] * columns for _ in range(rows)]

    def dot(self, x: int, y: int, char: str, colour: int | None) -> None:
        """Set a dot, counted from the bottom left; without braille it is the character instead."""
        column, row = x // self.wide, self.rows - 1 - y // self.high
        if self.braille:
            self._dots[row][column] |= DOTS[3 - y % 4][x % 2]
            char = chr(BRAILLE + self._dots[row][column])
        self._chars[row][column], self._colours[row][column] = char, colour

    def mark(self, x: int, y: int, char: str, colour: int | None) -> None:
        """Put a character where this dot is."""
        column, row = x // self.wide, self.rows - 1 - y // self.high
        self._chars[row][column], self._colours[row][column] = char, colour

    def line(self, row: int) -> str:
        """The characters of a row, counted from the top."""
        cells = zip(self._chars[row], self._colours[row], strict=True)
        return "".join(painted(char, colour) for char, colour in cells)


def painted(text: str, colour: int | None) -> str:
    """In one of the terminal's 256 colours."""
    return text if colour is None else f"\x1b[38;5;{colour}m{text}\x1b[0m"


def draw(runs: Sequence[Run], by: str, style: Style) -> str:
    """All runs in one field, nats on the left and bits on the right, and a line for each below."""
    points = [point for run in runs for point in (*run.training, *run.validation)]
    low, high = spread(point.nats for point in points)
    last = max(point.x for point in points) or 1.0
    rows = max(style.lines - 5 - len(runs), LEAST_ROWS)  # the prompt has a line as well
    unit = 4 if style.braille else 1
    scale = Scale(low, high, rows * unit)
    left, right = (_labels(low / per, high / per, per, scale, rows, unit) for per in (1.0, LN2))
    margins = [max(len(name), *map(len, side.values())) for name, side in
               (("nats", left), ("bits", right))]  # fmt: skip
    columns = max(style.columns - sum(margins) - 5, LEAST_COLUMNS)
    field = Field(columns, rows, style.braille)
    across = Scale(0.0, last, columns * field.wide)
    _fill(field, runs, across, scale, style.colour)
    side, left_tick, right_tick, below, corner, other_corner, rule = (
        FRAME if style.braille else PLAIN_FRAME
    )
    key = ("validation \u28c0\u28c0\u28e0\u2824, training \u2840\u2820\u2810" if style.braille
           else f"validation {'*' if len(runs) == 1 else 'letters'}, training .")  # fmt: skip
    lines = [f" {'nats':>{margins[0]}}{key:^{columns + 4}}{'bits':<{margins[1]}}"]
    for row in range(rows):
        lines.append(
            f" {left.get(row, ''):>{margins[0]}} {left_tick if row in left else side}"
            f"{field.line(row)}{right_tick if row in right else side} {right.get(row, '')}"
        )
    marked, labels = _axis(last, across, field, by == "steps")
    edge = "".join(below if column in marked else rule for column in range(columns))
    indent = " " * (margins[0] + 2)
    lines += [f"{indent}{corner}{edge}{other_corner}", f"{indent} {labels}"]
    lines.append(f"{indent} {by:^{columns}}")
    lines += _legend(runs, by, style)
    return "".join(line.rstrip() + "\n" for line in lines)


def spread(values: Iterable[float]) -> tuple[float, float]:
    """From the least to the most; around it where they are as good as the same."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low < 1e-6:
        around = max(0.05 * high, 0.05)
        return max(low - around, 0.0), high + around
    return low, high


def ticks(low: float, high: float, most: int, whole: bool = False) -> tuple[list[float], int]:
    """Round numbers in a range, and how many decimals they have.

    >>> ticks(1.52, 2.19, 4)
    ([1.6, 1.8, 2.0], 1)
    >>> ticks(0, 3, 9, whole=True)
    ([0.0, 1.0, 2.0, 3.0], 0)
    """
    power = math.floor(math.log10((high - low) / max(most, 1)))
    if whole:
        power = max(power, 0)
    for exponent in (power, power + 1):
        for digit in (1, 2, 5):
            # Dividing by a power of ten gives the nearest number, multiplying by 0.1 does not.
            number, part = (digit * 10**exponent, 1) if exponent >= 0 else (digit, 10**-exponent)
            first, final = math.ceil(low * part / number), math.floor(high * part / number)
            if final - first < max(most, 1):
                return [k * number / part for k in range(first, final + 1)], max(-exponent, 0)
    raise AssertionError("ten times the least step is always enough")


def _labels(
    low: float, high: float, per: float, scale: Scale, rows: int, unit: int
) -> dict[int, str]:
    """Row, from the top -> label: round numbers of an axis whose unit is `per` nats."""
    values, decimals = ticks(low, high, max(rows // 3, 2))
    return {rows - 1 - scale.dot(v * per) // unit: f"{v:,.{decimals}f}" for v in values}


def _axis(last: float, across: Scale, field: Field, whole: bool) -> tuple[set[int], str]:
    """The columns of the lower axis that have a tick, and the line of labels below it."""
    widest = len(f"{last:,.0f}") + 5
    values, decimals = ticks(0.0, last, max(field.columns // widest, 2), whole)
    columns, line = set(), ""
    for value in values:
        column, label = across.dot(value) // field.wide, f"{value:,.{decimals}f}"
        start = max(column - len(label) // 2, 0)
        if not line or start > len(line):
            columns.add(column)
            line = f"{line:<{start}}{label}"
    return columns, line


def _fill(field: Field, runs: Sequence[Run], across: Scale, up: Scale, coloured: bool) -> None:
    """Training first, so that validation stays on top, and marks above both."""
    several = len(runs) > 1
    colours = [COLOURS[k % len(COLOURS)] if coloured else None for k in range(len(runs))]
    for run, colour in zip(runs, colours, strict=True):
        path = list(_trace(_thinned(run.training, across), across, up))
        for x, y in path[:: DOTTED if field.braille else 2]:
            field.dot(x, y, ".", colour)
    paths = [list(_trace(run.validation, across, up)) for run in runs]
    for k, path in enumerate(paths):
        for x, y in path:
            field.dot(x, y, LETTERS[k] if several else "*", colours[k])
    for k, path in enumerate(paths):
        for x, y in _spots(path, k, len(runs), across.size) if several else ():
            field.mark(x, y, LETTERS[k], colours[k])
    for k, run in enumerate(runs):
        if run.best is not None:
            char = LETTERS[k].upper() if several else "o"
            field.mark(across.dot(run.best.x), up.dot(run.best.nats), char, colours[k])


def _thinned(points: Sequence[Point], across: Scale) -> list[Point]:
    """One point a column of dots, the mean: a dotted line of more would be a full one."""
    columns = itertools.groupby(points, key=lambda point: across.dot(point.x))
    return [Point(*map(statistics.fmean, zip(*column, strict=True))) for _, column in columns]


def _trace(points: Sequence[Point], across: Scale, up: Scale) -> Iterator[tuple[int, int]]:
    """The dots of straight lines from point to point, in order and without a gap."""
    places = [(across.dot(point.x), up.dot(point.nats)) for point in points]
    yield from places[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        for k in range(1, steps + 1):
            yield round(x0 + (x1 - x0) * k / steps), round(y0 + (y1 - y0) * k / steps)


def _spots(
    path: list[tuple[int, int]], k: int, count: int, columns: int
) -> Iterator[tuple[int, int]]:
    """Where a run gets its letter: at its end, and in columns where no other run has one."""
    wanted = {int((j + (k + 0.5) / count) / 3 * columns) for j in range(3)}
    for column in wanted:
        yield from itertools.islice((place for place in path if place[0] == column), 1)
    yield from path[-1:]


def _legend(runs: Sequence[Run], by: str, style: Style) -> list[str]:
    """A line for each run: its mark, its name and its best validation."""
    tails = []
    for run in runs:
        best = run.best
        tails.append(
            "no validation part"
            if best is None
            else f"best validation {best.nats:.4f} nats ({best.nats / LN2:.4f} bits) "
            f"{when(best.x, by)}"
        )
    room = max(style.columns - max(map(len, tails)) - 8, 8)
    shown = [shortened(run.name, room) for run in runs]
    widest = max(map(width, shown))
    lines = []
    for k, (run, name, tail) in enumerate(zip(runs, shown, tails, strict=True)):
        mark = "o" if len(runs) == 1 else f"{LETTERS[k]} {LETTERS[k].upper()}"
        if run.best is None:
            mark = " " if len(runs) == 1 else f"{LETTERS[k]}  "
        colour = COLOURS[k % len(COLOURS)] if style.colour else None
        lines.append(f" {painted(mark, colour)} {name}{' ' * (widest - width(name))}  {tail}")
    return lines


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def shortened(name: str, room: int) -> str:
    """The name, or as much of its end as there is room for."""
    if width(name) <= room:
        return name
    while width(name) > room - 3:
        name = name[1:]
    return "..." + name
