"""The training state: numbers that change during a run, and the points of its loss curve."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config.kinds import MAX_INT
from charrnn.evaluation.evaluator import Score
from charrnn.units import bits

SMOOTH_UPDATES = 100  # updates that the training loss on the screen is the mean of


@dataclass(frozen=True)
class LossPoint:
    """A point of the loss curve: the metrics of a run since the point before."""

    step: int
    epoch: int
    seconds: float  # of training so far, with validations, also before a resume
    train_nats: float  # per character, the mean of all updates since the point before
    validation: Score | None  # None where nothing was validated
    chars_per_s: float  # without validations
    learning_rate: float  # of the last update
    gradient_norm: float | None  # mean before clipping by norm

    @property
    def validation_nats(self) -> float:
        """Nats per character of the validation part; NaN without one."""
        return math.nan if self.validation is None else self.validation.nats

    def as_line(self) -> bytes:
        """Return the line of the metrics file, a JSON object."""
        nats = self.validation.nats if self.validation else None
        row = {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": round(self.seconds, 3),
            "train_nats": self.train_nats,
            "train_bits": bits(self.train_nats),
            "validation_nats": nats,
            "validation_bits": None if nats is None else bits(nats),
            "chars_per_s": round(self.chars_per_s, 1),
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
        }
        return json.dumps(row).encode() + b"\n"


@dataclass
class TrainingState:
    """The counters and losses of a run: all but its weights and its position in the text."""

    step: int = 0
    seconds: float = 0.0
    smooth_nats: float = 0.0  # per row of a window: the mean of about the last 100 updates
    smooth_chars: float = 0.0  # the same of the characters
    recent_nats: float = 0.0  # this and the next three are sums since the last point
    recent_chars: int = 0
    recent_seconds: float = 0.0
    recent_norms: float = 0.0
    logged_at: int = 0  # step of the last point
    validated_at: int = -1  # step; a resumed run does not validate or sample twice at a step
    sampled_at: int = -1
    checked_at: int = -1
    failed_checks: int = 0  # in a row: held-out text cost more than guessing
    best_nats: float | None = None  # lowest of all validations
    best_step: int = 0
    waited: int = 0  # validations since the best one
    overfits: int = 0  # 1 once that was reported

    @property
    def train_nats(self) -> float:
        """The training loss per character, the mean of about the last 100 updates."""
        return self.smooth_nats / self.smooth_chars if self.smooth_chars else math.nan

    def record_loss(self, loss: float, chars: int, B: int) -> None:
        """Update the running losses by a window of B rows and `chars` characters.

        `loss` is in nats per row.
        """
        share = 1 / min(self.step + 1, SMOOTH_UPDATES)  # of the first 100 updates the plain mean
        self.smooth_nats += share * (loss - self.smooth_nats)
        self.smooth_chars += share * (chars / B - self.smooth_chars)
        self.recent_nats += loss * B
        self.recent_chars += chars

    def record_validation(self, nats: float) -> bool:
        """Record the loss of a validation, and return whether it is the best so far."""
        best = self.best_nats is None or nats < self.best_nats
        if best:
            self.best_nats, self.best_step, self.waited = nats, self.step, 0
        else:
            self.waited += 1
        return best

    def log(self, clips_by_norm: bool, **fields: Any) -> LossPoint:
        """Return the point of the time since the last one, with `fields`, and reset the sums."""
        updates = max(self.step - self.logged_at, 1)
        point = LossPoint(
            step=self.step,
            seconds=self.seconds,
            train_nats=self.recent_nats / self.recent_chars if self.recent_chars else math.nan,
            chars_per_s=self.recent_chars / max(self.recent_seconds, 1e-9),
            gradient_norm=self.recent_norms / updates if clips_by_norm else None,
            **fields,
        )
        self.recent_nats, self.recent_seconds, self.recent_norms = 0.0, 0.0, 0.0
        self.recent_chars = 0
        self.logged_at = self.step
        return point

    def restore(self, values: Mapping[str, Any]) -> None:
        """Set all fields to those of a checkpoint.

        Raises KeyError, TypeError, ValueError or OverflowError unless all are there, all numbers
        are finite and all counts fit into 64 bits.
        """
        for field in dataclasses.fields(self):
            setattr(self, field.name, _number(values[field.name], field.default))


def _number(value: Any, default: object) -> float | None:
    """Return the value as a number of the type of `default`, which may be None."""
    if value is None and default is None:
        return None
    number = int(value) if isinstance(default, int) else float(value)
    if not math.isfinite(number) or (isinstance(number, int) and not -1 <= number <= MAX_INT):
        raise ValueError("not a valid number of a training state")
    return number
