"""The command `charrnn gradcheck`: its options."""

from __future__ import annotations

import click

from charrnn.cli.options import set_option


@click.command(short_help="Check the gradients against finite differences.")
@click.argument("config_path", metavar="CONFIG")
@set_option
@click.option("--corpus", metavar="FILE", help="Text to take the slice from; - is stdin.")
@click.option(
    "--entries", type=click.IntRange(1), default=50, help="Entries to check in each array."
)
@click.option("--seed", type=click.IntRange(0), default=1, help="Seed that chooses the entries.")
def gradcheck(
    config_path: str, overrides: tuple[str, ...], corpus: str | None, entries: int, seed: int
) -> None:
    """Compare the gradients of back-propagation with finite differences, in float64.

    The network of CONFIG, with its cell, layers, dropout and mask, runs on a small slice of its
    corpus. The table has a row for every parameter array and for the initial state. The exit code
    is 1 if any row fails.

    \b
    charrnn gradcheck configs/dinos.yaml
    charrnn gradcheck configs/dinos.yaml --set model.cell=lstm --set model.layers=2
    """
    from charrnn.config import loader as configs
    from charrnn.data import download
    from charrnn.training import gradcheck_config

    extra = [] if corpus is None else [configs.Assignment("corpus.path", corpus)]
    overrides = ("train.seed=1", *overrides)
    config = configs.load(config_path, overrides, extra)
    download.fetch_missing(config.corpus)
    table, passed = gradcheck_config.check_config(config, entries, seed)
    click.echo(table)
    if not passed:
        raise click.exceptions.Exit(1)
