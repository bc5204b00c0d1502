"""Functions that read settings from YAML, `--set` and JSON, and report all mistakes at once."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from charrnn.config.kinds import MAX_INT, format_value
from charrnn.config.schema import FIELDS, KINDS, SECTIONS, Config
from charrnn.errors import ConfigError
from charrnn.streams import display_name, open_binary

MAX_CONFIG_BYTES = 1_000_000
MAX_MISTAKES = 50  # listed in a message; the rest are counted
MAX_LISTED_ITEMS = 20  # of a list in a message
NO_PATH = "corpus.path is missing: name the text"
# Most texts have no section's name at the start of a line, and need not be read as YAML.
SECTION = re.compile(rb"^[\s{\"']*(%s)[\"']?\s*:" % "|".join(SECTIONS).encode(), re.MULTILINE)
NULL = "tag:yaml.org,2002:null"
NOT_TEXT = {NULL, *(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))}


class Assignment(NamedTuple):
    """A `section.key: value`, and where it was written."""

    key: str
    value: Any
    location: str = "the command line"  # for messages: where it was written
    base: str = ""  # the folder that relative paths start from; empty is the current folder


Extra = Iterable[Assignment | str]  # a string is the message of a mistake


def load(path: str, overrides: Sequence[str] = (), extra: Extra = ()) -> Config:
    """Return the config of `read`, with the default path of the checkpoint where none is set."""
    config = read(path, overrides, extra)
    if config.output.checkpoint is None:
        stem = "charrnn" if path == "-" else re.sub(r"\.ya?ml$", "", Path(path).name)
        config = replace(config, "output", checkpoint=os.path.abspath(f"{stem}.npz"))
    return config


def read(path: str, overrides: Sequence[str] = (), extra: Extra = ()) -> Config:
    """Read the YAML file `path` (`-` is stdin), then `--set` overrides, then other options.

    Paths in the file are relative to the file's folder, paths on the command line to the current
    folder. Raises ConfigError with every mistake and where it was written.
    """
    name = display_name(path)
    assignments = [*_from_yaml(path, name), *_from_overrides(overrides), *extra]
    return _build(Config(), assignments, name)


def override(config: Config, overrides: Sequence[str], extra: Extra, source: str) -> Config:
    """Return a config changed by `--set` and other options. Raises ConfigError."""
    return _build(config, [*_from_overrides(overrides), *extra], source)


def from_dict(settings: object, source: str) -> Config:
    """Return the config of nested dictionaries, as in a checkpoint. Raises ConfigError."""
    sections = settings.items() if isinstance(settings, Mapping) else ()
    assignments = [
        Assignment(f"{section}.{name}", value, source)
        for section, keys in sections
        for name, value in (keys.items() if isinstance(keys, Mapping) else [("", keys)])
    ]
    return _build(Config(), assignments, source)


def is_config(raw: bytes) -> bool:
    """Return whether these bytes are a YAML mapping with at least one section of a config."""
    if len(raw) > MAX_CONFIG_BYTES or not SECTION.search(raw):
        return False
    try:
        root = yaml.compose(raw.decode("utf-8-sig"), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return False
    return isinstance(root, yaml.MappingNode) and any(
        isinstance(key, yaml.ScalarNode) and key.value in SECTIONS for key, _ in root.value
    )


def replace(config: Config, section: str, **settings: Any) -> Config:
    """Return the config with these settings of one section changed."""
    changed = dataclasses.replace(getattr(config, section), **settings)
    return dataclasses.replace(config, **{section: changed})


def _build(config: Config, assignments: Iterable[Assignment | str], source: str) -> Config:
    """Return the config with these settings changed; the last assignment of a key is used.

    A string in `assignments` is the message of a mistake. Raises ConfigError with all mistakes.
    """
    invalid: set[str] = set()
    mistakes: list[str] = []
    hints: list[str] = []
    for item in assignments:
        if isinstance(item, str):
            mistakes.append(item)
            continue
        key, value, location, base = item
        if key not in KINDS:
            # The search for similar names is slow: mistakes that are only counted have no message.
            message = _unknown_key(key) if len(mistakes) < MAX_MISTAKES else ""
            mistakes.append(f"{location}: {message}")
            hints = ["All settings: charrnn settings"]
            continue
        section, _, name = key.partition(".")
        try:
            config = replace(config, section, **{name: KINDS[key].read(value, base)})
        except (ValueError, TypeError, LookupError, OverflowError):
            invalid.add(key)
            mistakes.append(
                f"{location}: {key} must be {KINDS[key].expected}, not {_format(value)}"
            )
    mistakes += [f"{source}: {conflict}" for conflict in _conflicts(config, invalid)]
    if mistakes:
        count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes):,} mistakes"
        listed = mistakes[:MAX_MISTAKES]
        if len(mistakes) > len(listed):
            listed.append(f"and {len(mistakes) - len(listed):,} more")
        if listed[-1].endswith(NO_PATH):
            hints.append("Set corpus.path, or add --corpus FILE")
        message = "\n".join([f"{source}: {count} in the config", *listed])
        raise ConfigError(message, "\n".join(hints))
    return config


def _conflicts(config: Config, invalid: set[str]) -> Iterator[str]:
    """Yield the conflicts between settings, except those with the `invalid` keys."""
    values = config.flat()
    for key, field in FIELDS.items():
        # A setting without `only` is compared with itself and is never in conflict.
        required_key, *words = field.metadata["only"] or (key, values[key])
        actual = values[required_key]
        if actual not in words and values[key] != field.default and required_key not in invalid:
            required = f"{required_key}: {' or '.join(words)}"
            yield f"{key} is only for {required}, not {actual}: remove it"
    patience = values["train.patience"]
    needs = {"train.patience": patience, "optimizer.schedule": "plateau"}
    for key, value in needs.items():
        if value and values[key] == value and not values["corpus.validation"]:
            setting = f"{key}: {format_value(value)}"
            yield f"{setting} needs a validation part, but corpus.validation is 0"
    paths = values["corpus.path"]
    if paths.count("-") > 1:
        yield "corpus.path has standard input twice, but it can be read only once"
    if values["train.steps"] and values["train.epochs"]:
        yield "train.steps and train.epochs are both set: remove one of them"
    if not paths and "corpus.path" not in invalid:
        yield NO_PATH


def _from_yaml(path: str, name: str) -> Iterator[Assignment | str]:
    """Yield the assignments of a YAML file, and the mistakes in it."""
    # The paths in stdin and in the pipe of a shell's <(...) start from the current folder.
    base = os.path.dirname(os.path.abspath(path)) if os.path.isfile(path) else os.getcwd()
    with open_binary(path, "config file", ConfigError) as stream:
        raw = stream.read(MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        raise _not_a_config(path, f"{name} is over {MAX_CONFIG_BYTES:,} bytes: not a config", raw)
    try:
        root = yaml.compose(raw.decode("utf-8-sig"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        message = f"{name} is not UTF-8 text (byte {error.start}): not a config"
        raise _not_a_config(path, message, raw) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        location = f"{name}:{mark.line + 1}" if mark else name
        reason = "nested too deeply" if isinstance(error, RecursionError) else reason
        raise _not_a_config(path, f"{location}: not YAML: {reason}", raw) from None
    if root is None:
        return
    keys = root.value[:MAX_MISTAKES] if isinstance(root, yaml.MappingNode) else []
    if not any(isinstance(key.value, str) and _similar_keys(key.value) for key, _ in keys):
        message = f"{name} is not a config: it has none of the sections {', '.join(SECTIONS)}"
        raise _not_a_config(path, message, raw)
    yield from _from_node(root, name, base)


def _not_a_config(path: str, message: str, raw: bytes) -> ConfigError:
    """Return the error for a file that is not a config; of a text, how to train on it."""
    if SECTION.search(raw) or b"\0" in raw:
        return ConfigError(message)
    command = f"charrnn train {'FILE' if path == '-' else shlex.quote(path)}"
    if path.endswith((".yaml", ".yml")):
        config_path = shlex.quote(f"new-{os.path.basename(path)}")
        command = f"charrnn new {shlex.quote(path)} > {config_path} && charrnn train {config_path}"
    return ConfigError(message, f"If this is a text to train on: {command}")


def _from_node(
    node: yaml.Node, name: str, base: str, section: str = ""
) -> Iterator[Assignment | str]:
    """Yield the assignments of a config or of one section, and the mistakes in it."""
    if not isinstance(node, yaml.MappingNode):
        location = f"{name}:{node.start_mark.line + 1}"
        yield f"{location}: {section} must be a mapping of its settings, one `key: value` a line"
        return
    seen: set[str] = set()
    for key_node, value in node.value:
        location = f"{name}:{key_node.start_mark.line + 1}"
        is_scalar = isinstance(key_node, yaml.ScalarNode)
        key = section and f"{section}."
        key += key_node.value if is_scalar else "a nested structure"
        if key in seen:
            yield f"{location}: {_shorten(key)} appears twice"
        elif section or key not in SECTIONS:
            yield Assignment(key, _value(value) if key in KINDS else None, location, base)
        elif value.tag != NULL:
            yield from _from_node(value, name, base, key)
        seen.add(key)


def _value(node: yaml.Node) -> Any:
    """Return None, a bool, number or string, or a list of them; {} for a nested structure.

    Other YAML types, such as a date or a Python object, are returned as the text that was written.
    """
    if isinstance(node, yaml.ScalarNode):
        try:
            return SafeConstructor().construct_object(node) if node.tag in NOT_TEXT else node.value
        except (ValueError, LookupError, OverflowError):
            return node.value  # for example !!bool maybe
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    is_flat = all(isinstance(item, yaml.ScalarNode) for item in items)
    return [_value(item) for item in items] if is_flat else {}


def _from_overrides(overrides: Sequence[str]) -> Iterator[Assignment | str]:
    """Yield the assignments of `--set section.key=value`; the value is read as YAML.

    Steps replace the epochs of the config, and epochs its steps.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        location = f"--set {override}"
        if not equals:
            yield f"{location}: write it as --set section.key=value"
            continue
        try:
            node = yaml.compose(text, yaml.SafeLoader)
            value = None if node is None else _value(node)
        except (yaml.YAMLError, RecursionError, ValueError):
            value = text
        values[key.strip()] = value
        yield Assignment(key.strip(), value, location)
    for key, other in itertools.permutations(("train.steps", "train.epochs")):
        if values.get(key) is not None and other not in values:
            yield Assignment(other, None)


