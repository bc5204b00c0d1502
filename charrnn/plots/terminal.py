"""Losses as a curve in the terminal: dots of braille, or plain characters where it has none.

A cell of the terminal has two columns of four dots, each a bit of the braille character's number:

    1  8
    2 16
    4 32
   64 128
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from charrnn.plots.history import Point, Run, shortened, when
from charrnn.units import LN2, nats_and_bits

BRAILLE = 0x2800  # the cell without a dot
DOTS = ((1, 8), (2, 16), (4, 32), (64, 128))
PLAIN_FRAME = str.maketrans("│┤├┬└┘─", "|+++++-")
COLOURS = (33, 208, 35, 170, 43, 203, 178, 141)  # of 256: legible on black and on white
LEAST_COLUMNS, LEAST_ROWS = 20, 5  # of the field inside the axes
LEAST_SPREAD = 0.01  # nats from its lower edge to the upper one
DOTTED = 4  # training: one dot in so many of a full line
KEY = "validation solid, training dotted"

Cells = dict[tuple[int, int], tuple[str, int | None]]  # by column and row: character and colour


@dataclass(frozen=True)
class Style:
    """What the terminal can show."""

    columns: int
    lines: int
    braille: bool
    colour: bool


class Curve(NamedTuple):
    """A run and how it is drawn."""

    run: Run
    letter: str  # of its line without braille; with it, a few among those of other runs
    best: str  # at its best validation
    colour: int | None


@dataclass(frozen=True)
class Field:
    """The inside of the axes. Columns and rows are counted from the upper left."""

    columns: int
    rows: int
    wide: int  # dots of a cell
    tall: int
    last: float  # step or second, at the right edge
    low: float  # nats
    high: float

    def dot(self, x: float, nats: float) -> tuple[int, int]:
        """The column and row of dots where a loss is."""
        column = x / self.last * (self.columns * self.wide - 1)
        row = (self.high - nats) / (self.high - self.low) * (self.rows * self.tall - 1)
        return round(column), round(row)

    def cell(self, x: float, nats: float) -> tuple[int, int]:
        """The column and row of the cell that this dot is in."""
        column, row = self.dot(x, nats)
        return column // self.wide, row // self.tall

    def path(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        """The dots of straight lines from point to point, in order and without a gap."""
        ends = [self.dot(*point) for point in points]
        dots = ends[:1]
        for (x0, y0), (x1, y1) in itertools.pairwise(ends):
            n = max(abs(x1 - x0), abs(y1 - y0))
            shares = [k / n for k in range(1, n + 1)]
            dots += [(round(x0 + (x1 - x0) * s), round(y0 + (y1 - y0) * s)) for s in shares]
        return dots

    def thinned(self, points: Sequence[Point]) -> list[Point]:
        """One point a column of dots, the mean: a dotted line of more would be a full one."""
        columns = itertools.groupby(points, key=lambda point: self.dot(*point)[0])
        return [Point(*map(statistics.fmean, zip(*column, strict=True))) for _, column in columns]


def draw(runs: Sequence[Run], by: str, style: Style) -> str:
    """All runs in one field, nats on the left and bits on the right, and a line for each below."""
    letters, bests = ("*", "o") if len(runs) == 1 else (ascii_lowercase, ascii_uppercase)
    colours = itertools.cycle(COLOURS if style.colour else [None])
    curves = [Curve(*look) for look in zip(runs, letters, bests, colours, strict=False)]
    points = [point for run in runs for point in (*run.training, *run.validation)]
    low = min(point.nats for point in points)
    high = max(low + LEAST_SPREAD, *(point.nats for point in points))
    rows = max(style.lines - 5 - len(runs), LEAST_ROWS)  # the prompt has a line as well
    nats, bits = (ticks(low / per, high / per, max(rows // 3, 2)) for per in (1.0, LN2))
    left, right = (max(4, *map(len, labels.values())) for labels in (nats, bits))
    columns = max(style.columns - left - right - 5, LEAST_COLUMNS)
    last = max(point.x for point in points) or 1.0
    field = Field(columns, rows, *((2, 4) if style.braille else (1, 1)), last, low, high)
    nats_at = {field.cell(0, value)[1]: label for value, label in nats.items()}
    bits_at = {field.cell(0, value * LN2)[1]: label for value, label in bits.items()}
    cells = _cells(field, curves, style.braille)
    lines = [f" {'nats':>{left}}{KEY:^{columns + 4}}{'bits':<{right}}"]
    for row in range(rows):
        inside = "".join(_painted(*cells.get((k, row), (" ", None))) for k in range(columns))
        lines.append(
            f" {nats_at.get(row, ''):>{left}} {'┤' if row in nats_at else '│'}{inside}"
            f"{'├' if row in bits_at else '│'} {bits_at.get(row, '')}"
        )
    lines += [" " * (left + 2) + line for line in (*_axis(field), f" {by:^{columns}}")]
    lines += _legend(curves, by, style.columns)
    drawn = "".join(line.rstrip() + "\n" for line in lines)
    return drawn if style.braille else drawn.translate(PLAIN_FRAME)


def ticks(low: float, high: float, most: int) -> dict[float, str]:
    """Return round numbers in a range, `most` or fewer, and their labels.

    >>> ticks(1.52, 2.19, 4)
    {1.6: '1.6', 1.8: '1.8', 2.0: '2.0'}
    >>> list(ticks(0, 9000, 4).values())
    ['0', '5,000']
    """
    power = math.floor(math.log10((high - low) / most))
    for exponent, digit in itertools.product((power, power + 1), (1, 2, 5)):
        step = digit * 10.0**exponent
        multiples = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(multiples) <= most:
            break
    decimals = max(-exponent, 0)
    return {round(k * step, decimals): f"{k * step:,.{decimals}f}" for k in multiples}


def _cells(field: Field, curves: Sequence[Curve], braille: bool) -> Cells:
    """Training first, so that validation stays on top, and marks above both."""
    every = DOTTED if braille else 2
    dotted = [(field.path(field.thinned(c.run.training))[::every], ".", c.colour) for c in curves]
    full = [(field.path(c.run.validation), c.letter, c.colour) for c in curves]
    lines, letters = Cells(), Cells()
    numbers: defaultdict[tuple[int, int], int] = defaultdict(lambda: BRAILLE)
    for path, char, colour in dotted + full:
        for x, y in path:
            cell = x // field.wide, y // field.tall
            numbers[cell] |= DOTS[y % 4][x % 2]
            lines[cell] = chr(numbers[cell]) if braille else char, colour
    if len(curves) > 1:  # three letters where other curves have none, and one at the end
        for k, (path, char, colour) in enumerate(full):
            apart = max(len(path) // 3, 1)
            spots = [*path[k * apart // len(curves) :: apart], *path[-1:]]
            letters |= {(x // field.wide, y // field.tall): (char, colour) for x, y in spots}
    bests = {field.cell(*c.run.best): (c.best, c.colour) for c in curves if c.run.best}
    return lines | letters | bests


def _axis(field: Field) -> tuple[str, str]:
    """The lower edge of the field, and the labels below it."""
    most = max(field.columns // (len(f"{field.last:,.0f}") + 5), 2)
    edge, labels = ["─"] * field.columns, " "
    for value, label in ticks(0.0, field.last, most).items():
        column, _ = field.cell(value, field.low)
        edge[column] = "┬"
        labels = labels.ljust(column + 1 - len(label) // 2) + label
    return f"└{''.join(edge)}┘", labels


def _legend(curves: Sequence[Curve], by: str, columns: int) -> list[str]:
    """A line for each run: its mark, its name and its best validation."""
    tails = [
        f"best validation {nats_and_bits(best.nats)} {when(best.x, by)}"
        if best
        else "no validation part"
        for best in (curve.run.best for curve in curves)
    ]
    room = max(columns - max(map(len, tails)) - 8, 8)
    names = [shortened(curve.run.name, room) for curve in curves]
    width = max(map(len, names))
    marks = [c.best if len(curves) == 1 else f"{c.letter} {c.best}" for c in curves]
    painted = [_painted(mark, c.colour) for mark, c in zip(marks, curves, strict=True)]
    rows = zip(painted, names, tails, strict=True)
    return [f" {mark} {name:<{width}}  {tail}" for mark, name, tail in rows]


def _painted(text: str, colour: int | None) -> str:
    """The text in one of the terminal's 256 colours, or as it is."""
    return text if colour is None else f"\x1b[38;5;{colour}m{text}\x1b[0m"
