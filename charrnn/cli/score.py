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
from charrnn.cli.terminal import Number, logger, writer
from charrnn.cli.text_options import TextOptions, text_options

if TYPE_CHECKING:
    from charrnn.evaluation.line_scores import Char, Line
    from charrnn.evaluation.scoring_task import Subject


class RowOptions(NamedTuple):
    """Which rows are printed, and how."""

    per: str
    above: float | None
    below: float | None
    percentile: bool
    color: str
    raw: bool
    as_json: bool

    def check(self) -> None:
        """Raise UsageError for thresholds that nothing can meet."""
        thresholds = [number for number in (self.above, self.below) if number is not None]
        if self.percentile and not thresholds:
            raise click.UsageError("--percentile needs --above or --below")
        if self.percentile and max(thresholds) > 100:
            raise click.UsageError(f"a percentile is 0 to 100, not {max(thresholds):g}")
        if len(thresholds) == 2 and thresholds[0] >= thresholds[1]:
            raise click.UsageError(
                f"nothing is both above {thresholds[0]:g} and below {thresholds[1]:g}"
            )

    def shades(self) -> bool:
        """Return whether the text of a row is shaded: never in JSON."""
        if self.as_json or self.color != "auto":
            return self.color == "always" and not self.as_json
        return shade.wanted(sys.stdout.isatty(), os.environ)


@click.command()
@text_options
@click.option(
    "--per",
    type=click.Choice(["line", "char"]),
    default="line",
    show_default=True,
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
    show_default=True,
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
    rows = RowOptions(**options)
    rows.check()
    with text.open() as subject:
        if not _print_rows(subject, rows):
            raise click.exceptions.Exit(1)


def _print_rows(subject: Subject, options: RowOptions) -> bool:
    """Print the rows; return False where all of them were filtered out."""
    least, most = (_threshold(subject, options, side) for side in ("above", "below"))
    shades = options.shades()
    write = writer(raw=options.raw or shades)  # colours; what the text has of such is escaped
    show: Callable[[Any, RowOptions, bool], str] = _of_line if options.per == "line" else _of_char
    if shades:
        write(shade.legend())
    matched = least is None and most is None
    for rows in subject.rows(options.per):
        kept = [
            show(row, options, shades)
            for row in rows
            if (least is None or row.bits_per_char > least)
            and (most is None or row.bits_per_char < most)
        ]
        if kept:
            matched = True
            write("".join(kept))
    return matched


def _threshold(subject: Subject, options: RowOptions, side: str) -> float | None:
    """Bits per character, where need be those of a percentile, which is then told."""
    number: float | None = getattr(options, side)
    if number is None or not options.percentile:
        return number
    bits, count = subject.percentile(options.per, number)
    logger.info(
        f"{side} {bits:.4f} bits per character: percentile {number:g} of {count:,} validation "
        f"{'lines' if options.per == 'line' else 'characters'}"
    )
    return bits


def _of_line(line: Line, options: RowOptions, shades: bool) -> str:
    if options.as_json:
        facts = {
            "bits_per_char": line.bits_per_char if math.isfinite(line.bits_per_char) else None,
            "bits": line.bits,
            "chars": line.chars,
            "unknown": line.unknown,
            "line": line.text,
        }
        return json.dumps(facts) + "\n"
    figures = (f"{line.bits_per_char:.4f}", f"{line.bits:.4f}", line.chars, line.unknown)
    text = shade.shaded(line.text, line.shades, options.raw) if shades else line.text
    return "\t".join(map(str, (*figures, text))) + "\n"


def _of_char(char: Char, options: RowOptions, shades: bool) -> str:
    if options.as_json:
        return json.dumps(char._asdict()) + "\n"
    figures = (f"{char.bits:.4f}", char.rank, f"{char.entropy_bits:.4f}")
    shown, likeliest = (
        json.dumps(c, ensure_ascii=not c.isprintable()) for c in (char.char, char.likeliest)
    )
    shown = shade.painted(shown, shade.colour_of(char.bits)) if shades else shown
    return "\t".join(map(str, (shown, *figures, likeliest))) + "\n"
