"""The training state: counters and losses of a run, the points of its curve, and what it saves."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.arrays import Ints, StartStates
from charrnn.checkpoint import Checkpoint
from charrnn.config.kinds import MAX_INT
from charrnn.config.schema import Config
from charrnn.data.corpus import Corpus
from charrnn.evaluation.evaluator import Score
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.sampling import start_states
from charrnn.training.optimizers import MovingAverage
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


class SavedModel:
    """The weights that a run validates, samples and saves, and the states that texts start from.

    They are the weights of the last step, `params`, or their moving average; with `output.keep:
    best` a checkpoint contains those of the best validation.
    """

    def __init__(self, config: Config, corpus: Corpus, model: Model, params: Params) -> None:
        assert config.train.seed is not None
        self.keeps_best = config.output.keep == "best"
        self.model = model
        self.params = params
        decay = config.optimizer.ema_decay
        # The weights to validate and sample: the moving average, if the config has one.
        self.eval_params = params if decay is None else params.copy()
        self.average = None if decay is None else MovingAverage(decay, self.eval_params.flat)
        self.best_params: Params | None = None  # of the best validation, where those are saved
        self._best_starts: StartStates | None = None
        self._stretches: Ints | None = None
        if corpus.records is None:
            seed = config.train.seed
            self._stretches = start_states.stretches(corpus.training, corpus.vocab, seed)

    def update(self, step: int) -> None:
        """Update the moving average after an update of the weights."""
        if self.average is not None:
            self.average.update(self.params.flat, step)

    def reset_average(self) -> None:
        """Let the moving average begin at the present weights."""
        self.eval_params.flat[:] = self.params.flat

    def record_best(self) -> None:
        """Keep the weights of the validation just done, if the best are to be saved."""
        if self.keeps_best:
            self.best_params, self._best_starts = self.eval_params.copy(), None

    def starts(self) -> StartStates | None:
        """Return the states that the weights to validate start texts from; None for lines."""
        return self._compute_starts(self.eval_params)

    def _compute_starts(self, params: Params) -> StartStates | None:
        if self._stretches is None:
            return None
        return start_states.compute(self.model, params, self._stretches)

    def fields(self, best_is_last: bool, with_starts: bool) -> dict[str, Any]:
        """Return the weights and start states as fields of a `Checkpoint`, without copies.

        `best_is_last` says that the best validation was that of the last step.
        """
        params, starts = self.eval_params, None
        if self.best_params is not None:
            params, starts = self.best_params, self._best_starts
        if with_starts and starts is None:
            starts = self._compute_starts(params)
        self._best_starts = None if self.best_params is None else starts
        is_last = self.best_params is None or best_is_last
        return {
            "params": params,
            "starts": starts,
            "training_weights": None if is_last and self.average is None else self.params.flat,
            "average_weights": None if is_last or self.average is None else self.eval_params.flat,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore all weights from a checkpoint of the same run."""
        weights, average = checkpoint.training_weights, checkpoint.average_weights
        saved = checkpoint.params
        self.params.flat[:] = saved.flat if weights is None else weights
        if self.average is not None:
            self.eval_params.flat[:] = saved.flat if average is None else average
        validated = checkpoint.training_state["best_nats"] is not None
        if self.keeps_best and checkpoint.config.output.keep == "best" and validated:
            self.best_params, self._best_starts = saved, checkpoint.starts
