"""The training state: numbers that change during a run, and the report of a validation."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config.schema import MAX_INT
from charrnn.evaluation.evaluator import Score
from charrnn.units import bits


@dataclass(frozen=True)
class ValidationReport:
    """The metrics of a run at a validation."""

    step: int
    steps: int
    epoch: int
    seconds: float  # of training so far, with validations, also before a resume
    smooth_loss: float  # nats per window, as in Karpathy's gist: 0.999 old + 0.001 new
    smooth_nats: float  # the same per character
    train_nats: float  # per character, mean since the last report
    validation: Score | None
    chars_per_s: float  # since the last report, without validations
    learning_rate: float  # of the last update
    gradient_norm: float | None  # mean since the last report, before clipping by norm
    best: bool = False  # better than every earlier validation

    def as_line(self) -> bytes:
        """Return the line of the metrics file, a JSON object."""
        nats = self.validation.nats if self.validation else None
        row = {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": round(self.seconds, 3),
            "smooth_loss": self.smooth_loss,
            "smooth_nats": self.smooth_nats,
            "smooth_bits": bits(self.smooth_nats),
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
    smooth_loss: float = 0.0  # nats per row of a window; the first window sets it
    smooth_chars: float = 0.0  # characters per row of a window, smoothed in the same way
    first_nats: float = 0.0  # per character, of the first window
    quick_nats: float = 0.0  # per character, 0.95 old + 0.05 new: detects divergence
    recent_nats: float = 0.0  # this and the next three are sums since the last report
    recent_chars: int = 0
    recent_seconds: float = 0.0
    recent_norms: float = 0.0
    reported_at: int = 0  # step of the last report
    validated_at: int = -1  # step; a resumed run does not validate or sample twice at a step
    sampled_at: int = -1
    best_nats: float | None = None  # lowest of all validations
    best_step: int = 0
    waited: int = 0  # validations since the best one

    @property
    def smooth_nats(self) -> float:
        """The smoothed loss per character."""
        return self.smooth_loss / self.smooth_chars if self.smooth_chars else math.nan

    def record_loss(self, loss: float, chars: int, B: int, expected_nats: float) -> None:
        """Update the running losses by a window of B rows and `chars` characters.

        `loss` is in nats per row. The smoothed loss starts from `expected_nats` per character.
        """
        length = chars / B
        nats = loss / length
        if self.step == 0:
            self.smooth_chars = length
            self.smooth_loss = expected_nats * length
            self.first_nats = self.quick_nats = nats
        self.smooth_loss = self.smooth_loss * 0.999 + loss * 0.001
        self.smooth_chars = self.smooth_chars * 0.999 + length * 0.001
        self.quick_nats = self.quick_nats * 0.95 + nats * 0.05
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

    def report(self, clips_by_norm: bool, **fields: Any) -> ValidationReport:
        """Return a report of the time since the last one, with `fields`, and reset the sums."""
        updates = max(self.step - self.reported_at, 1)
        report = ValidationReport(
            step=self.step,
            seconds=self.seconds,
            smooth_loss=self.smooth_loss,
            smooth_nats=self.smooth_nats,
            train_nats=self.recent_nats / max(self.recent_chars, 1),
            chars_per_s=self.recent_chars / max(self.recent_seconds, 1e-9),
            gradient_norm=self.recent_norms / updates if clips_by_norm else None,
            **fields,
        )
        self.recent_nats, self.recent_seconds, self.recent_norms = 0.0, 0.0, 0.0
        self.recent_chars = 0
        self.reported_at = self.validated_at = self.step
        return report

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
