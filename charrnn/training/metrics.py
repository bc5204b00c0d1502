"""The figures of a run at its validations, and the `.jsonl` file that keeps them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from charrnn.atomic import beside
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

    def as_line(self) -> bytes:
        """Return the line of the metrics file, a JSON object."""
        nats = self.validation.nats if self.validation else None
        figures = {
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
        return json.dumps(figures).encode() + b"\n"


def metrics_path(checkpoint_path: str) -> Path:
    """Where the metrics of a checkpoint are."""
    return beside(checkpoint_path, ".jsonl")


def lines_until(step: int, path: Path) -> list[bytes]:
    """The lines of a metrics file that are of validations up to `step`; none without a file."""
    lines = []
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                if json.loads(line)["step"] <= step:
                    lines.append(line.strip() + b"\n")
    return lines
