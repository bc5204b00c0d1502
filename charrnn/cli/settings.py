"""The command `charrnn settings`: what a config and `--set` may contain."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from typing import Any

import click

from charrnn.cli.terminal import print_result
from charrnn.errors import CharrnnError

COLUMNS = 80


@click.command(short_help="List the settings of a config.")
@click.argument("word", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each setting.")
def settings(word: str, as_json: bool) -> None:
    """List the settings of a config, or those whose name, choices or meaning contain WORD.

    Each setting has its name, its default, what it may be and what it means. A config has them in
    sections; `train --set` and `gradcheck --set` change one on the command line.

    \b
    charrnn settings
    charrnn settings cell
    charrnn settings "learning rate" --json
    """
    from charrnn.config.schema import KINDS

    rows = [describe(key) for key in KINDS if _matches(key, word)]
    if not rows:
        similar = ", ".join(_similar(word))
        raise CharrnnError(
            f"no setting matches {word!r}",
            f"Similar: {similar}" if similar else "All settings: charrnn settings",
        )
    print_result("\n".join(map(json.dumps if as_json else format_row, rows)))


def describe(key: str) -> dict[str, Any]:
    """Return the description of a setting as JSON values."""
    from charrnn.config.schema import FIELDS, KINDS

    kind, field = KINDS[key], FIELDS[key]
    return {
        "name": key,
        "default": field.default if field.default != () else None,
        "required": field.default == (),
        "allowed": kind.expected,
        "choices": list(kind.words),
        "meaning": field.metadata["meaning"],
    }


def format_row(row: dict[str, Any]) -> str:
    """Return a description as a line with the default and the allowed values, and the meaning."""
    from charrnn.config.kinds import format_value

    default = "required" if row["required"] else format_value(row["default"])
    meaning = textwrap.fill(
        row["meaning"], COLUMNS, initial_indent="    ", subsequent_indent="    "
    )
    return f"{row['name']}: {default}  ({row['allowed']})\n{meaning}"


def _matches(key: str, word: str) -> bool:
    """Return whether the name, a choice or the meaning of a setting contains the word."""
    row = describe(key)
    texts = [key, *row["choices"], row["meaning"]]
    return any(_plain(word) in _plain(text) for text in texts)


def _plain(text: str) -> str:
    """Return the text in lower case, with spaces for - and _, as in a meaning."""
    return re.sub("[-_]", " ", text).lower()


def _similar(word: str) -> list[str]:
    """Return the settings with the most similar names, parts of names, or initials: lr."""
    from charrnn.config.schema import KINDS

    names: dict[str, str] = {}
    for key in KINDS:
        name = key.partition(".")[2]
        parts = name.split("_")
        names |= dict.fromkeys([key, name, *parts, "".join(part[0] for part in parts)], key)
    matches = difflib.get_close_matches(word.lower(), names, n=3, cutoff=0.7)
    return list(dict.fromkeys(names[match] for match in matches))