def _unknown_key(key: str) -> str:
    """Return the message for an unknown key, with the most similar known key."""
    if key in SECTIONS:
        return f"{key} is a section: name one of its settings"
    similar = _similar_keys(key)
    hint = f"did you mean {similar[0]}?" if similar else f"the sections are {', '.join(SECTIONS)}"
    return f"there is no setting {_shorten(key)!r}: {hint}"


def _similar_keys(key: str) -> list[str]:
    """Return the settings with the name of this key, otherwise the most similar known key."""
    name = key.rpartition(".")[2]  # the section may be wrong or missing
    similar = [known for known in KINDS if known.partition(".")[2] == name]
    return similar or difflib.get_close_matches(_shorten(key), [*KINDS, *SECTIONS], n=1)


def _shorten(text: str) -> str:
    """Return the text, cut to 60 characters."""
    return text if len(text) <= 60 else text[:60] + "..."


def _format(value: object) -> str:
    """Return a value as YAML text, shortened for a message."""
    match value:
        case None | bool():
            return format_value(value)
        case int() if abs(value) > MAX_INT:
            return "a number of over 64 bits"
        case float():
            return re.sub("(inf|nan)", r".\1", repr(value))
        case list() | tuple():
            more = ", ..." if len(value) > MAX_LISTED_ITEMS else ""
            return _shorten(f"[{', '.join(map(_format, value[:MAX_LISTED_ITEMS]))}{more}]")
        case Mapping():
            return "a nested structure"
    return _shorten(repr(value))
