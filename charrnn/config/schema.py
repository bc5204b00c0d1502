"""The settings of a run: for each its default, what is allowed, and what it means.

`loader` reads them from YAML, from `--set key=value` and from the JSON inside a checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DEFAULT_STEPS = 50_000
MOST = 2**63 - 1  # what 64 bits hold


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
    most = MOST if maximum is None else maximum

    def read(value: object, base: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            number = _number(value)
            if number != int(number):
                raise ValueError
            value = int(number)
        if not minimum <= value <= most:
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


def automatic(kind: Kind) -> Kind:
    """The same, or auto."""
    return Kind(
        f"{kind.expected}, or auto",
        lambda value, base: value if value == "auto" else kind.read(value, base),
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
    copies: str = setting(
        "together",
        choice("together", "apart"),
        "of a line: all held out or none, or each line by itself as makemore splits",
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
    variational: bool = setting(
        False, flag(), "dropout drops the same units at every step of a window"
    )
    recurrent_dropout: float = setting(
        0.0, FRACTION, "share of the recurrent weights dropped for a window"
    )
    init: str | None = setting(
        None,
        optional(choice("karpathy", "uniform", "orthogonal")),
        "of the weights; null is uniform for rnn, orthogonal for gru and lstm",
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
        None, optional(whole(0, MOST)), "of every random choice; null draws one and names it"
    )

    patience: int | None = setting(
        None, optional(whole(1)), "stop after so many validations without a better one"
    )
    workers: int | str = setting(
        "auto",
        automatic(whole(1, 1024)),
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
        None,
        optional(file()),
        "the .npz file; null is the config's name with .npz, in the current folder",
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


# Settings that only one choice of another setting makes use of.
ONLY_FOR = {
    "corpus.copies": ("corpus.mode", ("lines",)),
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


def shown(value: Any) -> str:
    """A setting as it would stand in a config."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
