"""The command `charrnn page`: makes a web page about a text."""

from __future__ import annotations

import contextlib
import os

import click

from charrnn.cli.terminal import result_file
from charrnn.cli.text_options import TextOptions, text_options


@click.command(short_help="Make a web page about a text and a model.")
@text_options
@click.option(
    "-o", "--out", "out_path", metavar="PAGE", required=True, help="Path of the page; - is stdout."
)
def page(text: TextOptions, out_path: str) -> None:
    """Make a web page about TEXT and the model in CKPT, and print its path.

    The page shows the text shaded by surprisal, the characters predicted in place of each one, and
    the hidden units that are most correlated with features of the text. TEXT is a file, or - for
    stdin. The default is the validation part of the corpus that the model was trained on.

    \b
    charrnn page runs/dinos.npz -o dinos.html
    charrnn page runs/dinos.npz names.txt -o names.html
    """
    inputs = [path for path in (text.checkpoint_path, text.text_path) if path and path != "-"]
    with contextlib.suppress(OSError):  # a missing file cannot be overwritten
        if any(os.path.samefile(path, out_path) for path in inputs):
            raise click.UsageError(f"-o {out_path} is an input file: choose another path")
    from charrnn.web import page as pages

    with text.open() as task, result_file(out_path) as stream:
        stream.write(pages.make_page(task).encode())
