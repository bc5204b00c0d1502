"""Writes a config for a text, with comments that tell what the text is made of."""

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

RARE_COUNT = 3  # a character seen fewer times than this is hardly learnt


def config_text(profile: TextProfile, path: str) -> str:
    """The YAML of a config for the text at `path`, to be saved in the current folder.

    Takes about a second, because the network is tried. Raises CharrnnError when YAML cannot hold
    the path.
    """
    corpus = _name(path)
    plan = presets.plan(profile)
    return _comments(profile, plan) + _settings(profile, plan, corpus)


def _settings(profile: TextProfile, plan: Plan, path: str) -> str:
    """The sections of the config, with notes on some settings."""
    every = max(1, int(float(f"{plan.steps / VALIDATIONS:.1g}")))
    sections = {
        "corpus": {
            "path": path,
            "encoding": profile.encoding,
            "mode": profile.mode,
            "validation": plan.validation,
        },
        **presets.settings(plan.preset),
        "output": {"checkpoint": _checkpoint(path), "validate_every": every, "sample_every": every},
    }
    other = {"stream": "`lines` is one record on each line", "lines": "`stream` is running text"}
    mode = f"{profile.mode_reason}; {other[profile.mode]}"
    notes = {"mode": mode, "epochs": f"about {plan.steps:,} steps"}
    if path == "-":
        notes["path"] = "standard input is read once: train with --corpus FILE"
    if not plan.validation:
        notes["validation"] = "the text is too small to hold some of it out"
    text: str = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    for key, note in notes.items():
        text = re.sub(rf"^  {key}: .*", rf"\g<0>  # {note}", text, count=1, flags=re.MULTILINE)
    return text


def _comments(profile: TextProfile, plan: Plan) -> str:
    """What this trains, about how long it takes, and what was seen in the text."""
    what = "lines" if profile.mode == "lines" else "text"
    lengths, repeated = profile.lengths, len(profile.records) - len(set(profile.records))
    rare = sorted(char for char, count in profile.counts.items() if count < RARE_COUNT)
    names = list_characters(rare, lambda char: f"{char!r} U+{ord(char):04X}")
    often = "" if rare else f", each seen {RARE_COUNT} times or more"
    seen = [
        f"{len(profile.text):,} characters, {len(profile.counts):,} distinct{often}",
        rare and f"{len(rare):,} seen fewer than {RARE_COUNT} times: {names}",
        f"{len(lengths):,} lines of {lengths[0]:,} to {lengths[-1]:,} characters, the middle one "
        f"{lengths[len(lengths) // 2]:,}",
        profile.empty_lines and f"{profile.empty_lines:,} empty lines",
        repeated and f"{repeated:,} lines repeat an earlier one",
        *profile.notices,
        profile.undecodable
        and f"not UTF-8: {profile.undecodable}; if letters look wrong, try another encoding",
    ]
    facts = "".join(f"#   {fact}\n" for fact in seen if fact)
    return (
        f"# New {what} like {profile.name!r}: a {CELL} of {plan.preset.hidden} units, written by "
        "`charrnn new`.\n"
        f"# Takes about {_duration(plan.seconds)} on the machine that wrote this "
        f"({plan.chars_per_s / 1000:,.3g}k characters/s).\n"
        f"#\n# What the text is made of:\n{facts}"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 2):.0f} seconds"
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
