"""Reads the settings of a run from YAML, `--set` and JSON; all mistakes are reported at once."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from charrnn.config.schema import DEFAULTS, FIELDS, KINDS, MOST, SECTIONS, Config, shown
from charrnn.errors import ConfigError
from charrnn.streams import name_of, standard_input

MAX_CONFIG_BYTES = 1_000_000
MOST_MISTAKES = 50  # written out; the others are counted
MOST_ITEMS, SHOWN_ITEMS = 10_000, 20  # of a list
RENAMED = {"train.threads": "train.workers"}  # an old checkpoint has the old name
NO_PATH = "corpus.path is missing: name the text"


class Assignment(NamedTuple):
    """One `section.key: value`, the place it was written in, and the folder of relative paths."""

    key: str
    value: Any
    where: str = "the command line"
    base: str = ""  # the current one


def load(path: str, overrides: Sequence[str] = (), extra: Iterable[Assignment] = ()) -> Config:
    """Read the YAML file `path` (`-` is stdin), then `--set` overrides, then other options.

    Paths in the file are relative to the file's folder, paths on the command line to the current
    one. Raises ConfigError that lists every mistake, each with its place.
    """
    name = name_of(path)
    found = [*_from_yaml(path, name), *_from_overrides(overrides), *extra]
    config = _build(found, name)
    if config.output.checkpoint is None:
        stem = "charrnn" if path == "-" else re.sub(r"\.ya?ml$", "", Path(path).name)
        config = replace(config, "output", checkpoint=os.path.abspath(f"{stem}.npz"))
    return config


def override(
    config: Config, overrides: Sequence[str], extra: Iterable[Assignment], source: str
) -> Config:
    """A config changed by `--set` and other options. Raises ConfigError."""
    found = [*_from_dict(config.as_dict(), source), *_from_overrides(overrides), *extra]
    return _build(found, source)


def from_dict(settings: object, source: str) -> Config:
    """A config from nested dictionaries, such as the JSON in a checkpoint. Raises ConfigError."""
    return _build(_from_dict(settings, source), source)


def _from_dict(settings: object, source: str) -> Iterator[Assignment | str]:
    for section, keys in settings.items() if isinstance(settings, Mapping) else ():
        if section not in SECTIONS:
            yield Assignment(section, keys, source)
        elif not isinstance(keys, Mapping):
            yield f"{source}: {section} is not a mapping"
        else:
            for name, value in keys.items():
                key = f"{section}.{name}"
                yield Assignment(RENAMED.get(key, key), value, source)


def replace(config: Config, section: str, **settings: Any) -> Config:
    """The same config with some settings of one section changed."""
    changed = dataclasses.replace(getattr(config, section), **settings)
    return dataclasses.replace(config, **{section: changed})


def _build(found: Iterable[Assignment | str], source: str) -> Config:
    """The config these assignments make, the last one of a key counting, or ConfigError.

    What is no assignment is a mistake, as the message has it.
    """
    values = dict(DEFAULTS)
    refused: set[str] = set()
    mistakes: list[str] = []
    for item in found:
        if isinstance(item, str):
            mistakes.append(item)
            continue
        key, value, where, base = item
        if key not in KINDS:
            # To look for the nearest takes long, and of very many mistakes most are only counted.
            few = len(mistakes) < MOST_MISTAKES
            mistakes.append(f"{where}: {_unknown(key)}" if few else "")
            continue
        try:
            values[key] = KINDS[key].read(value, base)
        except (ValueError, TypeError, OverflowError):
            refused.add(key)
            mistakes.append(f"{where}: {key} must be {KINDS[key].expected}, not {_show(value)}")
    mistakes += [f"{source}: {conflict}" for conflict in _conflicts(values, refused)]
    if mistakes:
        count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes):,} mistakes"
        listed = mistakes[:MOST_MISTAKES]
        if len(mistakes) > len(listed):
            listed.append(f"and {len(mistakes) - len(listed):,} more")
        raise ConfigError(
            "\n".join([f"{source}: {count} in the config", *listed]),
            "A text can be named with --corpus FILE too" if listed[-1].endswith(NO_PATH) else "",
        )
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    return Config(**{section: cls(**sections[section]) for section, cls in SECTIONS.items()})


def _conflicts(values: Mapping[str, Any], refused: set[str]) -> Iterator[str]:
    """Settings that are each allowed, but not together; those `refused` conflict with nothing."""
    for key, field in FIELDS.items():
        other, *words = field.metadata["only"] or (key,)
        value, has = values[key], values[other]
        if words and has not in words and value != field.default and other not in refused:
            yield (
                f"{key} is only for {other}: {' or '.join(words)}, and that is {has}: take it out"
            )
        validates = field.metadata["validates"]
        if validates and validates(value) and not values["corpus.validation"]:
            yield f"{key}: {shown(value)} needs a validation part, but corpus.validation is 0"
    paths = values["corpus.path"]
    if paths.count("-") > 1:
        yield "corpus.path has standard input twice: it can be read once"
    if values["train.steps"] and values["train.epochs"]:
        yield "train.steps and train.epochs are both set: keep one of them"
    if not paths and "corpus.path" not in refused:
        yield NO_PATH


def _read(path: str, name: str) -> str:
    """The text of a config file, or ConfigError."""
    try:
        with nullcontext(standard_input()) if path == "-" else open(path, "rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a config: name a YAML file in it") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{name} is over {MAX_CONFIG_BYTES:,} bytes: not a config")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text (byte {error.start}): not a config") from None


class _Loader(yaml.SafeLoader):
    """YAML as nodes, which know their line; only what a setting may be is made of them."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name  # in the marks of all nodes

    def value(self, node: yaml.Node) -> Any:
        """A scalar, or a list of them; all that is deeper is an empty mapping."""
        if isinstance(node, yaml.ScalarNode):
            try:
                return self.construct_object(node)
            except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):
                return node.value  # a date of month 13, !!bool maybe, or a tag for an object
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if len(items) > MOST_ITEMS or not all(isinstance(item, yaml.ScalarNode) for item in items):
            return {}
        return [self.value(item) for item in items]

    def assignments(
        self, node: yaml.Node, base: str, section: str = ""
    ) -> Iterator[Assignment | str]:
        """The settings of a config, or of one of its sections, and the mistakes in it."""
        if not isinstance(node, yaml.MappingNode):
            what, keys = "a config is", ", ".join(SECTIONS)
            if section:
                what, keys = f"{section} must be", "its settings, one `key: value` a line"
            yield f"{_place(node.start_mark)}: {what} a mapping of {keys}"
            return
        seen: set[str] = set()
        for number, (key_node, value) in enumerate(node.value):
            where = _place(key_node.start_mark)
            scalar = isinstance(key_node, yaml.ScalarNode)
            name = key_node.value if scalar else "a nested structure"
            key = f"{section}.{name}" if section else name
            if key in seen:
                yield f"{where}: {_short(key)} stands here twice"
                if number - len(seen) > MOST_MISTAKES:
                    continue  # each may stand for a long list, by way of an alias
            seen.add(key)
            if section or key not in SECTIONS:
                yield Assignment(key, self.value(value) if key in KINDS else None, where, base)
            elif value.tag != "tag:yaml.org,2002:null":
                yield from self.assignments(value, base, key)


