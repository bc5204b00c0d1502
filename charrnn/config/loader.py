"""Reads the settings of a run from YAML, `--set` and JSON; all mistakes are reported at once."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from charrnn.config.schema import DEFAULTS, KINDS, MOST, NEED_VALIDATION, ONLY_FOR, SECTIONS, Config
from charrnn.errors import ConfigError
from charrnn.streams import standard_input

MAX_CONFIG_BYTES = 1_000_000
MOST_MISTAKES = 50  # written out; the others are counted
SHOWN_ITEMS = 20  # of a list
RENAMED = {"train.threads": "train.workers"}  # an old checkpoint has the old name
NO_PATH = "corpus.path is missing: name the text"


class Assignment(NamedTuple):
    """One `section.key: value`, with the place it was written in and its folder."""

    key: str
    value: Any
    where: str
    base: str


def assignment(key: str, value: Any) -> Assignment:
    """A setting given by an option of its own; paths are relative to the current folder."""
    return Assignment(key, value, "the command line", os.getcwd())


def load(path: str, overrides: Sequence[str] = (), extra: Iterable[Assignment] = ()) -> Config:
    """Read the YAML file `path` (`-` is stdin), then `--set` overrides, then other options.

    Paths in the file are relative to the file's folder, paths on the command line to the current
    one. Raises ConfigError that lists every mistake, each with its place.
    """
    mistakes: list[str] = []
    assignments = list(_from_yaml(path, mistakes))
    assignments += _from_overrides(overrides, mistakes)
    assignments += extra
    config = build(assignments, mistakes, source=_name(path))
    if config.output.checkpoint is None:
        stem = "charrnn" if path == "-" else re.sub(r"\.ya?ml$", "", Path(path).name)
        config = replace(config, "output", checkpoint=os.path.abspath(f"{stem}.npz"))
    return config


def override(
    config: Config, overrides: Sequence[str], extra: Iterable[Assignment], source: str
) -> Config:
    """A config changed by `--set` and other options. Raises ConfigError."""
    mistakes: list[str] = []
    assignments = _from_dict(config.as_dict(), source, mistakes)
    assignments += _from_overrides(overrides, mistakes)
    assignments += extra
    return build(assignments, mistakes, source)


def from_dict(settings: object, source: str) -> Config:
    """A config from nested dictionaries, such as the JSON in a checkpoint. Raises ConfigError."""
    mistakes: list[str] = []
    return build(_from_dict(settings, source, mistakes), mistakes, source)


def _from_dict(settings: object, source: str, mistakes: list[str]) -> list[Assignment]:
    assignments = []
    for section, keys in settings.items() if isinstance(settings, Mapping) else ():
        if section not in SECTIONS:
            mistakes.append(f"{source}: {_unknown(section, mistakes)}")
        elif isinstance(keys, Mapping):
            names = {key: f"{section}.{key}" for key in keys}
            assignments += [
                Assignment(RENAMED.get(names[key], names[key]), value, source, "")
                for key, value in keys.items()
            ]
        else:
            mistakes.append(f"{source}: {section} is not a mapping")
    return assignments


def replace(config: Config, section: str, **settings: Any) -> Config:
    """The same config with some settings of one section changed."""
    changed = dataclasses.replace(getattr(config, section), **settings)
    return dataclasses.replace(config, **{section: changed})


def build(assignments: Iterable[Assignment], mistakes: list[str], source: str) -> Config:
    """The config these assignments make, the last one of a key counting, or ConfigError."""
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    refused: set[str] = set()
    for key, value, where, base in assignments:
        if key not in KINDS:
            mistakes.append(f"{where}: {_unknown(key, mistakes)}")
            continue
        section, _, name = key.partition(".")
        try:
            values[section][name] = KINDS[key].read(value, base)
        except (ValueError, TypeError, OverflowError):
            refused.add(key)
            mistakes.append(f"{where}: {key} must be {KINDS[key].expected}, not {_show(value)}")
    mistakes += _conflicts(values, refused, source)
    if mistakes:
        count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes):,} mistakes"
        listed = mistakes[:MOST_MISTAKES]
        if len(mistakes) > len(listed):
            listed.append(f"and {len(mistakes) - len(listed):,} more")
        raise ConfigError(
            "\n".join([f"{source}: {count} in the config", *listed]),
            "A text can be named with --corpus FILE too" if listed[-1].endswith(NO_PATH) else "",
        )
    return Config(**{section: cls(**values[section]) for section, cls in SECTIONS.items()})


def _conflicts(values: dict[str, dict[str, Any]], refused: set[str], source: str) -> Iterator[str]:
    """Settings that are each allowed, but not together; those `refused` conflict with nothing."""

    def value(key: str) -> Any:
        section, _, name = key.partition(".")
        return values[section].get(name, DEFAULTS[key])

    for key, (other, needed) in ONLY_FOR.items():
        if other not in refused and value(key) != DEFAULTS[key] and value(other) not in needed:
            yield (
                f"{source}: {key} is only for {other}: {' or '.join(needed)}, "
                f"and that is {value(other)}: take it out"
            )
    if not value("corpus.validation"):
        for key, word in NEED_VALIDATION.items():
            if value(key) == word:
                yield f"{source}: {key}: {word} needs a validation part, but corpus.validation is 0"
        if value("train.patience"):
            yield f"{source}: train.patience needs a validation part, but corpus.validation is 0"
    paths = value("corpus.path")
    if paths.count("-") > 1:
        yield f"{source}: corpus.path has standard input twice: it can be read once"
    if not paths and "corpus.path" not in refused:
        yield f"{source}: {NO_PATH}"
    if values["train"].get("steps") and values["train"].get("epochs"):
        yield f"{source}: train.steps and train.epochs are both set: keep one of them"


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _read(path: str) -> str:
    """The text of a config file, or ConfigError."""
    try:
        if path == "-":
            raw = standard_input().read(MAX_CONFIG_BYTES + 1)
        else:
            with open(path, "rb") as stream:
                raw = stream.read(MAX_CONFIG_BYTES + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a config: name a YAML file in it") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{_name(path)} is over {MAX_CONFIG_BYTES:,} bytes: not a config")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{_name(path)} is not UTF-8 text (byte {error.start}): not a config"
        ) from None


def _from_yaml(path: str, mistakes: list[str]) -> Iterator[Assignment]:
    """The assignments of a YAML file; what does not fit into one goes to `mistakes`."""
    name = _name(path)
    base = os.getcwd() if path == "-" else os.path.dirname(os.path.abspath(path))
    content = _read(path)
    try:
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{name}: not YAML: {reason}") from None
    if root is None:
        return
    for section, node, where in _entries(loader, root, name, "", mistakes):
        if section not in SECTIONS:
            mistakes.append(f"{where}: {_unknown(section, mistakes)}")
        elif not _is_null(node):
            for key, value, line in _entries(loader, node, name, f"{section}.", mistakes):
                yield Assignment(key, _plain(loader, value) if key in KINDS else None, line, base)


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _entries(
    loader: yaml.SafeLoader, node: yaml.Node, name: str, prefix: str, mistakes: list[str]
) -> Iterator[tuple[str, yaml.Node, str]]:
    """Key, value and place of each entry of a mapping; a repeated key is a mistake."""
    if not isinstance(node, yaml.MappingNode):
        what = f"{prefix[:-1]} must be" if prefix else "a config is"
        where = f"{name}:{node.start_mark.line + 1}"
        keys = ", ".join(SECTIONS) if not prefix else "its settings, one `key: value` a line"
        mistakes.append(f"{where}: {what} a mapping of {keys}")
        return
    seen: set[str] = set()
    for key_node, value in node.value:
        where = f"{name}:{key_node.start_mark.line + 1}"
        key = prefix + (
            key_node.value if isinstance(key_node, yaml.ScalarNode) else "a nested structure"
        )
        if key in seen:
            mistakes.append(f"{where}: {_short(key)} stands here twice")
            if len(mistakes) > MOST_MISTAKES:
                continue  # each may stand for a long list, by way of an alias
        seen.add(key)
        yield key, value, where


class _Structure:
    """Stands for a value that is no scalar and no plain list: no setting accepts it."""


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """The value of a scalar or of a flat list. Deeper things are not even constructed."""
    if isinstance(node, yaml.SequenceNode):
        if len(node.value) > 10_000 or any(
            not isinstance(item, yaml.ScalarNode) for item in node.value
        ):
            return _Structure()
        return [_plain(loader, item) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        return _Structure()
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):
        return node.value  # such as a date of month 13, !!bool maybe, or a tag for an object


def _from_overrides(overrides: Sequence[str], mistakes: list[str]) -> Iterator[Assignment]:
    """The assignments of `--set section.key=value`; the value is read as YAML."""
    for override in overrides:
        key, equals, value = override.partition("=")
        where = f"--set {override}"
        if not equals:
            mistakes.append(f"{where}: write it as --set section.key=value")
            continue
        try:
            loader = yaml.SafeLoader(value)
            node = loader.get_single_node()
            parsed = None if node is None else _plain(loader, node)
        except (yaml.YAMLError, RecursionError, ValueError):
            parsed = value
        yield Assignment(key.strip(), parsed, where, os.getcwd())


def _unknown(key: str, mistakes: Sequence[str]) -> str:
    """A sentence on a key that does not exist, with the nearest that does."""
    if len(mistakes) >= MOST_MISTAKES:
        return ""  # to look for the nearest takes long, and this one is only counted
    name = key.rpartition(".")[2]  # perhaps right, but in the wrong section or in none
    close = [RENAMED[key]] if key in RENAMED else []
    close = close or [known for known in KINDS if known.partition(".")[2] == name]
    close = close or difflib.get_close_matches(_short(key), [*KINDS, *SECTIONS], n=1)
    hint = f"did you mean {close[0]}?" if close else f"the sections are {', '.join(SECTIONS)}"
    return f"there is no setting {_short(key)!r}: {hint}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."


def _show(value: object) -> str:
    """A value as YAML would have it and as it may appear in a message: never long."""
    nested = (_Structure, Mapping, list, tuple)
    items = value if isinstance(value, (list, tuple)) else ()
    if isinstance(value, nested[:2]) or any(isinstance(item, nested) for item in items):
        return "a nested structure"
    if isinstance(value, (list, tuple)):
        more = ", ..." if len(value) > SHOWN_ITEMS else ""
        return _short(f"[{', '.join(map(_show, value[:SHOWN_ITEMS]))}{more}]")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and abs(value) > MOST:
        return "a number of over 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return "binary" if isinstance(value, bytes) else _short(repr(value))
