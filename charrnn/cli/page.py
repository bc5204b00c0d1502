"""The command `charrnn page`: a web page about a text."""

from __future__ import annotations

import contextlib
import os

import click

from charrnn.cli.terminal import result_file
from charrnn.cli.text_options import TextOptions, text_options


@click.command(short_help="Make a web page about a text and a model.")
@text_options
@click.option(
    "-o", "--out", "out_path", metavar="PAGE", required=True, help="The page; - is stdout."
)
def page(text: TextOptions, out_path: str) -> None:
    """Make a web page about TEXT and the model in CKPT, and print its path.

    It shows the text shaded by surprisal, what was expected in place of each character, and the
    hidden units that follow a feature of the text most closely. TEXT is a file or - for stdin;
    without it, the validation part of the corpus that the model was trained on is read.

    \b
    charrnn page runs/dinos.npz -o dinos.html
    charrnn page runs/dinos.npz names.txt -o names.html
    """
    reads = [path for path in (text.checkpoint_path, text.text_path) if path and path != "-"]
    with contextlib.suppress(OSError):  # what is not there cannot be replaced
        if any(os.path.samefile(path, out_path) for path in reads):
            raise click.UsageError(f"-o {out_path} would replace what is read")
    from charrnn.web import page as pages

    with text.open() as task, result_file(out_path) as stream:
        stream.write(pages.make_page(task).encode())
