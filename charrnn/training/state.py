"""The numbers of a run that change as it goes on, and how they are read back from a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config.schema import MOST


@dataclass
class Progress:
    """Where a run stands, but for its weights and its place in the text."""

    step: int = 0
    seconds: float = 0.0
    smooth_loss: float = 0.0  # nats a row of a window; set by the first one
    smooth_chars: float = 0.0  # characters a row of a window, smoothed alike
    first_nats: float = 0.0  # per character, of the first window
    quick_nats: float = 0.0  # per character, 0.95 old and 0.05 new: to notice divergence
    recent_nats: float = 0.0  # sums since the last report
    recent_chars: int = 0
    recent_seconds: float = 0.0
    recent_norms: float = 0.0
    reported_at: int = 0  # steps
    validated_at: int = -1  # steps, so that nothing is done twice after a resume
    sampled_at: int = -1
    best_nats: float | None = None  # of all validations
    best_step: int = 0
    waited: int = 0  # validations since the best

    @property
    def smooth_nats(self) -> float:
        """The smoothed loss per character."""
        return self.smooth_loss / self.smooth_chars if self.smooth_chars else math.nan

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take the numbers of a checkpoint. Raises KeyError, TypeError, ValueError, OverflowError.

        No number of a run is infinite or NaN, and counts fit into 64 bits.
        """
        for field in dataclasses.fields(self):
            setattr(self, field.name, _number(saved[field.name], field.default))


def _number(value: Any, default: object) -> float | None:
    if value is None and default is None:
        return None
    if isinstance(default, int):
        count = int(value)
        if not -1 <= count <= MOST:
            raise ValueError("no count of a run")
        return count
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no figure of a run")
    return number
