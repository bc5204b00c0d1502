"""The command `charrnn score`: prints a row for each line or character of a text."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.options import Number, TextOptions, text_options
from charrnn.cli.terminal import colour_enabled, logger, write
from charrnn.data.characters import MARKS, escape_unprintable

if TYPE_CHECKING:
    from charrnn.arrays import Floats
    from charrnn.evaluation.line_scores import CharScore, LineScore
    from charrnn.evaluation.scoring_task import ScoringTask

# The minimum bits of each background colour, and its number in the 256-colour palette.
SHADES = ((1, 230), (2, 223), (4, 216), (6, 209), (8, 203))
INK = 16  # black, readable on all of these backgrounds
PLAIN = "\x1b[0m"


class RowOptions(NamedTuple):
    """The options that select and format rows."""

    per: str
    above: float | None
    below: float | None
    percentile: bool
    color: str
    as_json: bool
    raw: bool

    @property
    def shaded(self) -> bool:
        """Whether the characters of a row are shaded; never in JSON."""
        auto = self.color == "auto" and colour_enabled(sys.stdout.isatty(), os.environ)
        return (auto or self.color == "always") and not self.as_json


@click.command(short_help="Score each line or character of a text.")
@text_options
@click.option(
    "--per",
    type=click.Choice(["line", "char"]),
    default="line",
    help="Print a tab-separated row for each line (bits_per_char bits chars unknown line) or "
    "character (char bits rank entropy_bits likeliest).",
)
@click.option(
    "--above",
    type=Number(0),
    metavar="BITS",
    help="Print only rows with more bits per character; exit with code 1 if there are none.",
)
@click.option(
    "--below", type=Number(0), metavar="BITS", help="Print only rows with fewer bits per character."
)
@click.option(
    "--percentile",
    is_flag=True,
    help="BITS is a percentile, 0 to 100, of the rows of the validation part.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Shade each character by its bits; auto: on a terminal, unless NO_COLOR is set.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per row.")
@click.option(
    "--raw",
    is_flag=True,
    help="Write control characters to a terminal unchanged, not as escapes such as \\x1b.",
)
def score(text: TextOptions, **arguments: Any) -> None:
    """Score each line or character of TEXT with the model in CKPT.

    TEXT is a file, or - for stdin. The default is the validation part of the corpus that the model
    was trained on. Rows are printed as the text arrives.

    \b
    charrnn score runs/dinos.npz names.txt | sort -n | tail
    charrnn score runs/dinos.npz names.txt --above 99 --percentile | cut -f 5
    printf 'tyranno\\n' | charrnn score runs/dinos.npz - --per char
    """
    options = RowOptions(**arguments)
    thresholds = [bits for bits in (options.above, options.below) if bits is not None]
    if options.percentile and not thresholds:
        raise click.UsageError("--percentile needs --above or --below")
    if options.percentile and max(thresholds) > 100:
        raise click.UsageError(f"a percentile is from 0 to 100, not {max(thresholds):g}")
    if len(thresholds) == 2 and thresholds[0] >= thresholds[1]:
        above, below = thresholds
        raise click.UsageError(f"no row is both above {above:g} and below {below:g}")
    with text.open() as task:
        if not _print_rows(task, options) and thresholds:
            raise click.exceptions.Exit(1)


def _print_rows(task: ScoringTask, options: RowOptions) -> bool:
    """Print the rows between the thresholds and return whether there are any."""
    above = _threshold(task, options, "above", options.above)
    below = _threshold(task, options, "below", options.below)
    shaded = options.shaded
    # Control characters of the text are escaped already, and colour codes must not be.
    raw = options.raw or shaded
    format_row: Callable[..., str] = _format_line if options.per == "line" else _format_char
    matched = False
    for rows in task.rows(options.per):
        band = [x for x in rows if not (x.bits_per_char <= above or x.bits_per_char >= below)]
        if band and shaded and not matched:
            write(legend(), raw)
        matched = matched or bool(band)
        write("".join(format_row(row, options, shaded) for row in band), raw)
    return matched


def _threshold(task: ScoringTask, options: RowOptions, side: str, value: float | None) -> float:
    """Return a threshold in bits per character, and log it if it comes from a percentile.

    It is NaN, with which every comparison is false, if `value` is None.
    """
    if value is None or not options.percentile:
        return math.nan if value is None else value
    bits, count = task.percentile(options.per, value)
    logger.info(
        f"{side} {bits:.4f} bits per character: percentile {value:g} of {count:,} validation "
        f"{'lines' if options.per == 'line' else 'characters'}"
    )
    return bits


def _format_line(line: LineScore, options: RowOptions, shaded: bool) -> str:
    """Return the row of a line, tab-separated or in JSON."""
    if options.as_json:
        fields = {
            "bits_per_char": line.bits_per_char if math.isfinite(line.bits_per_char) else None,
            "bits": line.bits,
            "chars": line.chars,
            "unknown": line.unknown,
            "line": line.text,
        }
        return json.dumps(fields) + "\n"
    text = line.text
    if shaded:
        text = shade(text, line.char_bits, options.raw)
        if not math.isnan(line.newline_bits):
            text += painted(MARKS["\n"], colour_of(line.newline_bits))
    return f"{line.bits_per_char:.4f}\t{line.bits:.4f}\t{line.chars}\t{line.unknown}\t{text}\n"


def _format_char(score: CharScore, options: RowOptions, shaded: bool) -> str:
    """Return the row of a character, tab-separated or in JSON."""
    if options.as_json:
        return json.dumps(score._asdict()) + "\n"
    chars = [score.char, score.likeliest]
    if shaded:
        chars = [MARKS.get(char, char) for char in chars]
    char, likeliest = (json.dumps(c, ensure_ascii=not c.isprintable()) for c in chars)
    char = painted(char, colour_of(score.bits)) if shaded else char
    return f"{char}\t{score.bits:.4f}\t{score.rank}\t{score.entropy_bits:.4f}\t{likeliest}\n"


def legend() -> str:
    """Return a line that shows the minimum bits of each colour."""
    samples = "".join(painted(f" {bits}+ ", colour) for bits, colour in SHADES)
    return f"bits of surprisal: {samples}\n"


def shade(text: str, bits: Floats, raw: bool = False) -> str:
    """Return the text with each character on the background of its bits (N,).

    A character whose bits are NaN has no background. A tab has a mark before it, as a terminal does
    not color a tab. Other control characters are escaped unless `raw`.
    """
    show = str if raw else escape_unprintable
    shown = (f"{MARKS[char]}\t" if char == "\t" else show(char) for char in text)
    pairs = zip(shown, map(colour_of, bits.tolist()), strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return "".join(painted("".join(char for char, _ in run), colour) for colour, run in runs)


def colour_of(bits: float) -> int | None:
    """Return the background for a surprisal in bits; None below 1 bit and for NaN."""
    colours = [colour for min_bits, colour in SHADES if bits >= min_bits]
    return colours[-1] if colours else None


def painted(text: str, colour: int | None) -> str:
    """Return the text on a background colour; unchanged if that is None."""
    return text if colour is None else f"\x1b[38;5;{INK};48;5;{colour}m{text}{PLAIN}"
