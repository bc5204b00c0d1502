"""Print the table of settings in configs/README.md, from their definitions.

python scripts/settings_table.py
"""

from __future__ import annotations

import dataclasses

from charrnn.config.schema import SECTIONS


def table() -> str:
    """Return the table as Markdown, one row per setting."""
    rows = ["| setting | default | what it may be | what it means |", "|---|---|---|---|"]
    for section, section_class in SECTIONS.items():
        for field in dataclasses.fields(section_class):
            default = {None: "null", (): "", True: "true", False: "false"}.get(
                field.default, f"{field.default}"
            )
            if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
                default = f"{field.default}"
            default_text = f"`{default}`" if default else "required"
            kind, meaning = field.metadata["kind"], field.metadata["meaning"]
            rows.append(
                f"| `{section}.{field.name}` | {default_text} | {kind.expected} | {meaning} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
