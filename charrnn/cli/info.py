"""The command `charrnn info`: its options."""

from __future__ import annotations

import json

import click

from charrnn.cli.terminal import print_result


@click.command(short_help="Print the sizes, state and config of a checkpoint.")
@click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(checkpoint_path: str, as_json: bool) -> None:
    """Print the sizes, vocabulary, training state and config of CKPT (- is stdin).

    \b
    charrnn info runs/dinos.npz
    charrnn info runs/dinos.npz --json
    """
    from charrnn import checkpoint
    from charrnn.cli import checkpoint_facts

    facts = checkpoint_facts.facts(checkpoint.load(checkpoint_path), checkpoint_path)
    print_result(json.dumps(facts) if as_json else checkpoint_facts.page(facts))
