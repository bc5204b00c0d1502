"""The command `charrnn score`: a row for each line or character of a text."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli import shade
from charrnn.cli.terminal import Number, logger, write
from charrnn.cli.text_options import TextOptions, text_options

if TYPE_CHECKING:
    from charrnn.evaluation.line_scores import CharScore, LineScore
    from charrnn.evaluation.scoring_task import ScoringTask


class RowOptions(NamedTuple):
    """Which rows are printed, and how."""

    per: str
    above: float | None
    below: float | None
    percentile: bool
    color: str
    as_json: bool
    raw: bool

    @property
    def shades(self) -> bool:
        """Whether the characters of a row are shaded: never in JSON."""
        auto = self.color == "auto" and shade.wanted(sys.stdout.isatty(), os.environ)
        return (auto or self.color == "always") and not self.as_json


@click.command(short_help="Score each line or character of a text.")
@text_options
@click.option(
    "--per",
    type=click.Choice(["line", "char"]),
    default="line",
    help="A row for each: `bits_per_char bits chars unknown line`, or `char bits rank "
    "entropy_bits likeliest`, tab-separated, as the text arrives.",
)
@click.option(
    "--above",
    type=Number(0),
    metavar="BITS",
    help="Print only rows with more bits per character; exit code 1 if there are none.",
)
@click.option(
    "--below", type=Number(0), metavar="BITS", help="The same with fewer; both make a band."
)
@click.option(
    "--percentile",
    is_flag=True,
    help="BITS are percentiles, 0 to 100, of such rows of the validation part.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Shade each character by its bits; auto does on a terminal, unless NO_COLOR is set.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a row.")
@click.option(
    "--raw",
    is_flag=True,
    help="Write control characters to a terminal as they are, not as escapes such as \\x1b.",
)
def score(text: TextOptions, **options: Any) -> None:
    """Score each line or character of TEXT with the model in CKPT.

    TEXT is a file or - for stdin; without it, the validation part of the corpus that the model
    was trained on is read. Rows are printed as the text arrives.

    \b
    charrnn score runs/dinos.npz names.txt | sort -n | tail
    charrnn score runs/dinos.npz names.txt --above 99 --percentile | cut -f 5
    printf 'tyranno\\n' | charrnn score runs/dinos.npz - --per char
    """
    asked = RowOptions(**options)
    thresholds = [bits for bits in (asked.above, asked.below) if bits is not None]
    if asked.percentile and not thresholds:
        raise click.UsageError("--percentile needs --above or --below")
    if asked.percentile and max(thresholds) > 100:
        raise click.UsageError(f"a percentile is 0 to 100, not {max(thresholds):g}")
    if len(thresholds) == 2 and thresholds[0] >= thresholds[1]:
        above, below = thresholds
        raise click.UsageError(f"nothing is both above {above:g} and below {below:g}")
    with text.open() as task:
        if not _print_rows(task, asked) and thresholds:
            raise click.exceptions.Exit(1)


def _print_rows(task: ScoringTask, asked: RowOptions) -> bool:
    """Print the rows between the thresholds; return whether there are any."""
    above = _threshold(task, asked, "above", asked.above)
    below = _threshold(task, asked, "below", asked.below)
    shaded = asked.shades
    # Colours are written as they are; what the text has of such is escaped.
    raw = asked.raw or shaded
    show: Callable[[Any, RowOptions, bool], str] = _of_line if asked.per == "line" else _of_char
    if shaded:
        write(shade.legend(), raw)
    matched = False
    for rows in task.rows(asked.per):
        kept = [
            row for row in rows if not (row.bits_per_char <= above or row.bits_per_char >= below)
        ]
        matched = matched or bool(kept)
        write("".join(show(row, asked, shaded) for row in kept), raw)
    return matched


def _threshold(task: ScoringTask, asked: RowOptions, side: str, number: float | None) -> float:
    """Bits per character, where need be those of a percentile, which is then told.

    NaN, with which nothing compares, where there is none.
    """
    if number is None or not asked.percentile:
        return math.nan if number is None else number
    bits, count = task.percentile(asked.per, number)
    logger.info(
        f"{side} {bits:.4f} bits per character: percentile {number:g} of {count:,} validation "
        f"{'lines' if asked.per == 'line' else 'characters'}"
    )
    return bits


def _of_line(line: LineScore, asked: RowOptions, shaded: bool) -> str:
    if asked.as_json:
        facts = {
            "bits_per_char": line.bits_per_char if math.isfinite(line.bits_per_char) else None,
            "bits": line.bits,
            "chars": line.chars,
            "unknown": line.unknown,
            "line": line.text,
        }
        return json.dumps(facts) + "\n"
    text = shade.shaded(line.text, line.char_bits, asked.raw) if shaded else line.text
    return f"{line.bits_per_char:.4f}\t{line.bits:.4f}\t{line.chars}\t{line.unknown}\t{text}\n"


def _of_char(char: CharScore, asked: RowOptions, shaded: bool) -> str:
    if asked.as_json:
        return json.dumps(char._asdict()) + "\n"
    shown, likeliest = (
        json.dumps(c, ensure_ascii=not c.isprintable()) for c in (char.char, char.likeliest)
    )
    shown = shade.painted(shown, shade.colour_of(char.bits)) if shaded else shown
    return f"{shown}\t{char.bits:.4f}\t{char.rank}\t{char.entropy_bits:.4f}\t{likeliest}\n"
