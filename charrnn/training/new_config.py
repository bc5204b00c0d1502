"""Writes a config for texts, with comments that describe them."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from charrnn import archive
from charrnn.atomic import replace_file
from charrnn.config import loader
from charrnn.data import text_files
from charrnn.data.characters import list_characters
from charrnn.data.text_profile import TextProfile, profile_text
from charrnn.errors import CharrnnError, ConfigError
from charrnn.streams import display_name
from charrnn.training import presets
from charrnn.training.presets import CELL, MEMORIZED, MINUTES, VALIDATIONS, Plan
from charrnn.units import duration

logger = logging.getLogger("charrnn")

RARE_COUNT = 3  # a network hardly learns a character that occurs fewer times


def find_config(inputs: Sequence[str], resume: bool = False, has_corpus: bool = False) -> str:
    """Return the path of the config or checkpoint to train, writing a config for texts.

    The config of texts is in the current folder and has the name of the first text; one that is
    there already is used. With `resume`, it must be there. With `has_corpus`, the options of the
    run name its text. Raises ConfigError, and the errors of `config_text`.
    """
    texts = [
        path for path in inputs if not (archive.is_checkpoint(path) or text_files.is_config(path))
    ]
    if not texts and len(inputs) == 1:
        return inputs[0]
    if len(texts) < len(inputs):
        other = next(path for path in inputs if path not in texts)
        raise ConfigError(
            f"{display_name(other)} is a config or a checkpoint, so no other file can be named",
            "Name one config, one checkpoint, or texts only",
        )
    if has_corpus:
        raise ConfigError(
            f"{texts[0]} and --corpus both name the text to train on", "Leave one of them out"
        )
    path = f"{text_files.base_name(texts[0])}.yaml"
    if os.path.lexists(path):
        _check_names_texts(path, texts)
        logger.info(f"{path} is there already: it is used as it is")
        return path
    if resume:
        raise ConfigError(
            f"{path}, the config of the run to resume, is missing",
            "Name the checkpoint of that run: charrnn train CKPT --resume",
        )
    content = config_text(texts, path)
    try:
        with replace_file(path) as stream:
            stream.write(content)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            "Write a config elsewhere, and train with it: charrnn new TEXT -o FOLDER/NAME.yaml",
        ) from None
    logger.info(f"{path} is written: a config that suits the text and this machine")
    return path


def _check_names_texts(path: str, texts: Sequence[str]) -> None:
    """Raise ConfigError unless the config at `path` names these texts, and files in the folders."""
    inputs = [Path(text).resolve() for text in texts]
    try:
        corpus = loader.load(path).corpus.path
    except ConfigError as error:
        raise ConfigError(
            f"{path}, which has the name of the text, cannot be used: {error}",
            "Correct or remove it, or write another config: charrnn new TEXT -o OTHER.yaml",
        ) from None
    # For each path of the config, the texts and folders that contain it.
    parents = [{text for text in inputs if Path(p).resolve().is_relative_to(text)} for p in corpus]
    if not all(parents) or set().union(*parents) != set(inputs):
        more = f" and {len(corpus) - 1:,} more" if len(corpus) > 1 else ""
        raise ConfigError(
            f"{path} is there already, and is for other texts: {display_name(corpus[0])}{more}",
            "Write another config: charrnn new TEXT -o OTHER.yaml, and train with it",
        )


def config_text(
    inputs: Sequence[str], config_path: str = "-", cell: str = CELL, minutes: float = MINUTES
) -> bytes:
    """Return the YAML of a config for these texts and folders, to be saved at `config_path`.

    `-` is a file in the current folder, with any name. Takes about a second, because it trains the
    network for a moment to measure its speed. Raises CorpusError for what is not a text, and
    CharrnnError if a path is not UTF-8, because YAML cannot contain it then.
    """
    base = inputs[0] if config_path == "-" else config_path
    folder = os.path.dirname(config_path)
    paths = text_files.list_texts(inputs)
    corpus = [_config_path(path, folder) for path in paths]
    profile = profile_text(*paths)
    if profile.undecodable:
        logger.info(
            f"{profile.name} is not UTF-8: {profile.undecodable}. It is read as {profile.encoding}"
        )
    plan = presets.plan(profile, cell, minutes)
    checkpoint = _npz_name(text_files.base_name(base), paths)
    content = _comments(profile, plan, inputs) + _settings(profile, plan, corpus, checkpoint)
    raw = content.encode()  # YAML is UTF-8, also where the terminal has another encoding
    if len(raw) > loader.MAX_CONFIG_BYTES:
        raise CharrnnError(
            f"{len(paths):,} files are too many for a config, which lists their paths",
            "Join them: cat FILE... > all.txt",
        )
    return raw


def _settings(profile: TextProfile, plan: Plan, paths: Sequence[str], checkpoint: str) -> str:
    """Return the sections of the config, with notes behind some settings."""
    steps = max(1, int(float(f"{plan.steps / VALIDATIONS:.1g}")))
    sections = {
        "corpus": {
            "path": [*paths] if len(paths) > 1 else paths[0],
            "encoding": profile.encoding,
            "mode": profile.mode,
            "validation": plan.validation,
        },
        **presets.settings(plan.preset),
        "output": {"checkpoint": checkpoint, "validate_every": steps, "sample_every": steps},
    }
    hints = {"stream": "`lines` is one record on each line", "lines": "`stream` is running text"}
    mode = f"{profile.mode_reason}; {hints[profile.mode]}"
    notes = {"mode": mode, "epochs": f"about {plan.steps:,} steps"}
    if "-" in paths:
        notes["path"] = "standard input is read once: train with --corpus FILE"
    if not plan.validation:
        notes["validation"] = "the text is too small for a validation part"
    text: str = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    for key, note in notes.items():
        text = re.sub(rf"^  {key}:.*", rf"\g<0>  # {note}", text, count=1, flags=re.MULTILINE)
    return text


def _comments(profile: TextProfile, plan: Plan, inputs: Sequence[str]) -> str:
    """Return comments on the network, its training time and the text."""
    name, more = display_name(inputs[0]), len(inputs) - 1
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
    network = f"{'a' if plan.preset.cell == 'gru' else 'an'} {plan.preset.cell}"
    memorized = "" if plan.validation else f"# {MEMORIZED}.\n"
    return (
        f"# New {kind} like {name!r}{f' and {more:,} more' if more else ''}: {network} of "
        f"{plan.preset.hidden} hidden units. Written by `charrnn new`.\n"
        f"# Takes about {duration(plan.seconds)} on the machine that wrote this "
        f"({plan.chars_per_s / 1000:,.3g}k characters/s).\n"
        f"{memorized}#\n# The text contains:\n{comments}"
    )


def _config_path(path: str, folder: str = "") -> str:
    """Return the path as a config in `folder` contains it.

    Raises CharrnnError if it is not UTF-8.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise CharrnnError(
            f"{path!a}: this path is not UTF-8, so a config cannot contain it: rename the file, "
            "or send its text to standard input"
        ) from None
    if folder and path != "-" and not os.path.isabs(path):
        path = os.path.relpath(path, folder)
    return os.path.join(os.curdir, path) if path.startswith("~") else path  # not the home folder


def _npz_name(name: str, paths: Sequence[str]) -> str:
    """Return the name with .npz, changed if a file of the run would replace one of the texts."""
    files = [Path(path) for path in paths]
    conflict = any(p.stem == name and p.suffix.lower() in (".npz", ".jsonl") for p in files)
    return _config_path(f"{name}{'-model' if conflict else ''}.npz")
