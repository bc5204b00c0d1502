"""The settings of a run: the default, the allowed values and the meaning of each.

`loader` reads them from YAML, from `--set key=value` and from the JSON inside a checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from charrnn.config.kinds import (
    ENCODING,
    FILE,
    FILES,
    FLAG,
    FRACTION,
    MAX_INT,
    NOT_NEGATIVE,
    POSITIVE,
    SHA256,
    SHARE,
    URL,
    Kind,
    choice,
    integer,
    optional,
)

DEFAULT_STEPS = 50_000


# For `only`: the key of another setting, and the values of it that are required.
LINES, STREAM = ("corpus.mode", "lines"), ("corpus.mode", "stream")
SGD, RMSPROP = ("optimizer.name", "sgd"), ("optimizer.name", "rmsprop")
ADAM_OR_MUON = ("optimizer.name", "adam", "muon")
COSINE = ("optimizer.schedule", "cosine")
STEP, PLATEAU = ("optimizer.schedule", "step"), ("optimizer.schedule", "plateau")
STEP_OR_PLATEAU = ("optimizer.schedule", "step", "plateau")


def setting(default: Any, kind: Kind, meaning: str, only: Sequence[str] = ()) -> Any:
    """Declare a setting: its default, its kind and its meaning.

    A setting that is null by default may also be set to null. `only` is the key of another
    setting and those of its values for which this setting has an effect.
    """
    kind = optional(kind) if default is None else kind
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "only": only})


@dataclass(frozen=True)
class CorpusConfig:
    """The source of the text, and how it is read and split."""

    path: tuple[str, ...] = setting((), FILES, "the text; - is stdin, and a list is joined")
    url: str | None = setting(None, URL, "where the text is downloaded from if it is missing")
    sha256: str | None = setting(None, SHA256, "the checksum that its bytes must have")
    encoding: str = setting("utf-8", ENCODING, "the encoding of the text")
    mode: str = setting("stream", choice("stream", "lines"), "running text, or one record a line")
    lowercase: bool = setting(False, FLAG, "read the text in lower case")
    validation: float = setting(
        0.1, FRACTION, "the share held out: the end of a stream, random lines of a list"
    )
    duplicates: str = setting(
        "together",
        choice("together", "independent"),
        "copies of a line: all in the same part, or each drawn by itself as in makemore",
        LINES,
    )


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    cell: str = setting("rnn", choice("rnn", "gru", "lstm"), "the kind of recurrence")
    hidden: int = setting(100, integer(1, 65_536), "the hidden units of each layer")
    layers: int = setting(1, integer(1, 64), "the layers, each of which reads the one below")
    output_layers: str = setting(
        "top", choice("top", "all"), "the layers that the output reads: the top one, or all"
    )
    dropout: float = setting(0.0, FRACTION, "the share of every layer's output that is dropped")
    variational_dropout: bool = setting(
        False, FLAG, "drop the same hidden units at every step of a window"
    )
    recurrent_dropout: float = setting(
        0.0, FRACTION, "the share of the recurrent weights that is dropped for a window"
    )
    init: str | None = setting(
        None,
        choice("karpathy", "uniform", "orthogonal"),
        "the initial weights; null is uniform for rnn, orthogonal for gru and lstm",
    )
    dtype: str = setting(
        "float32", choice("float32", "float64"), "the type of weights and activations"
    )


@dataclass(frozen=True)
class TrainConfig:
    """The windows of the text, and the length of training."""

    batch_size: int = setting(1, integer(1, 65_536), "the rows trained side by side")
    seq_length: int | None = setting(
        None,
        integer(1, 65_536),
        "the steps of a window; null is 25 in a stream, the longest line up to 256 in lines",
    )
    steps: int | None = setting(
        None, integer(1), f"the updates; null is {DEFAULT_STEPS}, or the updates of train.epochs"
    )
    epochs: float | None = setting(None, POSITIVE, "the passes over the training text")
    state: str = setting(
        "carry",
        choice("carry", "zero"),
        "the state a window of a stream starts from; a line always starts from zero",
        STREAM,
    )
    state_reset: float = setting(
        0.01,
        FRACTION,
        "the share of a stream's windows that start from zero although the state is carried",
        STREAM,
    )
    reduction: str = setting(
        "sum",
        choice("sum", "mean"),
        "how the losses of a window's characters are combined; clip applies to the result",
    )
    seed: int | None = setting(
        None, integer(0, MAX_INT), "the seed of every random choice; null draws one and prints it"
    )
    patience: int | None = setting(
        None, integer(1), "stop after so many validations in a row without a better one"
    )
    workers: int | str = setting(
        "auto",
        optional(integer(1, 1024), "auto"),
        "the processes that share the rows; auto chooses by cores and size of the work",
    )

    def window(self, mode: str) -> int:
        """Return the longest window in steps: `seq_length`, or its default in this corpus mode."""
        return self.seq_length or (25 if mode == "stream" else 256)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and the schedule of the learning rate."""

    name: str = setting(
        "adagrad", choice("sgd", "adagrad", "rmsprop", "adam", "muon"), "the rule of the update"
    )
    learning_rate: float | None = setting(
        None, POSITIVE, "the size of a step; null suits optimizer, network and reduction"
    )
    clip: float | None = setting(
        5.0, optional(POSITIVE), "the limit of gradient clipping; null does not clip"
    )
    clip_by: str = setting(
        "value", choice("value", "norm"), "clip each number, or the norm of the whole gradient"
    )
    momentum: float = setting(0.0, FRACTION, "sgd: the share of the last step that is kept", SGD)
    rmsprop_decay: float = setting(
        0.99, FRACTION, "rmsprop: the decay of the mean of squared gradients", RMSPROP
    )
    beta1: float = setting(
        0.9, FRACTION, "adam, muon: the decay of the mean of gradients", ADAM_OR_MUON
    )
    beta2: float = setting(
        0.999, FRACTION, "adam, muon: the decay of the mean of squared gradients", ADAM_OR_MUON
    )
    weight_decay: float = setting(
        0.0,
        NOT_NEGATIVE,
        "adam, muon: decoupled weight decay, times the learning rate",
        ADAM_OR_MUON,
    )
    schedule: str = setting(
        "constant",
        choice("constant", "cosine", "step", "plateau"),
        "how the learning rate changes during a run",
    )
    warmup: int = setting(0, integer(0), "the updates over which the learning rate rises from 0")
    cosine_final_factor: float = setting(
        0.0, FRACTION, "cosine: the share of the learning rate that is left at the end", COSINE
    )
    decay_factor: float = setting(
        0.5, SHARE, "step, plateau: the factor of the learning rate at a change", STEP_OR_PLATEAU
    )
    step_epochs: float = setting(1.0, POSITIVE, "step: the epochs between two changes", STEP)
    plateau_patience: int = setting(
        3, integer(1), "plateau: the validations without a better one before a change", PLATEAU
    )
    ema_decay: float | None = setting(
        None,
        FRACTION,
        "the decay of a moving average of the weights, which is validated, sampled and saved",
    )


