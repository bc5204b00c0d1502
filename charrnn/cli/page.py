"""The command `charrnn page`: a web page about a text."""

from __future__ import annotations

import os

import click

from charrnn.cli.terminal import tell
from charrnn.cli.text_options import TextOptions, text_options


@click.command()
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
    if any(os.path.exists(path) and _same_file(path, out_path) for path in reads):
        raise click.UsageError(f"-o {out_path} would replace what is read")
    from charrnn.web import page as pages

    with text.open() as subject:
        if out_path == "-":
            # The page says that it is UTF-8, whatever the terminal's encoding.
            click.echo(pages.of(subject).encode(), nl=False)
            return
        pages.write(subject, out_path)
    tell(out_path)


def _same_file(path: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(path, other)
