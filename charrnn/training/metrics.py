"""The figures of a run at its validations, and the `.jsonl` file that keeps them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.atomic import beside, replacement, write_errors
from charrnn.evaluation.evaluator import Score
from charrnn.units import bits


@dataclass(frozen=True)
class Report:
    """The state of a run at a validation."""

    step: int
    steps: int
    epoch: int
    seconds: float  # of training so far, earlier runs and validations included
    smooth_loss: float  # as in Karpathy's gist: nats a window, 0.999 old and 0.001 new
    smooth_nats: float  # the same per character
    train_nats: float  # per character, the mean since the last report
    validation: Score | None
    chars_per_s: float  # since the last report, validation not counted
    learning_rate: float  # of the last update
    gradient_norm: float | None  # mean since the last report, before clipping by norm
    best: bool = False  # no validation before was as good

    def as_dict(self) -> dict[str, Any]:
        """One line of the metrics file."""
        nats = self.validation.nats if self.validation else None
        return {
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


def metrics_path(checkpoint_path: str) -> Path:
    """Where the metrics of a checkpoint are."""
    return beside(checkpoint_path, ".jsonl")


class Metrics:
    """The `.jsonl` beside a checkpoint: one JSON object a validation.

    Nothing is written before the first `write`, which leaves of an earlier run the lines up to
    `step`. What cannot be written is kept for the next time.
    """

    def __init__(self, checkpoint_path: str, step: int) -> None:
        self.path = metrics_path(checkpoint_path)
        self._lines: list[bytes] = []  # all that the file should hold
        if step:
            with contextlib.suppress(OSError), open(self.path, "rb") as stream:
                lines = stream.read().splitlines()
                self._lines = [line + b"\n" for line in lines if _is_until(step, line)]

    def add(self, report: Report) -> None:
        """One more line, for the next `write`."""
        self._lines.append(json.dumps(report.as_dict()).encode() + b"\n")

    def write(self) -> None:
        """Replace the file by one that holds every line. Raises CheckpointError."""
        with write_errors(self.path):
            if self._lines:
                with replacement(self.path) as stream:
                    stream.writelines(self._lines)
            else:
                self.path.unlink(missing_ok=True)


def _is_until(step: int, line: bytes) -> bool:
    """Whether this is the line of a validation up to `step`."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
