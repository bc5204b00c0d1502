"""Writes a config for a text, with comments that describe the text."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import yaml

from charrnn.data.characters import list_characters
from charrnn.data.text_profile import TextProfile
from charrnn.errors import CharrnnError
from charrnn.training import presets
from charrnn.training.presets import CELL, VALIDATIONS, Plan
from charrnn.units import duration

RARE_COUNT = 3  # a network hardly learns a character that occurs fewer times


def config_text(profile: TextProfile, path: str) -> str:
    """Return the YAML of a config for the text at `path`, to be saved in the current folder.

    Takes about a second, because it trains the network for a moment to measure its speed. Raises
    CharrnnError if the path is not UTF-8, because YAML cannot contain it then.
    """
    corpus = _config_path(path)
    plan = presets.plan(profile)
    return _comments(profile, plan) + _settings(profile, plan, corpus)


def _settings(profile: TextProfile, plan: Plan, path: str) -> str:
    """Return the sections of the config, with notes behind some settings."""
    steps = max(1, int(float(f"{plan.steps / VALIDATIONS:.1g}")))
    sections = {
        "corpus": {
            "path": path,
            "encoding": profile.encoding,
            "mode": profile.mode,
            "validation": plan.validation,
        },
        **presets.settings(plan.preset),
        "output": {"checkpoint": _npz_name(path), "validate_every": steps, "sample_every": steps},
    }
    hints = {"stream": "`lines` is one record on each line", "lines": "`stream` is running text"}
    mode = f"{profile.mode_reason}; {hints[profile.mode]}"
    notes = {"mode": mode, "epochs": f"about {plan.steps:,} steps"}
    if path == "-":
        notes["path"] = "standard input is read once: train with --corpus FILE"
    if not plan.validation:
        notes["validation"] = "the text is too small for a validation part"
    text: str = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    for key, note in notes.items():
        text = re.sub(rf"^  {key}: .*", rf"\g<0>  # {note}", text, count=1, flags=re.MULTILINE)
    return text


def _comments(profile: TextProfile, plan: Plan) -> str:
    """Return comments on the network, its training time and the text."""
    kind = "lines" if profile.mode == "lines" else "text"
    lengths, repeated = profile.lengths, len(profile.records) - len(set(profile.records))
    rare = sorted(char for char, count in profile.counts.items() if count < RARE_COUNT)
    names = list_characters(rare, lambda char: f"{char!r} U+{ord(char):04X}")
    counts = "" if rare else f", each at least {RARE_COUNT} times"
    facts = [
        f"{len(profile.text):,} characters, {len(profile.counts):,} distinct{counts}",
        rare and f"{len(rare):,} of them fewer than {RARE_COUNT} times: {names}",
        f"{len(lengths):,} lines of {lengths[0]:,} to {lengths[-1]:,} characters, median "
        f"{lengths[len(lengths) // 2]:,}",
        profile.empty_lines and f"{profile.empty_lines:,} empty lines",
        repeated and f"{repeated:,} lines repeat an earlier one",
        *profile.notices,
        profile.undecodable
        and f"not UTF-8: {profile.undecodable}; if letters look wrong, try another encoding",
    ]
    comments = "".join(f"#   {fact}\n" for fact in facts if fact)
    return (
        f"# New {kind} like {profile.name!r}: a {CELL} of {plan.preset.hidden} hidden units. "
        "Written by `charrnn new`.\n"
        f"# Takes about {duration(plan.seconds)} on the machine that wrote this "
        f"({plan.chars_per_s / 1000:,.3g}k characters/s).\n"
        f"#\n# The text contains:\n{comments}"
    )


def _config_path(path: str) -> str:
    """Return the path as a config contains it. Raises CharrnnError if it is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise CharrnnError(
            f"{path!a}: this path is not UTF-8, so a config cannot contain it: rename the file, "
            "or send its text to standard input"
        ) from None
    return os.path.join(os.curdir, path) if path.startswith("~") else path  # not the home folder


def _npz_name(path: str) -> str:
    """Return the corpus's name with .npz, changed if a file of the run would replace the corpus."""
    if path == "-":
        return "charrnn.npz"
    conflict = Path(path).suffix.lower() in (".npz", ".jsonl")
    return _config_path(f"{Path(path).stem}{'-model' if conflict else ''}.npz")
