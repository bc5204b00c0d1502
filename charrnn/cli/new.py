"""The command `charrnn new`: its options."""

from __future__ import annotations

import click

from charrnn.cli.terminal import logger, quiet_option


@click.command()
@click.argument("corpus_path", metavar="CORPUS")
@quiet_option
def new(corpus_path: str) -> None:
    """Look at the text CORPUS (- is stdin), and print a config that suits it and this machine.

    The config is to be saved in the current folder. Its comments tell what the text is made of
    and about how long training takes.

    \b
    charrnn new mine.txt > mine.yaml && charrnn train mine.yaml
    tr A-Z a-z < mine.txt | charrnn new - > mine.yaml
    """
    from charrnn.data import text_profile
    from charrnn.training import new_config

    found = text_profile.profile_text(corpus_path)
    if found.undecodable:
        logger.info(
            f"{found.name} is not UTF-8 text: {found.undecodable}. It is read as {found.encoding}"
        )
    # YAML is UTF-8, whatever the terminal's encoding.
    click.echo(new_config.config_text(found, corpus_path).encode(), nl=False)
