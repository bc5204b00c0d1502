"""The command `charrnn page`: makes a web page about a text."""

from __future__ import annotations

import contextlib
import os

import click

from charrnn.cli.options import TextOptions, text_options
from charrnn.cli.terminal import result_file


@click.command(short_help="Make a web page about a text and a model.")
@text_options
@click.option(
    "-o", "--out", "out_path", metavar="PAGE", required=True, help="Path of the page; - is stdout."
)
def page(options: TextOptions, out_path: str) -> None:
    """Make a web page about TEXT and the model in CKPT, and print its path.

    The page shades each character by its surprisal, lists the characters that the model found most
    probable there, and shows the hidden units most correlated with features of the text, such as
    quotes. TEXT is a file, or - for stdin; without it, the validation part of the model's corpus.

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
        stream.write(make_page(task, options.checkpoint_path).encode())
