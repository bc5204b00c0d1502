"""The command `charrnn info`: the contents of a checkpoint, as JSON values and as a text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from charrnn import units
from charrnn.cli.terminal import print_result
from charrnn.config.schema import format_value

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint


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

    values = facts(checkpoint.load(checkpoint_path), checkpoint_path)
    print_result(json.dumps(values) if as_json else format_facts(values))


def facts(loaded: Checkpoint, path: str) -> dict[str, Any]:
    """Return the contents of a checkpoint as JSON values, except for its arrays."""
    validations = [row[-1] for row in loaded.history.tolist() if math.isfinite(row[-1])]
    return {
        "checkpoint": path,
        "step": loaded.step,
        "seconds": loaded.training_state.get("seconds"),
        "validations": len(validations),
        "last_validation_nats": validations[-1] if validations else None,
        "best_validation_nats": _finite(loaded.training_state.get("best_nats")),
        "best_step": loaded.training_state.get("best_step"),
        "corpus_sha256": loaded.corpus_sha256,
        "vocabulary": loaded.vocab.chars,
        "parameters": {name: list(array.shape) for name, array in loaded.params.items()},
        "parameter_count": loaded.params.flat.size,
        "config": loaded.config.as_dict(),
        "resume": loaded.resume_command(path),
    }


def format_facts(facts: dict[str, Any]) -> str:
    """Return the values of `facts` as a text of several lines."""
    config, chars = facts["config"], facts["vocabulary"]
    model = config["model"]
    lines = [
        f"{facts['checkpoint']}: {model['cell']}, {model['layers']} x {model['hidden']}, "
        f"{model['dtype']}, {facts['parameter_count']:,} parameters",
        "",
        f"step             {facts['step']:,}, after {facts['seconds'] or 0:,.1f} s",
        f"validations      {facts['validations']:,}; last {_nats(facts['last_validation_nats'])}, "
        f"best {_nats(facts['best_validation_nats'])} at step {facts['best_step'] or 0:,}",
        f"vocabulary       {len(chars):,} characters: {_shorten(ascii(chars))}",
        f"corpus           sha256 {facts['corpus_sha256']}",
        f"to resume        {facts['resume']}",
        "",
        "parameters",
    ]
    for name, shape in facts["parameters"].items():
        lines.append(f"  {name:<15}{' x '.join(map(str, shape)):>13}  {math.prod(shape):>12,}")
    lines += ["", "config"]
    for section, settings in config.items():
        lines += [
            f"  {section + '.' + key:<32}{format_value(value)}" for key, value in settings.items()
        ]
    return "\n".join(lines)


def _finite(value: object) -> float | None:
    """Return a finite number, else None, because JSON has no infinity."""
    return value if isinstance(value, float) and math.isfinite(value) else None


def _nats(nats: float | None) -> str:
    return "none" if nats is None else units.nats_and_bits(nats)


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "..."
