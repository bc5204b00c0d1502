"""A config is a frozen tree of settings, read from YAML and `--set`; its mistakes come all at once.

Each setting below names its default, what is allowed, and what it means. The same reading serves a
YAML file, `--set key=value`, and the JSON inside a checkpoint.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from charrnn.errors import ConfigError

DEFAULT_STEPS = 50_000
MAX_CONFIG_BYTES = 1_000_000


class Kind(NamedTuple):
    """What a setting may hold: in words, and as a function that raises ValueError if it does not.

    The function also receives the folder that relative paths start from.
    """

    expected: str
    read: Callable[[Any, str], Any]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: object) -> float:
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string; people mean a number
        value = float(value)
    if not _is_number(value):
        raise ValueError
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError
    return number


def whole(minimum: int, maximum: int | None = None) -> Kind:
    """A whole number in a closed range."""

    def read(value: object, base: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            number = _number(value)
            if number != int(number):
                raise ValueError
            value = int(number)
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError
        return value

    if maximum is None:
        return Kind(f"a whole number, {minimum} or more", read)
    return Kind(f"a whole number from {minimum} to {maximum}", read)


def real(expected: str, allowed: Callable[[float], bool]) -> Kind:
    """A finite number; `1` and `1e-3` are numbers too."""

    def read(value: object, base: str) -> float:
        number = _number(value)
        if not allowed(number):
            raise ValueError
        return number

    return Kind(expected, read)


def choice(*names: str) -> Kind:
    """One of a few words."""

    def read(value: object, base: str) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError
        return value

    return Kind(" or ".join(names), read)


def text(expected: str, allowed: Callable[[str], bool] = bool) -> Kind:
    """A string."""

    def read(value: object, base: str) -> str:
        if not isinstance(value, str) or not allowed(value):
            raise ValueError
        return value

    return Kind(expected, read)


def flag() -> Kind:
    """true or false."""

    def read(value: object, base: str) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Kind("true or false", read)


def _resolve(path: object, base: str) -> str:
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError
    return path if path == "-" else os.path.abspath(os.path.join(base, os.path.expanduser(path)))


def file() -> Kind:
    """The path of one file, relative to the config."""
    return Kind("a path", _resolve)


def files() -> Kind:
    """A path, or a list of paths; always held as a tuple."""

    def read(value: object, base: str) -> tuple[str, ...]:
        paths = value if isinstance(value, (list, tuple)) else [value]
        if not paths:
            raise ValueError
        return tuple(_resolve(path, base) for path in paths)

    return Kind("a path, a list of paths, or - for standard input", read)


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return Kind(
        f"{kind.expected}, or null",
        lambda value, base: None if value is None else kind.read(value, base),
    )


def _is_sha256(value: str) -> bool:
    return len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_encoding(value: str) -> bool:
    try:
        "".encode(value)
    except (LookupError, ValueError):
        return False
    return True


def _is_url(value: str) -> bool:
    return value.startswith(("https://", "http://"))


def setting(default: Any, kind: Kind, meaning: str) -> Any:
    """One line of the config: its default, its kind and its meaning."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


POSITIVE = real("a number above 0", lambda x: x > 0)
NOT_NEGATIVE = real("a number, 0 or more", lambda x: x >= 0)
SHARE = real("a number above 0 and at most 1", lambda x: 0 < x <= 1)
FRACTION = real("a number from 0 to below 1", lambda x: 0 <= x < 1)


