"""Loss curves in the terminal: dots of braille, or ASCII where braille is not available.

A character cell of the terminal has two columns of four dots. Each dot is a bit of the number of
the braille character:

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
from dataclasses import dataclass, replace
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from charrnn.plots.history import Point, Run, format_x, shorten, y_range
from charrnn.units import LN2, nats_and_bits

BRAILLE = 0x2800  # the character without a dot
DOTS = ((1, 8), (2, 16), (4, 32), (64, 128))
PLAIN = str.maketrans("│┤├┬└┘─⠒⠂", "|+++++-.*")  # of the frame and of KEY
GREY = 245  # of the training curve of a single run
COLOURS = (33, 208, 35, 170, 43, 203, 178, 141)  # of 256 colours: legible on black and on white
MIN_COLUMNS, MIN_ROWS = 20, 5  # of the field inside the axes
DOT_SPACING = 4  # the validation curve has one dot in four of a solid line
KEY = "⠒⠒ training  ⠂ ⠂ validation"

Cells = dict[tuple[int, int], tuple[str, int | None]]  # by column and row: character and colour


class Style(NamedTuple):
    """The size of the terminal, and whether it shows braille and colours."""

    columns: int
    lines: int
    braille: bool
    colour: bool


class Curve(NamedTuple):
    """A run and how it is drawn."""

    run: Run
    letter: str  # draws the line without braille; on a braille line, marks a few of its points
    best: str  # marks its best validation
    colour: int | None


@dataclass(frozen=True)
class Field:
    """The inside of the axes. Columns and rows are counted from the upper left."""

    columns: int
    rows: int
    x_dots: int  # per character cell
    y_dots: int
    last: float  # step or second, at the right edge
    low: float  # nats
    high: float

    def dot(self, x: float, nats: float) -> tuple[int, int]:
        """Return the column and row of the dot of a loss; a higher one is at the upper edge."""
        column = x / self.last * (self.columns * self.x_dots - 1)
        depth = (self.high - min(nats, self.high)) / (self.high - self.low)
        return round(column), round(depth * (self.rows * self.y_dots - 1))

    def cell(self, x: float, nats: float) -> tuple[int, int]:
        """Return the column and row of the character cell of a loss."""
        column, row = self.dot(x, nats)
        return column // self.x_dots, row // self.y_dots

    def path(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        """Return the dots of straight lines from point to point, in order and without a gap."""
        ends = [self.dot(*point) for point in points]
        dots = ends[:1]
        for (x0, y0), (x1, y1) in itertools.pairwise(ends):
            n = max(abs(x1 - x0), abs(y1 - y0))
            fractions = [k / n for k in range(1, n + 1)]
            dots += [(round(x0 + (x1 - x0) * f), round(y0 + (y1 - y0) * f)) for f in fractions]
        return dots


def draw(runs: Sequence[Run], by: str, style: Style) -> str:
    """Return all curves in one field, nats on the left and bits on the right, above a legend."""
    last = max(point.x for run in runs for point in run.training + run.validation) or 1.0
    runs = [_means(run, last, max(style.columns, MIN_COLUMNS)) for run in runs]
    letters, bests = ("*", "o") if len(runs) == 1 else (ascii_lowercase, ascii_uppercase)
    colours = itertools.cycle(COLOURS if style.colour else [None])
    curves = [Curve(*values) for values in zip(runs, letters, bests, colours, strict=False)]
    low, high = y_range(runs)
    rows = max(style.lines - 5 - len(runs), MIN_ROWS)  # one line is left for the prompt
    nats, bits = (ticks(low / per, high / per, max(rows // 3, 2)) for per in (1.0, LN2))
    left, right = (max(4, *map(len, labels.values())) for labels in (nats, bits))
    columns = max(style.columns - left - right - 5, MIN_COLUMNS)
    field = Field(columns, rows, *((2, 4) if style.braille else (1, 1)), last, low, high)
    nats_labels = {field.cell(0, value)[1]: label for value, label in nats.items()}
    bits_labels = {field.cell(0, value * LN2)[1]: label for value, label in bits.items()}
    cells = _cells(field, curves, style.braille)
    key = KEY if style.braille or len(runs) == 1 else KEY.replace("⠂ ⠂", "a b")
    lines = [f" {'nats':>{left}}{key:^{columns + 4}}{'bits':<{right}}"]
    for row in range(rows):
        content = "".join(_paint(*cells.get((k, row), (" ", None))) for k in range(columns))
        lines.append(
            f" {nats_labels.get(row, ''):>{left}} {'┤' if row in nats_labels else '│'}{content}"
            f"{'├' if row in bits_labels else '│'} {bits_labels.get(row, '')}"
        )
    lines += [" " * (left + 2) + line for line in (*_axis(field, by), f" {by:^{columns}}")]
    lines += _legend(curves, by, style.columns)
    text = "".join(line.rstrip() + "\n" for line in lines)
    return text if style.braille else text.translate(PLAIN)


def _means(run: Run, last: float, columns: int) -> Run:
    """Return the run with the mean of its training points in each of the columns of the x axis."""
    parts = itertools.groupby(run.training, key=lambda point: math.ceil(point.x / last * columns))
    means = [Point(*map(statistics.fmean, zip(*part, strict=True))) for _, part in parts]
    return replace(run, training=means)


def ticks(low: float, high: float, max_ticks: int) -> dict[float, str]:
    """Return at most `max_ticks` round numbers from `low` to `high`, and their labels.

    >>> ticks(1.52, 2.19, 4)
    {1.6: '1.6', 1.8: '1.8', 2.0: '2.0'}
    >>> list(ticks(0, 9000, 4).values())
    ['0', '5,000']
    """
    power = math.floor(math.log10((high - low) / max_ticks))
    for exponent, digit in itertools.product((power, power + 1), (1, 2, 5)):
        step = digit * 10.0**exponent
        multiples = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(multiples) <= max_ticks:
            break
    decimals = max(-exponent, 0)
    return {round(k * step, decimals): f"{k * step:,.{decimals}f}" for k in multiples}


def _cells(field: Field, curves: Sequence[Curve], braille: bool) -> Cells:
    """Return the character cells of the curves: marks above validation above training."""
    spacing = DOT_SPACING if braille else 2
    single = len(curves) == 1 and curves[0].colour is not None
    solid = [(field.path(c.run.training), ".", GREY if single else c.colour) for c in curves]
    dotted = [(field.path(c.run.validation)[::spacing], c.letter, c.colour) for c in curves]
    lines, letters = Cells(), Cells()
    numbers: defaultdict[tuple[int, int], int] = defaultdict(lambda: BRAILLE)
    for path, char, colour in solid + dotted:
        for x, y in path:
            cell = x // field.x_dots, y // field.y_dots
            numbers[cell] |= DOTS[y % 4][x % 2]
            lines[cell] = chr(numbers[cell]) if braille else char, colour
    if len(curves) > 1:  # three letters apart from those of other curves, and one at the end
        for k, ((path, *_), (_, char, colour)) in enumerate(zip(solid, dotted, strict=True)):
            interval = max(len(path) // 3, 1)
            dots = [*path[k * interval // len(curves) :: interval], *path[-1:]]
            letters |= {(x // field.x_dots, y // field.y_dots): (char, colour) for x, y in dots}
    bests = {field.cell(*c.run.best): (c.best, c.colour) for c in curves if c.run.best}
    return lines | letters | bests


def _axis(field: Field, by: str) -> tuple[str, str]:
    """Return the lower edge of the field, and the line of labels below it."""
    max_ticks = max(field.columns // max(len(f"{field.last:,.0f}") + 5, 8), 2)
    if by == "steps":  # so few that they are whole numbers
        max_ticks = min(max_ticks, int(field.last) + 1)
    edge, labels = ["─"] * field.columns, " "
    for value, label in ticks(0.0, field.last, max_ticks).items():
        column, _ = field.cell(value, field.low)
        edge[column] = "┬"
        labels = labels.ljust(column + 1 - len(label) // 2) + label
    return f"└{''.join(edge)}┘", labels


def _legend(curves: Sequence[Curve], by: str, columns: int) -> list[str]:
    """Return a line for each run: its marks, its name and its best validation."""
    bests = [curve.run.best for curve in curves]
    tails = [
        f"best validation {nats_and_bits(b.nats)} {format_x(b.x, by)}" if b else "no validation"
        for b in bests
    ]
    if max(map(len, tails)) > columns - MIN_COLUMNS:
        tails = [f"best {b.nats:.4f} nats" if b else "no validation" for b in bests]
    max_chars = max(columns - max(map(len, tails)) - 8, 8)
    names = [shorten(curve.run.name, max_chars) for curve in curves]
    width = max(map(len, names))
    marks = [c.best if len(curves) == 1 else f"{c.letter} {c.best}" for c in curves]
    rows = zip(curves, marks, names, tails, strict=True)
    return [f" {_paint(mark, c.colour)} {name:<{width}}  {tail}" for c, mark, name, tail in rows]


def _paint(text: str, colour: int | None) -> str:
    """Return the text in one of the terminal's 256 colours, or unchanged without a colour."""
    return text if colour is None else f"\x1b[38;5;{colour}m{text}\x1b[0m"
