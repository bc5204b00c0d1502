"""The command `charrnn plot`: the losses of runs as a curve in the terminal, or as a picture."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import PurePath

import click

from charrnn.cli import shade
from charrnn.cli.terminal import result_file, write
from charrnn.errors import CharrnnError

MOST_RUNS = 26  # as many as there are letters to mark them


@click.command(short_help="Draw the loss curves of one run or several.")
@click.argument(
    "checkpoint_paths",
    metavar="CKPT...",
    nargs=-1,
    required=True,
    envvar="CHARRNN_CHECKPOINT",
    type=click.Path(readable=False),  # several stand in the variable as in PATH
)
@click.option(
    "-o",
    "--out",
    "out_path",
    metavar="FILE",
    help="Draw a picture instead, a .png, .svg or .pdf; - writes a PNG to stdout. Needs "
    "matplotlib: pip install 'charrnn-numpy[plot]'.",
)
@click.option(
    "--by",
    type=click.Choice(["steps", "seconds"]),
    default="steps",
    help="What the losses are drawn against; seconds are those of training.",
)
@click.option(
    "--smooth",
    is_flag=True,
    help="Training loss as min-char-rnn smooths it, 0.999 old and 0.001 new, which is a thousand "
    "steps late.  [default: the mean since the validation before, or of a fiftieth of the run]",
)
def plot(checkpoint_paths: tuple[str, ...], out_path: str | None, by: str, smooth: bool) -> None:
    """Draw the training and validation loss of one run or several, nats left and bits right.

    Each CKPT (- is stdin) holds the losses of its own run. Without --out the curve is drawn in the
    terminal; in a pipe it is 80 columns wide and 24 lines high, or as COLUMNS and LINES say.

    \b
    charrnn plot runs/dinos.npz
    charrnn plot runs/dinos.npz runs/lstm.npz --by seconds
    charrnn plot runs/dinos.npz runs/lstm.npz -o loss.png
    """
    kind = None if out_path is None else _kind(out_path)
    if checkpoint_paths.count("-") > 1:
        raise click.UsageError("only one checkpoint can come from standard input")
    if len(checkpoint_paths) > MOST_RUNS:
        raise click.UsageError(
            f"{len(checkpoint_paths)} runs in one picture cannot be told apart; {MOST_RUNS} can"
        )
    from charrnn.plots import history

    runs = history.read(checkpoint_paths, by, smooth)
    if out_path is None or kind is None:
        from charrnn.plots import terminal as curve

        columns, lines = shutil.get_terminal_size((80, 24))
        colour = shade.wanted(sys.stdout.isatty(), os.environ)
        drawn = curve.draw(runs, by, curve.Style(columns, lines, _has_braille(), colour))
        write(drawn, raw=True)  # the colours; the names have no control characters
        return
    try:
        from charrnn.plots import figure
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        what = "is not installed" if missing else f"cannot be imported: {error}"
        raise CharrnnError(
            f"a picture is drawn with matplotlib, which {what}",
            "Try pip install 'charrnn-numpy[plot]', or leave --out out for a curve in the terminal",
        ) from None
    with result_file(out_path) as stream:
        stream.write(figure.picture(runs, by, kind))


def _kind(out_path: str) -> str:
    """The kind of picture that a file's name asks for. Raises UsageError."""
    if out_path == "-":
        if sys.stdout.isatty():
            raise click.UsageError(
                "a picture is nothing a terminal can show: use --out FILE, or leave it out for a "
                "curve"
            )
        return "png"
    kind = PurePath(out_path).suffix[1:].lower()
    if kind not in ("png", "svg", "pdf"):
        raise click.UsageError(
            f"{out_path} does not tell what to draw: let --out end in .png, .svg or .pdf"
        )
    return kind


def _has_braille() -> bool:
    """Whether stdout can show it: not in every encoding, and not on a bare console."""
    try:
        "\u28ff│┤├┴└┘─".encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return not (sys.stdout.isatty() and os.environ.get("TERM") in ("linux", "dumb"))
