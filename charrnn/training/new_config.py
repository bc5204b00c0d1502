"""Writes a config for a text, with comments that tell what the text is made of."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from charrnn.config.schema import shown
from charrnn.data.characters import named
from charrnn.data.text_profile import RARE, Survey
from charrnn.errors import CharrnnError
from charrnn.training import presets
from charrnn.training.presets import CELL, VALIDATIONS, Plan


def write(survey: Survey, path: str) -> str:
    """The YAML of a config for the text at `path`, to be saved in the current folder.

    Takes about a second, because the network is tried. Raises CharrnnError when YAML cannot hold
    the path.
    """
    corpus = _name(path)
    plan = presets.plan(survey)
    return "\n".join([*_comments(survey, plan), *_settings(survey, plan, corpus)])


def _settings(survey: Survey, plan: Plan, path: str) -> list[str]:
    """The sections of the config."""
    every = max(1, int(float(f"{plan.steps / VALIDATIONS:.1g}")))
    sections = {
        "corpus": {
            "path": _scalar(path),
            "encoding": survey.encoding,
            "mode": survey.mode,
            "validation": f"{plan.validation:g}",
        },
        **presets.settings(plan.recipe),
        "output": {
            "checkpoint": _scalar(_checkpoint(path)),
            "validate_every": every,
            "sample_every": every,
        },
    }
    sections["train"]["epochs"] = f"{plan.epochs:g}"
    other = "`lines` is one record on each line"
    if survey.mode == "lines":
        other = "`stream` is running text"
    notes = {"mode": f"{survey.why}; {other}", "epochs": f"about {plan.steps:,} steps"}
    if path == "-":
        notes["path"] = "standard input is read once: train with --corpus FILE"
    if not plan.validation:
        notes["validation"] = "the text is too small to hold some of it out"
    lines = []
    for section, values in sections.items():
        lines.append(f"{section}:")
        for key, value in values.items():
            note = f"  # {notes[key]}" if key in notes else ""
            lines.append(f"  {key}: {shown(value)}{note}")
    return [*lines, ""]


def _comments(survey: Survey, plan: Plan) -> list[str]:
    """What this trains, about how long it takes, and what was seen in the text."""
    recipe = plan.recipe
    what = "lines" if survey.mode == "lines" else "text"
    lengths = survey.lengths
    names = named(survey.rare, lambda char: f"{char!r} U+{ord(char):04X}")
    often = "" if survey.rare else f", each seen {RARE} times or more"
    seen = [
        f"{len(survey.text):,} characters, {len(survey.counts):,} distinct{often}",
        survey.rare and f"{len(survey.rare):,} seen fewer than {RARE} times: {names}",
        f"{len(lengths):,} lines of {lengths[0]:,} to {lengths[-1]:,} characters, the middle one "
        f"{lengths[len(lengths) // 2]:,}",
        survey.blank and f"{survey.blank:,} empty lines",
        survey.copies and f"{survey.copies:,} lines repeat an earlier one",
        survey.crlf and f"{survey.crlf:,} Windows line ends (CRLF), read as LF",
        survey.marked and "a byte order mark, left out",
        survey.misread
        and f"not UTF-8: {survey.misread}; if letters look wrong, try another encoding",
    ]
    return [
        f"# New {what} like {survey.name!r}: a {CELL} of {recipe.hidden} units, written by "
        "`charrnn new`.",
        f"# Takes about {_duration(plan.seconds)} on the machine that wrote this "
        f"({plan.chars_per_s / 1000:,.3g}k characters/s).",
        "#",
        "# What the text is made of:",
        *(f"#   {line}" for line in seen if line),
    ]


def _duration(seconds: float) -> str:
    if seconds < 2:
        return "a second"
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    minutes, rest = divmod(round(seconds / 5) * 5, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _name(path: str) -> str:
    """The path as a config may hold it. Raises CharrnnError."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise CharrnnError(
            f"{path!a}: a name that is not UTF-8 cannot stand in a config: rename the file, "
            "or give its text on standard input"
        ) from None
    return os.path.join(os.curdir, path) if path.startswith("~") else path  # no home folder


def _checkpoint(path: str) -> str:
    """The corpus's name with .npz; neither it nor the .jsonl beside it may replace the corpus."""
    if path == "-":
        return "charrnn.npz"
    taken = Path(path).suffix.lower() in (".npz", ".jsonl")
    return _name(f"{Path(path).stem}{'-model' if taken else ''}.npz")


def _scalar(value: str) -> str:
    """A string as YAML, quoted where it needs to be."""
    style = None if value.isprintable() else '"'
    dumped: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=1 << 20)
    return dumped.removesuffix("...\n").strip()
