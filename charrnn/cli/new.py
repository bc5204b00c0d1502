"""The command `charrnn new`: its options."""

from __future__ import annotations

import os

import click

from charrnn.cli.options import Number, quiet_option
from charrnn.cli.terminal import result_file
from charrnn.config.schema import KINDS
from charrnn.errors import ConfigError


@click.command(short_help="Write a config that suits a text and this machine.")
@click.argument("inputs", metavar="TEXT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    "out_path",
    metavar="FILE",
    default="-",
    help="Config to write; the checkpoint gets its name. - is stdout.",
)
@click.option(
    "--minutes",
    type=Number(min=0, min_open=True),
    default=2.0,
    help="Time that the run may take on this machine.",
)
@click.option(
    "--cell",
    type=click.Choice(KINDS["model.cell"].words),
    default="gru",
    help="Kind of recurrence of the network.",
)
@quiet_option
def new(inputs: tuple[str, ...], out_path: str, minutes: float, cell: str) -> None:
    """Inspect texts, and write a config that suits them and this machine.

    TEXT is a file, - for stdin, or a folder, whose text files are taken. A config without -o
    belongs in the current folder. Its comments describe the text and estimate the time that
    training takes. `charrnn train TEXT` also writes a config, and trains with it.

    \b
    charrnn new mine.txt -o mine.yaml && charrnn train mine.yaml
    charrnn new poems/ --minutes 20 --cell lstm -o poems.yaml
    tr A-Z a-z < mine.txt | charrnn new - > mine.yaml
    """
    from charrnn.training import new_config

    if out_path != "-" and os.path.isfile(out_path):
        raise ConfigError(f"{out_path} is there already", "Name another file: -o FILE")
    content = new_config.config_text(inputs, out_path, cell, minutes)
    with result_file(out_path) as stream:
        stream.write(content)
