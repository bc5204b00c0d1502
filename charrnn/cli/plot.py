"""The command `charrnn plot`: draws the losses of runs in the terminal or as a picture."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import PurePath

import click

from charrnn.cli.options import checkpoints_argument
from charrnn.cli.terminal import colour_enabled, result_file, write
from charrnn.errors import CharrnnError

CLEAR = "\x1b[H\x1b[J"  # the screen, before the next curve
FOLLOW_S = 0.5  # between two looks for a newer checkpoint
MAX_RUNS = 26  # each is marked with a letter


@click.command(short_help="Draw the loss curves of one run or several.")
@checkpoints_argument
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
@click.option("--follow", is_flag=True, help="Redraw at every save, until the runs are finished.")
def plot(checkpoint_paths: tuple[str, ...], out_path: str | None, by: str, follow: bool) -> None:
    """Draw the training and validation loss of one or more runs, nats left and bits right.

    Each CKPT (- is stdin) contains the loss history of its run: a point of the training loss is the
    mean of all updates since the point before. Without --out the curves are drawn in the terminal,
    with the mean of the points in a column; in a pipe they have 80 columns and 24 lines, unless
    COLUMNS and LINES are set.

    \b
    charrnn plot runs/dinos.npz
    charrnn plot runs/dinos.npz runs/lstm.npz --by seconds
    charrnn plot runs/dinos.npz runs/lstm.npz -o loss.png
    """
    kind = None if out_path is None else _picture_kind(out_path)
    if len(checkpoint_paths) > MAX_RUNS:
        raise click.UsageError(
            f"{len(checkpoint_paths)} runs are too many for one picture: name at most {MAX_RUNS}"
        )
    if follow and (out_path is not None or "-" in checkpoint_paths or not sys.stdout.isatty()):
        raise click.UsageError("--follow draws files in a terminal: without --out, - or a pipe")
    from charrnn.plots import history

    if out_path is None or kind is None:
        _draw(checkpoint_paths, by, follow)
        return
    runs, _ = history.read(checkpoint_paths, by)
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


def _draw(checkpoint_paths: tuple[str, ...], by: str, follow: bool) -> None:
    """Draw the curves in the terminal; with `follow`, again whenever a checkpoint is saved."""
    from charrnn.plots import history
    from charrnn.plots import terminal as curve

    style = curve.Style(0, 0, _has_braille(), colour_enabled(sys.stdout.isatty(), os.environ))
    while True:
        saved_at = [os.stat(path).st_mtime_ns for path in checkpoint_paths if follow]
        runs, finished = history.read(checkpoint_paths, by)
        columns, lines = shutil.get_terminal_size((80, 24))
        chart = curve.draw(runs, by, style._replace(columns=columns, lines=lines))
        # Colour codes are not escaped; the names have no control characters.
        write(CLEAR + chart if follow else chart, raw=True)
        if finished or not follow:
            return
        while saved_at == [os.stat(path).st_mtime_ns for path in checkpoint_paths]:
            time.sleep(FOLLOW_S)


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
