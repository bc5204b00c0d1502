"""Prints the table of settings that stands in configs/README.md, from their definitions.

python scripts/settings_table.py
"""

from __future__ import annotations

import dataclasses

from charrnn.config.schema import SECTIONS


def table() -> str:
    """Markdown: one row a setting."""
    rows = ["| setting | default | what it may be | what it means |", "|---|---|---|---|"]
    for section, cls in SECTIONS.items():
        for key in dataclasses.fields(cls):
            default = {None: "null", (): "", True: "true", False: "false"}.get(
                key.default, f"{key.default}"
            )
            if isinstance(key.default, (int, float)) and not isinstance(key.default, bool):
                default = f"{key.default}"
            shown = f"`{default}`" if default else "required"
            kind, meaning = key.metadata["kind"], key.metadata["meaning"]
            rows.append(f"| `{section}.{key.name}` | {shown} | {kind.expected} | {meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
