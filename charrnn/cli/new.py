"""The command `charrnn new`: its options."""

from __future__ import annotations

import click

from charrnn.cli.terminal import logger, quiet_option


@click.command(short_help="Print a config that suits a text and this machine.")
@click.argument("corpus_path", metavar="CORPUS")
@quiet_option
def new(corpus_path: str) -> None:
    """Inspect the text CORPUS (- is stdin), and print a config that suits it and this machine.

    Save the config in the current folder. Its comments describe the text and estimate the time
    that training takes.

    \b
    charrnn new mine.txt > mine.yaml && charrnn train mine.yaml
    tr A-Z a-z < mine.txt | charrnn new - > mine.yaml
    """
    from charrnn.data import text_profile
    from charrnn.training import new_config

    profile = text_profile.profile_text(corpus_path)
    if profile.undecodable:
        logger.info(
            f"{profile.name} is not UTF-8: {profile.undecodable}. It is read as {profile.encoding}"
        )
    # YAML is UTF-8, also where the terminal has another encoding.
    click.echo(new_config.config_text(profile, corpus_path).encode(), nl=False)
