"""The figures of a run at its validations, and the `.jsonl` file that keeps them."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError
from charrnn.evaluate import Score


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
            "smooth_bits": self.smooth_nats / math.log(2),
            "train_nats": self.train_nats,
            "train_bits": self.train_nats / math.log(2),
            "validation_nats": nats,
            "validation_bits": None if nats is None else nats / math.log(2),
            "chars_per_s": round(self.chars_per_s, 1),
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
        }


def metrics_path(checkpoint_path: str) -> Path:
    """Where the metrics of a checkpoint are."""
    return Path(checkpoint_path).with_suffix(".jsonl")


class Metrics:
    """The `.jsonl` beside a checkpoint: one JSON object a validation."""

    def __init__(self, checkpoint_path: str, step: int) -> None:
        """Keep the lines of an earlier run up to `step`; drop those that it had after."""
        self.path = metrics_path(checkpoint_path)
        kept = []
        if step and self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
        self._write("w", "".join(kept))

    def add(self, report: Report) -> None:
        """One more line."""
        self._write("a", json.dumps(report.as_dict()) + "\n")

    def _write(self, mode: str, text: str) -> None:
        try:
            with open(self.path, mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror}") from None
