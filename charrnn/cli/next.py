"""The command `charrnn next`: prints the likeliest next characters after a text."""

from __future__ import annotations

import json
import math

import click

from charrnn.cli.options import checkpoint_argument, model_and_text
from charrnn.cli.terminal import write


@click.command(short_help="Print the likeliest next characters after a text.")
@checkpoint_argument
@click.argument("text", metavar="TEXT", required=False)
@click.option(
    "--top", type=click.IntRange(1), default=10, metavar="K", help="Print the K likeliest."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a list of objects: char, probability, bits."
)
def next(checkpoint_path: str, text: str | None, top: int, as_json: bool) -> None:
    """Print the likeliest next characters after TEXT, by the model in CKPT (- is stdin).

    A tab-separated row for each character: the character, its probability, its bits. TEXT is the
    text itself, or - for stdin, of which a model of running text also reads the final newline. A
    model of lines reads one record.

    \b
    charrnn next runs/dinos.npz tyranno
    charrnn next runs/dinos.npz '' --top 3 --json
    """
    checkpoint_path, text = model_and_text(checkpoint_path, text)
    if text is None:
        raise click.UsageError("Missing argument 'TEXT'.")
    from charrnn import api
    from charrnn.data.reader import read_text

    model = api.load(checkpoint_path)
    if text == "-":
        text = read_text(text)
        if model.mode == "lines":  # an `echo` ends the line that is to be continued
            text = text.removesuffix("\n")
    rows = [(char, p, -math.log2(p)) for char, p in model.next(text, top)]
    if as_json:
        names = ("char", "probability", "bits")
        write(json.dumps([dict(zip(names, row, strict=True)) for row in rows]) + "\n")
        return
    for char, p, bits in rows:
        write(f"{json.dumps(char, ensure_ascii=not char.isprintable())}\t{p:.4f}\t{bits:.4f}\n")
