"""The command `charrnn plot`: draws the losses of runs in the terminal or as a picture."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import PurePath

import click

from charrnn.cli import shade
from charrnn.cli.terminal import result_file, write
from charrnn.errors import CharrnnError

MAX_RUNS = 26  # each is marked with a letter


@click.command(short_help="Draw the loss curves of one run or several.")
@click.argument(
    "checkpoint_paths",
    metavar="CKPT...",
    nargs=-1,
    required=True,
    envvar="CHARRNN_CHECKPOINT",
    type=click.Path(readable=False),  # the variable is a list like PATH
)
@click.option(
    "-o",
    "--out",
    "out_path",
    metavar="FILE",
    help="Write a picture to FILE (.png, .svg or .pdf) instead; - writes a PNG to stdout. Needs "
    "matplotlib: pip install 'charrnn-numpy[plot]'.",
)
@click.option(
    "--by",
    type=click.Choice(["steps", "seconds"]),
    default="steps",
    help="Unit of the x axis: training steps, or seconds of training.",
)
@click.option(
    "--smooth",
    is_flag=True,
    help="Smooth the training loss as min-char-rnn does (0.999 old, 0.001 new): a lag of 1,000 "
    "steps.  [default: the mean since the last validation or, if longer, over 1/50 of the run]",
)
def plot(checkpoint_paths: tuple[str, ...], out_path: str | None, by: str, smooth: bool) -> None:
    """Draw the training and validation loss of one or more runs, nats left and bits right.

    Each CKPT (- is stdin) contains the loss history of its run. Without --out the curves are drawn
    in the terminal; in a pipe they have 80 columns and 24 lines, unless COLUMNS and LINES are set.

    \b
    charrnn plot runs/dinos.npz
    charrnn plot runs/dinos.npz runs/lstm.npz --by seconds
    charrnn plot runs/dinos.npz runs/lstm.npz -o loss.png
    """
    kind = None if out_path is None else _picture_kind(out_path)
    if checkpoint_paths.count("-") > 1:
        raise click.UsageError("only one checkpoint can come from standard input")
    if len(checkpoint_paths) > MAX_RUNS:
        raise click.UsageError(
            f"{len(checkpoint_paths)} runs are too many for one picture: name at most {MAX_RUNS}"
        )
    from charrnn.plots import history

    runs = history.read(checkpoint_paths, by, smooth)
    if out_path is None or kind is None:
        from charrnn.plots import terminal as curve

        columns, lines = shutil.get_terminal_size((80, 24))
        colour = shade.wanted(sys.stdout.isatty(), os.environ)
        chart = curve.draw(runs, by, curve.Style(columns, lines, _has_braille(), colour))
        write(chart, raw=True)  # colour codes are not escaped; names have no control characters
        return
    try:
        from charrnn.plots import figure
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = "is not installed" if missing else f"cannot be imported: {error}"
        raise CharrnnError(
            f"a picture needs matplotlib, which {reason}",
            "Try pip install 'charrnn-numpy[plot]', or omit --out to draw a curve in the terminal",
        ) from None
    with result_file(out_path) as stream:
        stream.write(figure.picture(runs, by, kind))


def _picture_kind(out_path: str) -> str:
    """Return the format of a picture, from the suffix of its path: png, svg or pdf.

    Raises UsageError for another suffix, and for stdout if it is a terminal.
    """
    if out_path == "-":
        if sys.stdout.isatty():
            raise click.UsageError("a terminal cannot show a picture: use --out FILE or omit --out")
        return "png"
    kind = PurePath(out_path).suffix[1:].lower()
    if kind not in ("png", "svg", "pdf"):
        raise click.UsageError(
            f"{out_path} is not a known picture format: let --out end in .png, .svg or .pdf"
        )
    return kind


def _has_braille() -> bool:
    """Return whether stdout can show braille: not in every encoding or on a Linux console."""
    try:
        "\u28ff│┤├┴└┘─".encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return not (sys.stdout.isatty() and os.environ.get("TERM") in ("linux", "dumb"))
