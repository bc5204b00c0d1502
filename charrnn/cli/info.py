"""The command `charrnn info`: the contents of checkpoints, as JSON values and as a text."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from charrnn import units
from charrnn.cli.options import checkpoints_argument
from charrnn.cli.terminal import note, print_result
from charrnn.errors import CharrnnError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint


@click.command(short_help="Print what is in a checkpoint, or a line for each of many.")
@checkpoints_argument
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each checkpoint.")
def info(checkpoint_paths: tuple[str, ...], as_json: bool) -> None:
    """Print the sizes, vocabulary, training state and config of CKPT (- is stdin).

    Of several checkpoints, print a line each: path, cell, layers x hidden units, steps, best
    validation and its step, and the time of the file. One that cannot be read is an error on
    stderr; the others are printed, and the exit code is 1.

    \b
    charrnn info runs/dinos.npz
    charrnn info runs/*.npz
    charrnn info runs/*.npz --json
    """
    from charrnn import checkpoint

    readable = []
    for path in checkpoint_paths:
        try:
            readable.append(facts(checkpoint.load(path), path))
        except CharrnnError as error:
            if len(checkpoint_paths) == 1:
                raise
            note(f"Error: {error.with_hint}")
    if as_json:
        lines = list(map(json.dumps, readable))
    elif len(checkpoint_paths) == 1:
        lines = [format_facts(readable[0])]
    else:
        lines = format_lines(readable)
    for line in lines:
        print_result(line)
    if len(readable) < len(checkpoint_paths):
        sys.exit(1)


def facts(loaded: Checkpoint, path: str) -> dict[str, Any]:
    """Return the contents of a checkpoint as JSON values, except for its arrays."""
    validations = [row[-1] for row in loaded.history.tolist() if math.isfinite(row[-1])]
    return {
        "checkpoint": path,
        "modified": None if path == "-" else _time(os.path.getmtime(path)),
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


def format_lines(checkpoints: Sequence[dict[str, Any]]) -> list[str]:
    """Return the values of several `facts` as aligned lines: path and cell left, numbers right."""
    rows = [_columns(facts) for facts in checkpoints]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.rjust)
    return [
        "  ".join(
            f(text, width) for f, text, width in zip(align, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _columns(facts: dict[str, Any]) -> list[str]:
    """Return the texts of one line."""
    model, nats = facts["config"]["model"], facts["best_validation_nats"]
    return [
        facts["checkpoint"],
        model["cell"],
        f"{model['layers']} x {model['hidden']}",
        f"{facts['step']:,} steps",
        "no validation" if nats is None else f"{nats:.4f} nats at step {facts['best_step'] or 0:,}",
        (facts["modified"] or "").replace("T", " ")[:16],
    ]


def format_facts(facts: dict[str, Any]) -> str:
    """Return the values of `facts` as a text of several lines."""
    from charrnn.config.kinds import format_value

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


def _time(seconds: float) -> str:
    """Return a time since the epoch as local time in ISO 8601, with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _nats(nats: float | None) -> str:
    return "none" if nats is None else units.nats_and_bits(nats)


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "..."