@dataclass(frozen=True)
class OutputConfig:
    """The files and samples that a run writes, and how often."""

    checkpoint: str | None = setting(
        None, FILE, "the .npz file; null is the config's name with .npz, in the current folder"
    )
    log_every: int | None = setting(
        None,
        integer(1),
        "the updates between two points of the loss curve; null is a 200th of a run",
    )
    validate_every: int = setting(
        1000, integer(1), "the updates between two validations, each of which saves"
    )
    sample_every: int | None = setting(
        None, integer(1), "the updates between two samples; null shows none"
    )
    keep: str = setting(
        "best",
        choice("last", "best"),
        "the weights that the checkpoint's model has: those of the best validation, or the last",
    )


@dataclass(frozen=True)
class Config:
    """The five sections of a config."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @property
    def learning_rate(self) -> float:
        """`optimizer.learning_rate`; where it is null, a rate that suits the run.

        Adagrad 0.1, Adam, Muon and RMSprop 0.002, each times min(1, 100 / (hidden layers^2)). SGD
        0.0035 for a sum over 25 steps, and so 25 times as much for a mean. Measured by
        scripts/learning_rates.py.
        """
        optimizer, size = self.optimizer, self.model.hidden * self.model.layers**2
        if optimizer.learning_rate is not None:
            return optimizer.learning_rate
        if optimizer.name == "sgd":
            return 0.0035 * (25 if self.train.reduction == "mean" else 1)
        return min(1.0, 100 / size) * (0.1 if optimizer.name == "adagrad" else 0.002)

    def as_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def flat(self) -> dict[str, Any]:
        """Return every setting under its full name, `section.key`."""
        sections = self.as_dict().items()
        return {f"{name}.{key}": value for name, keys in sections for key, value in keys.items()}


SECTIONS: dict[str, type[Any]] = get_type_hints(Config)
FIELDS = {
    f"{section}.{key.name}": key
    for section, cls in SECTIONS.items()
    for key in dataclasses.fields(cls)
}
KINDS: dict[str, Kind] = {key: field.metadata["kind"] for key, field in FIELDS.items()}