def _place(mark: yaml.Mark) -> str:
    return f"{mark.name}:{mark.line + 1}"


def _from_yaml(path: str, name: str) -> Iterator[Assignment | str]:
    """The assignments of a YAML file, and the mistakes in it."""
    base = os.path.dirname(os.path.abspath(path))
    content = _read(path, name)
    try:
        loader = _Loader(content, name)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        where = _place(error.problem_mark) if error.problem_mark else name
        raise ConfigError(f"{where}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{name}: not YAML: {reason}") from None
    if root is not None:
        yield from loader.assignments(root, base)


def _from_overrides(overrides: Sequence[str]) -> Iterator[Assignment | str]:
    """The assignments of `--set section.key=value`; the value is read as YAML."""
    for override in overrides:
        key, equals, value = override.partition("=")
        where = f"--set {override}"
        if not equals:
            yield f"{where}: write it as --set section.key=value"
            continue
        try:
            loader = _Loader(value, where)
            node = loader.get_single_node()
            parsed = None if node is None else loader.value(node)
        except (yaml.YAMLError, RecursionError, ValueError):
            parsed = value
        yield Assignment(key.strip(), parsed, where)


def _unknown(key: str) -> str:
    """A sentence on a key that does not exist, with the nearest that does."""
    name = RENAMED.get(key, key).rpartition(".")[2]  # perhaps in the wrong section or in none
    close = [known for known in KINDS if known.partition(".")[2] == name]
    close = close or difflib.get_close_matches(_short(key), [*KINDS, *SECTIONS], n=1)
    hint = f"did you mean {close[0]}?" if close else f"the sections are {', '.join(SECTIONS)}"
    return f"there is no setting {_short(key)!r}: {hint}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."


def _show(value: object) -> str:
    """A value as YAML would have it and as it may appear in a message: never long."""
    match value:
        case None | bool():
            return shown(value)
        case int() if abs(value) > MOST:
            return "a number of over 64 bits"
        case float():
            return re.sub("(inf|nan)", r".\1", repr(value))
        case datetime.date():
            return value.isoformat()
        case bytes():
            return "binary"
        case list() | tuple() if not any(
            isinstance(item, (Mapping, list, tuple)) for item in value
        ):
            more = ", ..." if len(value) > SHOWN_ITEMS else ""
            return _short(f"[{', '.join(map(_show, value[:SHOWN_ITEMS]))}{more}]")
        case Mapping() | list() | tuple():
            return "a nested structure"
    return _short(repr(value))