@dataclass(frozen=True)
class CorpusConfig:
    """Where the text is and how it is read."""

    path: tuple[str, ...] = setting((), files(), "the text; - is stdin; a list is joined")
    url: str | None = setting(
        None, optional(text("an http or https URL", _is_url)), "where to get it if it is missing"
    )
    sha256: str | None = setting(
        None, optional(text("64 hexadecimal digits", _is_sha256)), "what its bytes must hash to"
    )
    encoding: str = setting("utf-8", text("an encoding Python knows", _is_encoding), "of the text")
    mode: str = setting(
        "stream", choice("stream", "lines"), "running text, or one record on each line"
    )
    lowercase: bool = setting(False, flag(), "fold the text to lower case")
    validation: float = setting(
        0.1, FRACTION, "share held out: the last part of a stream, random lines of a list"
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    cell: str = setting("rnn", choice("rnn", "gru", "lstm"), "the recurrence")
    hidden: int = setting(100, whole(1, 65_536), "hidden units per layer")
    layers: int = setting(1, whole(1, 64), "layers, each reading the one below")
    dropout: float = setting(
        0.0, FRACTION, "share of activations dropped between layers and before the output"
    )
    init: str | None = setting(
        None,
        optional(choice("karpathy", "uniform", "orthogonal")),
        "of the weights; null is karpathy for rnn, orthogonal for gru, uniform for lstm",
    )
    dtype: str = setting("float32", choice("float32", "float64"), "of weights and activations")


@dataclass(frozen=True)
class TrainConfig:
    """How the text is cut up, and for how long."""

    batch_size: int = setting(1, whole(1, 65_536), "rows trained side by side")
    seq_length: int | None = setting(
        None,
        optional(whole(1, 65_536)),
        "steps of back-propagation; null is 25 in a stream, 256 at most in lines",
    )
    steps: int | None = setting(
        None, optional(whole(1)), f"updates; null is {DEFAULT_STEPS}, or as many as epochs says"
    )
    epochs: float | None = setting(None, optional(POSITIVE), "passes over the training text")
    state: str = setting(
        "carry",
        choice("carry", "zero"),
        "what a window of a stream starts from; lines always start from zero",
    )
    reduction: str = setting(
        "sum", choice("sum", "mean"), "of the loss over a window's characters: what clip sees"
    )
    seed: int | None = setting(
        None, optional(whole(0, 2**63 - 1)), "of every random choice; null draws one and names it"
    )

    patience: int | None = setting(
        None, optional(whole(1)), "stop after so many validations without a better one"
    )

    def window(self, mode: str) -> int:
        """The longest window in steps: `seq_length`, or its default in this corpus mode."""
        return self.seq_length or (25 if mode == "stream" else 256)


@dataclass(frozen=True)
class OptimizerConfig:
    """What is done with the gradient."""

    name: str = setting(
        "adagrad", choice("sgd", "adagrad", "rmsprop", "adam"), "the rule of the update"
    )
    learning_rate: float = setting(0.1, POSITIVE, "size of a step")
    clip: float | None = setting(5.0, optional(POSITIVE), "largest gradient let through")
    clip_by: str = setting(
        "value", choice("value", "norm"), "each number on its own, or the whole gradient's length"
    )
    momentum: float = setting(0.0, FRACTION, "sgd: share of the last step that is kept")
    decay: float = setting(0.99, FRACTION, "rmsprop: of the running mean of squares")
    beta1: float = setting(0.9, FRACTION, "adam: of the running mean of gradients")
    beta2: float = setting(0.999, FRACTION, "adam: of the running mean of squares")
    weight_decay: float = setting(0.0, NOT_NEGATIVE, "adam: decoupled, per unit of learning rate")
    schedule: str = setting(
        "constant",
        choice("constant", "cosine", "step", "plateau"),
        "how the learning rate changes over the run",
    )
    warmup: int = setting(0, whole(0), "updates over which the rate rises from 0")
    final_rate: float = setting(0.0, FRACTION, "cosine: share of the rate at the end")
    decay_factor: float = setting(0.5, SHARE, "step, plateau: what the rate is multiplied by")
    decay_epochs: float = setting(1.0, POSITIVE, "step: epochs between two such changes")
    plateau_patience: int = setting(3, whole(1), "plateau: validations it waits for a better one")
    ema: float | None = setting(
        None,
        optional(FRACTION),
        "decay of a moving average of the weights, which is then validated, sampled and saved",
    )


@dataclass(frozen=True)
class OutputConfig:
    """What is written, where and how often."""

    checkpoint: str | None = setting(
        None, optional(file()), "the .npz file; null is the config's name in this folder"
    )
    validate_every: int = setting(1000, whole(1), "updates between validations, each saved")
    sample_every: int | None = setting(
        None, optional(whole(1)), "updates between samples shown; null shows none"
    )
    keep: str = setting(
        "last",
        choice("last", "best"),
        "best also saves the best validation, in a .best.npz beside the last",
    )


@dataclass(frozen=True)
class Config:
    """The five sections of a config."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, ready for JSON."""
        return dataclasses.asdict(self)


SECTIONS: dict[str, type[Any]] = {
    "corpus": CorpusConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "optimizer": OptimizerConfig,
    "output": OutputConfig,
}
KINDS: dict[str, Kind] = {
    f"{section}.{key.name}": key.metadata["kind"]
    for section, cls in SECTIONS.items()
    for key in dataclasses.fields(cls)
}
DEFAULTS: dict[str, Any] = {
    f"{section}.{key.name}": key.default
    for section, cls in SECTIONS.items()
    for key in dataclasses.fields(cls)
}


class Assignment(NamedTuple):
    """One `section.key: value`, with the place it was written in and its folder."""

    key: str
    value: Any
    where: str
    base: str


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
        stem = "charrnn" if path == "-" else Path(path).stem
        config = replace(config, "output", checkpoint=os.path.abspath(f"{stem}.npz"))
    return config


def override(
    config: Config, overrides: Sequence[str], extra: Iterable[Assignment], source: str
) -> Config:
    """A config changed by `--set` and other options. Raises ConfigError."""
    mistakes: list[str] = []
    assignments = _from_dict(config.as_dict(), source)
    assignments += _from_overrides(overrides, mistakes)
    assignments += extra
    return build(assignments, mistakes, source)


def from_dict(settings: object, source: str) -> Config:
    """A config from nested dictionaries, such as the JSON in a checkpoint. Raises ConfigError."""
    return build(_from_dict(settings, source), [], source)


def _from_dict(settings: object, source: str) -> list[Assignment]:
    assignments = []
    if isinstance(settings, Mapping):
        for section, keys in settings.items():
            if isinstance(keys, Mapping):
                assignments += [
                    Assignment(f"{section}.{key}", value, source, "") for key, value in keys.items()
                ]
    return assignments


def replace(config: Config, section: str, **settings: Any) -> Config:
    """The same config with some settings of one section changed."""
    changed = dataclasses.replace(getattr(config, section), **settings)
    return dataclasses.replace(config, **{section: changed})


def build(assignments: Iterable[Assignment], mistakes: list[str], source: str) -> Config:
    """The config these assignments make, the last one of a key counting, or ConfigError."""
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value, where, base in assignments:
        if key not in KINDS:
            mistakes.append(f"{where}: {_unknown(key)}")
            continue
        section, _, name = key.partition(".")
        try:
            values[section][name] = KINDS[key].read(value, base)
        except (ValueError, TypeError, OverflowError):
            mistakes.append(f"{where}: {key} must be {KINDS[key].expected}, not {_show(value)}")
    mistakes += _conflicts(values, source)
    if mistakes:
        count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError("\n".join([f"{source}: {count} in the config", *mistakes]))
    return Config(**{section: cls(**values[section]) for section, cls in SECTIONS.items()})


# Settings that only one choice of another setting makes use of.
ONLY_FOR = {
    "train.state": ("corpus.mode", ("stream",)),
    "optimizer.momentum": ("optimizer.name", ("sgd",)),
    "optimizer.decay": ("optimizer.name", ("rmsprop",)),
    "optimizer.beta1": ("optimizer.name", ("adam",)),
    "optimizer.beta2": ("optimizer.name", ("adam",)),
    "optimizer.weight_decay": ("optimizer.name", ("adam",)),
    "optimizer.final_rate": ("optimizer.schedule", ("cosine",)),
    "optimizer.decay_factor": ("optimizer.schedule", ("step", "plateau")),
    "optimizer.decay_epochs": ("optimizer.schedule", ("step",)),
    "optimizer.plateau_patience": ("optimizer.schedule", ("plateau",)),
}
NEED_VALIDATION = {"optimizer.schedule": "plateau", "output.keep": "best"}


def _conflicts(values: dict[str, dict[str, Any]], source: str) -> Iterator[str]:
    """Settings that are each allowed, but not together."""

    def value(key: str) -> Any:
        section, _, name = key.partition(".")
        return values[section].get(name, DEFAULTS[key])

    for key, (other, needed) in ONLY_FOR.items():
        if value(key) != DEFAULTS[key] and value(other) not in needed:
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
    if not values["corpus"].get("path"):
        yield f"{source}: corpus.path is missing: name the text, or use --corpus FILE"
    if values["train"].get("steps") and values["train"].get("epochs"):
        yield f"{source}: train.steps and train.epochs are both set: keep one of them"


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _read(path: str) -> str:
    """The text of a config file, or ConfigError."""
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(MAX_CONFIG_BYTES + 1)
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
            mistakes.append(f"{where}: {_unknown(section)}")
        elif not _is_null(node):
            for key, value, line in _entries(loader, node, name, f"{section}.", mistakes):
                yield Assignment(key, _plain(loader, value), line, base)


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
        key = prefix + str(_plain(loader, key_node))
        if key in seen:
            mistakes.append(f"{where}: {key} stands here twice")
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
    except (yaml.YAMLError, ValueError, OverflowError):
        return node.value  # such as a date of month 13, or a tag that asks for an object


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


def _unknown(key: str) -> str:
    """A sentence on a key that does not exist, with the nearest that does."""
    short = key if len(key) <= 60 else key[:60] + "..."
    close = difflib.get_close_matches(key, [*KINDS, *SECTIONS], n=1)
    if not close and "." in key:  # the right name in the wrong section
        close = [known for known in KINDS if known.split(".")[1] == key.rsplit(".", 1)[1]]
    elif not close:
        close = [known for known in KINDS if known.split(".")[1] == key]
    hint = f"did you mean {close[0]}?" if close else f"the sections are {', '.join(SECTIONS)}"
    return f"there is no setting {short!r}: {hint}"


def _show(value: object) -> str:
    """A value as it may appear in a message: never long."""
    if isinstance(value, _Structure):
        return "a nested structure"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "..."
