"""Schedules: the learning rate at each step.

    constant   rate
    cosine     rate x (final + (1 - final) (1 + cos(pi t / steps)) / 2)     Loshchilov, Hutter 2017
    step       rate x factor ^ floor(epoch / step_epochs)
    plateau    rate x factor after every plateau_patience validations without a better one

With `warmup`, the rate of every schedule first rises linearly over that many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from charrnn.config.kinds import MAX_INT
from charrnn.config.schema import DEFAULT_STEPS, OptimizerConfig, TrainConfig

MAX_CHANGES = 1e9  # of `step`: after so many, any factor below 1 has reduced the rate to 0


def constant(schedule: Schedule, step: int) -> float:
    """Return 1: the rate does not change."""
    return 1.0


def cosine(schedule: Schedule, step: int) -> float:
    """Return a factor that falls along half a cosine from 1 to `cosine_final_factor`."""
    config = schedule.config
    t = max(0, step - config.warmup) / max(1, schedule.steps - config.warmup)
    decay = (1 + math.cos(math.pi * min(t, 1.0))) / 2
    return config.cosine_final_factor + (1 - config.cosine_final_factor) * decay


def step(schedule: Schedule, step: int) -> float:
    """Return a power of `decay_factor`: one more every `step_epochs` epochs."""
    changes = step / schedule.steps_per_epoch / schedule.config.step_epochs
    return float(schedule.config.decay_factor ** math.floor(min(changes, MAX_CHANGES)))


def plateau(schedule: Schedule, step: int) -> float:
    """Return the factor that `record_validation` has reduced."""
    return schedule.factor


# Functions that return the factor of the learning rate at a step, by `optimizer.schedule`.
SCHEDULES: dict[str, Callable[[Schedule, int], float]] = {
    schedule.__name__: schedule for schedule in (constant, cosine, step, plateau)
}


class Schedule:
    """The learning rate of each step, and the factor of `plateau` so far."""

    def __init__(self, config: OptimizerConfig, steps: int, steps_per_epoch: int) -> None:
        assert config.learning_rate is not None
        self.config = config
        self.base_rate = config.learning_rate
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.factor = 1.0  # of `plateau`; each decay multiplies it

    def rate(self, step: int) -> float:
        """Return the learning rate of the next update after `step` updates."""
        config = self.config
        factor = SCHEDULES[config.schedule](self, step)
        if step < config.warmup:
            factor *= (step + 1) / config.warmup
        return self.base_rate * factor

    def record_validation(self, waited: int) -> None:
        """Decay the factor of `plateau` when `waited` validations in a row were no better."""
        if waited and waited % self.config.plateau_patience == 0:
            self.factor *= self.config.decay_factor

    def restore(self, factor: float) -> None:
        """Set the factor of a checkpoint. Raises TypeError or ValueError for an invalid one."""
        if not 0 <= factor <= 1:
            raise ValueError("the factor of plateau must be from 0 to 1")
        self.factor = float(factor)


def total_steps(config: TrainConfig, per_epoch: int) -> int:
    """Return the number of updates of a run; `per_epoch` of them pass over the text once."""
    if config.epochs is not None:
        return max(1, round(min(config.epochs * per_epoch, MAX_INT)))
    return config.steps or DEFAULT_STEPS
