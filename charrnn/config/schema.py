"""The settings of a run: for each its default, what is allowed, and what it means.

`loader` reads them from YAML, from `--set key=value` and from the JSON inside a checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_type_hints

DEFAULT_STEPS = 50_000
MOST = 2**63 - 1  # what 64 bits hold


def shown(value: Any) -> str:
    """A setting as it would stand in a config."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


class Kind(NamedTuple):
    """What a setting may hold: in words, and as a test of what a value is converted to."""

    expected: str
    allowed: Callable[[Any], object] = lambda value: True
    convert: Callable[[Any, str], Any] = lambda value, base: value

    def read(self, value: Any, base: str) -> Any:
        """The value as the program uses it; relative paths start from the folder `base`.

        Raises ValueError, TypeError, LookupError or OverflowError when it is not allowed.
        """
        converted = self.convert(value, base)
        if not self.allowed(converted):
            raise ValueError
        return converted


def _number(value: Any, base: str) -> float:
    """A finite number; YAML 1.1 reads 1e-3 as a string, and people mean a number."""
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _whole_number(value: Any, base: str) -> int:
    number = value if type(value) is int else _number(value, base)  # a float is not as exact
    if number % 1:
        raise ValueError
    return int(number)


def whole(minimum: int, maximum: int | None = None) -> Kind:
    """A whole number in a closed range."""
    most = MOST if maximum is None else maximum
    limits = f", {minimum} or more" if maximum is None else f" from {minimum} to {maximum}"
    return Kind(f"a whole number{limits}", lambda n: minimum <= n <= most, _whole_number)


def choice(*names: str) -> Kind:
    """One of a few words."""
    return Kind(" or ".join(names), lambda value: value in names)


def optional(inner: Kind, word: str | None = None) -> Kind:
    """The same, or this word: null if it is None."""
    return Kind(
        f"{inner.expected}, or {shown(word)}",
        convert=lambda value, base: word if value == word else inner.read(value, base),
    )


def _path(path: str, base: str) -> str:
    if not path or "\0" in path:
        raise ValueError
    return path if path == "-" else os.path.abspath(os.path.join(base, os.path.expanduser(path)))


def _paths(value: Any, base: str) -> tuple[str, ...]:
    paths = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_path(path, base) for path in paths)


def _encoding(name: str, base: str) -> str:
    "".encode(name)  # unlike codecs.lookup, this refuses what encodes no text, such as base64
    return name


POSITIVE = Kind("a number above 0", lambda x: x > 0, _number)
NOT_NEGATIVE = Kind("a number, 0 or more", lambda x: x >= 0, _number)
SHARE = Kind("a number above 0 and at most 1", lambda x: 0 < x <= 1, _number)
FRACTION = Kind("a number from 0 to below 1", lambda x: 0 <= x < 1, _number)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
URL = Kind("an http or https URL", re.compile("https?://.*").fullmatch)
SHA256 = Kind("64 hexadecimal digits", re.compile("[0-9a-f]{64}").fullmatch)
ENCODING = Kind("an encoding Python knows", convert=_encoding)
FILE = Kind("a path", convert=_path)
FILES = Kind("a path, a list of paths, or - for standard input", convert=_paths)


# What a setting may be `only` for: another setting, and the words of it.
LINES, STREAM = ("corpus.mode", "lines"), ("corpus.mode", "stream")
SGD, RMSPROP = ("optimizer.name", "sgd"), ("optimizer.name", "rmsprop")
ADAM, COSINE = ("optimizer.name", "adam"), ("optimizer.schedule", "cosine")
STEP, PLATEAU = ("optimizer.schedule", "step"), ("optimizer.schedule", "plateau")
STEP_OR_PLATEAU = ("optimizer.schedule", "step", "plateau")


def setting(default: Any, kind: Kind, meaning: str, only: Sequence[str] = ()) -> Any:
    """One line of the config: its default, its kind and its meaning.

    What is null by default may also be set to null. `only` is another setting and its words that
    this one goes with.
    """
    kind = optional(kind) if default is None else kind
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "only": only})


