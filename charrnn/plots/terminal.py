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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from charrnn.plots.history import Point, Run, when
from charrnn.units import LN2, in_both

BRAILLE = 0x2800  # the cell without a dot
DOTS = ((1, 8), (2, 16), (4, 32), (64, 128))
PLAIN_FRAME = str.maketrans("│┤├┬└┘─", "|+++++-")
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
class Look:
    """How one run is drawn."""

    line: str  # without braille
    best: str  # at its best validation
    colour: int | None


@dataclass(frozen=True)
class Field:
    """The inside of the axes: what its cells show, and in which of its dots a point lies.

    Columns and rows of dots are counted from the upper left.
    """

    columns: int
    rows: int
    braille: bool
    last: float  # step or second, at the right edge
    low: float  # nats
    high: float
    cells: dict[tuple[int, int], tuple[str, int | None]] = field(default_factory=dict)

    @property
    def unit(self) -> tuple[int, int]:
        """Columns and rows of dots in a cell."""
        return (2, 4) if self.braille else (1, 1)

    def x(self, value: float) -> int:
        """The column of dots where a step or second is."""
        return round(value / self.last * (self.columns * self.unit[0] - 1))

    def y(self, nats: float) -> int:
        """The row of dots where a loss is."""
        share = (self.high - nats) / (self.high - self.low)
        return round(share * (self.rows * self.unit[1] - 1))

    def trace(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        """The dots of straight lines from point to point, in order and without a gap."""
        places = [(self.x(point.x), self.y(point.nats)) for point in points]
        path = places[:1]
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            steps = max(abs(x1 - x0), abs(y1 - y0))
            for k in range(1, steps + 1):
                path.append((round(x0 + (x1 - x0) * k / steps), round(y0 + (y1 - y0) * k / steps)))
        return path

    def thinned(self, points: Sequence[Point]) -> list[Point]:
        """One point a column of dots, the mean: a dotted line of more would be a full one."""
        columns = itertools.groupby(points, key=lambda point: self.x(point.x))
        return [Point(*map(statistics.fmean, zip(*column, strict=True))) for _, column in columns]

    def dot(self, x: int, y: int, char: str, colour: int | None) -> None:
        """Add a dot to its cell; without braille the character is put there instead."""
        if self.braille:
            before, _ = self.cells.get((x // 2, y // 4), (chr(BRAILLE), None))
            char = chr(ord(before) | DOTS[y % 4][x % 2])
        self.mark(x, y, char, colour)

    def mark(self, x: int, y: int, char: str, colour: int | None) -> None:
        """Put a character where this dot is."""
        wide, tall = self.unit
        self.cells[x // wide, y // tall] = char, colour

    def row(self, row: int) -> str:
        """The characters of a row of cells."""
        cells = (self.cells.get((column, row), (" ", None)) for column in range(self.columns))
        return "".join(painted(*cell) for cell in cells)


def painted(text: str, colour: int | None) -> str:
    """In one of the terminal's 256 colours."""
    return text if colour is None else f"\x1b[38;5;{colour}m{text}\x1b[0m"


def draw(runs: Sequence[Run], by: str, style: Style) -> str:
    """All runs in one field, nats on the left and bits on the right, and a line for each below."""
    points = [point for run in runs for point in (*run.training, *run.validation)]
    low, high = spread(point.nats for point in points)
    last = max(point.x for point in points) or 1.0
    rows = max(style.lines - 5 - len(runs), LEAST_ROWS)  # the prompt has a line as well
    nats, bits = (ticks(low / per, high / per, max(rows // 3, 2)) for per in (1.0, LN2))
    left, right = (max(4, *map(len, labels.values())) for labels in (nats, bits))
    columns = max(style.columns - left - right - 5, LEAST_COLUMNS)
    field = Field(columns, rows, style.braille, last, low, high)
    looks = _looks(len(runs), style.colour)
    _fill(field, runs, looks)
    _, tall = field.unit
    nats_at = {field.y(value) // tall: label for value, label in nats.items()}
    bits_at = {field.y(value * LN2) // tall: label for value, label in bits.items()}
    key = "validation \u28c0\u28c0\u28e0\u2824, training \u2840\u2820\u2810"
    if not style.braille:
        key = f"validation {'*' if len(runs) == 1 else 'letters'}, training ."
    lines = [f" {'nats':>{left}}{key:^{columns + 4}}{'bits':<{right}}"]
    for row in range(rows):
        lines.append(
            f" {nats_at.get(row, ''):>{left}} {'┤' if row in nats_at else '│'}"
            f"{field.row(row)}{'├' if row in bits_at else '│'} {bits_at.get(row, '')}"
        )
    indent = " " * (left + 2)
    lines += [f"{indent}{line}" for line in _axis(field, whole=by == "steps")]
    lines.append(f"{indent} {by:^{columns}}")
    lines += _legend(runs, looks, by, style.columns)
    drawn = "".join(line.rstrip() + "\n" for line in lines)
    return drawn if style.braille else drawn.translate(PLAIN_FRAME)


def spread(values: Iterable[float]) -> tuple[float, float]:
    """From the least to the most; around it where they are as good as the same."""
    found = list(values)
    low, high = min(found), max(found)
    around = max(0.05 * high, 0.05) if high - low < 1e-6 else 0.0
    return max(low - around, 0.0), high + around


def ticks(low: float, high: float, most: int, whole: bool = False) -> dict[float, str]:
    """Return round numbers in a range, `most` or fewer, and their labels.

    >>> ticks(1.52, 2.19, 4)
    {1.6: '1.6', 1.8: '1.8', 2.0: '2.0'}
    >>> list(ticks(0, 3, 9, whole=True).values())
    ['0', '1', '2', '3']
    """

    def multiples(step: float) -> range:
        return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)

    power = math.floor(math.log10((high - low) / most))
    power = max(power, 0) if whole else power
    steps = [(digit * 10.0**k, k) for k in (power, power + 1) for digit in (1, 2, 5)]
    step, exponent = next(found for found in steps if len(multiples(found[0])) <= most)
    decimals = max(-exponent, 0)
    values = [round(k * step, decimals) for k in multiples(step)]
    return {value: f"{value:,.{decimals}f}" for value in values}


def _looks(count: int, coloured: bool) -> list[Look]:
    """One run has a mark at its best; of several each has its letter, a capital there."""
    letters = [("*", "o")] if count == 1 else [(char, char.upper()) for char in LETTERS[:count]]
    colours = itertools.cycle(COLOURS if coloured else [None])
    return [Look(*pair, colour) for pair, colour in zip(letters, colours, strict=False)]


def _axis(field: Field, whole: bool) -> tuple[str, str]:
    """The lower edge of the field, and the labels below it."""
    most = max(field.columns // (len(f"{field.last:,.0f}") + 5), 2)
    edge, labels = ["─"] * field.columns, ""
    for value, label in ticks(0.0, field.last, most, whole).items():
        column = field.x(value) // field.unit[0]
        start = max(column - len(label) // 2, 0)
        if not labels or start > len(labels):
            edge[column] = "┬"
            labels = f"{labels:<{start}}{label}"
    return f"└{''.join(edge)}┘", f" {labels}"


def _fill(field: Field, runs: Sequence[Run], looks: Sequence[Look]) -> None:
    """Training first, so that validation stays on top, and marks above both."""
    curves = list(zip(runs, looks, strict=True))
    paths = [field.trace(run.validation) for run in runs]
    for run, look in curves:
        path = field.trace(field.thinned(run.training))
        for place in path[:: DOTTED if field.braille else 2]:
            field.dot(*place, ".", look.colour)
    for path, look in zip(paths, looks, strict=True):
        for place in path:
            field.dot(*place, look.line, look.colour)
    for k, (path, look) in enumerate(zip(paths, looks, strict=True)):
        if path and len(runs) > 1:  # three letters where other curves have none, and one at the end
            spots = [int((j + (k + 0.5) / len(runs)) / 3 * len(path)) for j in range(3)]
            for spot in (*spots, -1):
                field.mark(*path[spot], look.line, look.colour)
    for run, look in curves:
        if run.best is not None:
            field.mark(field.x(run.best.x), field.y(run.best.nats), look.best, look.colour)


def _legend(runs: Sequence[Run], looks: Sequence[Look], by: str, columns: int) -> list[str]:
    """A line for each run: its mark, its name and its best validation."""
    tails = [
        f"best validation {in_both(best.nats)} {when(best.x, by)}"
        if (best := run.best) is not None
        else "no validation part"
        for run in runs
    ]
    room = max(columns - max(map(len, tails)) - 8, 8)
    names = [shortened(run.name, room) for run in runs]
    widest = max(map(width, names))
    lines = []
    for run, look, name, tail in zip(runs, looks, names, tails, strict=True):
        mark = " " if run.best is None else look.best
        if len(runs) > 1:
            mark = f"{look.line} {mark}"
        lines.append(f" {painted(mark, look.colour)} {name}{' ' * (widest - width(name))}  {tail}")
    return lines


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def shortened(name: str, room: int) -> str:
    """The name, or as much of its end as there is room for."""
    while width(name) > room:
        name = "..." + name.removeprefix("...")[1:]
    return name
