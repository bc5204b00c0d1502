"""The command `charrnn page`: makes a web page with a model inside."""

from __future__ import annotations

import contextlib
import os

import click

from charrnn.cli.options import TextOptions, text_options
from charrnn.cli.terminal import result_file


@click.command(short_help="Make a web page that writes and reads with a model.")
@text_options
@click.option(
    "-o", "--out", "out_path", metavar="PAGE", required=True, help="Path of the page; - is stdout."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Type of the weights in the page. With float32 a seed gives the text of charrnn sample.  "
    "[default: float16 if the loss on TEXT changes by less than 0.001 nats, else float32]",
)
def page(options: TextOptions, out_path: str, dtype: str | None) -> None:
    """Make a web page with the model in CKPT inside, and print its path.

    The page is one file that works offline in any browser. The model writes text, shades what is
    typed by its surprisal, and shades TEXT, with the likeliest characters and the hidden units at
    every character. TEXT is a file, or - for stdin; without it, the validation part of the model's
    corpus.

    \b
    charrnn page runs/dinos.npz -o dinos.html
    charrnn page runs/dinos.npz names.txt -o names.html
    """
    inputs = [path for path in (options.checkpoint_path, options.text_path) if path and path != "-"]
    with contextlib.suppress(OSError):  # of a file that does not exist, and so is not overwritten
        if any(os.path.samefile(path, out_path) for path in inputs):
            raise click.UsageError(f"-o {out_path} is an input file: choose another path")
    from charrnn.web.page import make_page

    with options.open() as task, result_file(out_path) as stream:
        stream.write(make_page(task, options.checkpoint_path, dtype).encode())