@dataclass(frozen=True)
class CorpusConfig:
    """Where the text is and how it is read."""

    path: tuple[str, ...] = setting((), FILES, "the text; - is stdin; a list is joined")
    url: str | None = setting(None, URL, "where to get it if it is missing")
    sha256: str | None = setting(None, SHA256, "what its bytes must hash to")
    encoding: str = setting("utf-8", ENCODING, "of the text")
    mode: str = setting("stream", choice("stream", "lines"), "running text, or a record a line")
    lowercase: bool = setting(False, FLAG, "fold the text to lower case")
    validation: float = setting(0.1, FRACTION, "share held out: the end of a stream, random lines")
    copies: str = setting(
        "together",
        choice("together", "apart"),
        "of a line: all held out or none, or each line by itself as makemore splits",
        LINES,
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    cell: str = setting("rnn", choice("rnn", "gru", "lstm"), "the recurrence")
    hidden: int = setting(100, whole(1, 65_536), "hidden units per layer")
    layers: int = setting(1, whole(1, 64), "layers, each reading the one below")
    dropout: float = setting(0.0, FRACTION, "share of every layer's output dropped")
    variational: bool = setting(False, FLAG, "drop the same units at every step of a window")
    recurrent_dropout: float = setting(
        0.0, FRACTION, "share of the recurrent weights dropped for a window"
    )
    init: str | None = setting(
        None,
        choice("karpathy", "uniform", "orthogonal"),
        "of the weights; null is uniform for rnn, orthogonal for gru and lstm",
    )
    dtype: str = setting("float32", choice("float32", "float64"), "of weights and activations")


@dataclass(frozen=True)
class TrainConfig:
    """How the text is cut up, and for how long."""

    batch_size: int = setting(1, whole(1, 65_536), "rows trained side by side")
    seq_length: int | None = setting(
        None, whole(1, 65_536), "steps back-propagated; null: 25 in a stream, at most 256 in lines"
    )
    steps: int | None = setting(
        None, whole(1), f"updates; null is {DEFAULT_STEPS}, or as many as epochs says"
    )
    epochs: float | None = setting(None, POSITIVE, "passes over the training text")
    state: str = setting(
        "carry",
        choice("carry", "zero"),
        "what a window of a stream starts from; lines always start from zero",
        STREAM,
    )
    reduction: str = setting(
        "sum", choice("sum", "mean"), "of the loss over a window's characters: what clip sees"
    )
    seed: int | None = setting(
        None, whole(0, MOST), "of every random choice; null draws one and names it"
    )
    patience: int | None = setting(
        None, whole(1), "stop after so many validations without a better one"
    )
    workers: int | str = setting(
        "auto",
        optional(whole(1, 1024), "auto"),
        "processes that share the rows; auto decides by the cores and the size of the work",
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
    momentum: float = setting(0.0, FRACTION, "sgd: share of the last step that is kept", SGD)
    decay: float = setting(0.99, FRACTION, "rmsprop: of the running mean of squares", RMSPROP)
    beta1: float = setting(0.9, FRACTION, "adam: of the running mean of gradients", ADAM)
    beta2: float = setting(0.999, FRACTION, "adam: of the running mean of squares", ADAM)
    weight_decay: float = setting(
        0.0, NOT_NEGATIVE, "adam: decoupled, per unit of learning rate", ADAM
    )
    schedule: str = setting(
        "constant", choice("constant", "cosine", "step", "plateau"), "of the learning rate"
    )
    warmup: int = setting(0, whole(0), "updates over which the rate rises from 0")
    final_rate: float = setting(0.0, FRACTION, "cosine: share of the rate at the end", COSINE)
    decay_factor: float = setting(0.5, SHARE, "step, plateau: factor of the rate", STEP_OR_PLATEAU)
    decay_epochs: float = setting(1.0, POSITIVE, "step: epochs between two such changes", STEP)
    plateau_patience: int = setting(
        3, whole(1), "plateau: validations it waits for a better one", PLATEAU
    )
    ema: float | None = setting(
        None, FRACTION, "decay of a moving average of weights that is validated, sampled, saved"
    )


@dataclass(frozen=True)
class OutputConfig:
    """What is written, where and how often."""

    checkpoint: str | None = setting(
        None, FILE, "the .npz file; null is the config's name with .npz, in the current folder"
    )
    validate_every: int = setting(1000, whole(1), "updates between validations, each saved")
    sample_every: int | None = setting(None, whole(1), "updates between samples; null shows none")
    keep: str = setting(
        "last", choice("last", "best"), "best also saves the best validation, in NAME.best.npz"
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

    def flat(self) -> dict[str, Any]:
        """Every setting under its full name, `section.key`."""
        parts = self.as_dict()
        return {f"{part}.{key}": value for part in parts for key, value in parts[part].items()}


SECTIONS: dict[str, type[Any]] = get_type_hints(Config)
FIELDS = {
    f"{section}.{key.name}": key
    for section, cls in SECTIONS.items()
    for key in dataclasses.fields(cls)
}
KINDS: dict[str, Kind] = {key: field.metadata["kind"] for key, field in FIELDS.items()}
