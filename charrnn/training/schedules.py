"""A schedule says how large the learning rate is at each step.

    constant   rate
    cosine     rate x (final + (1 - final) (1 + cos(pi t / steps)) / 2)     Loshchilov, Hutter 2017
    step       rate x factor ^ floor(epoch / step_epochs)
    plateau    rate x factor each time that many validations brought no better one

With `warmup`, every schedule first rises in a straight line over so many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from charrnn.config.schema import DEFAULT_STEPS, MAX_INT, OptimizerConfig, TrainConfig

MAX_CHANGES = 1e9  # of `step`: no factor below 1 leaves anything of the rate after so many


def constant(schedule: Schedule, step: int) -> float:
    """All of it, always."""
    return 1.0


def cosine(schedule: Schedule, step: int) -> float:
    """Half a cosine, from all of it down to `cosine_final_factor`."""
    config = schedule.config
    t = max(0, step - config.warmup) / max(1, schedule.steps - config.warmup)
    share = (1 + math.cos(math.pi * min(t, 1.0))) / 2
    return config.cosine_final_factor + (1 - config.cosine_final_factor) * share


def step(schedule: Schedule, step: int) -> float:
    """Less by a factor every so many epochs."""
    changes = step / schedule.steps_per_epoch / schedule.config.step_epochs
    return float(schedule.config.decay_factor ** math.floor(min(changes, MAX_CHANGES)))


def plateau(schedule: Schedule, step: int) -> float:
    """Less by a factor each time that the validations stand still."""
    return schedule.factor


# The share of the learning rate that each leaves at a step; the words of `optimizer.schedule`.
SCHEDULES: dict[str, Callable[[Schedule, int], float]] = {
    share.__name__: share for share in (constant, cosine, step, plateau)
}


class Schedule:
    """The learning rate of each step, and for `plateau` what the validations have left of it."""

    def __init__(self, config: OptimizerConfig, steps: int, steps_per_epoch: int) -> None:
        self.config = config
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.factor = 1.0  # of plateau, so far

    def rate(self, step: int) -> float:
        """The learning rate of the update after `step` updates."""
        config = self.config
        share = SCHEDULES[config.schedule](self, step)
        if step < config.warmup:
            share *= (step + 1) / config.warmup
        return config.learning_rate * share

    def record_validation(self, waited: int) -> None:
        """Let `plateau` know how many validations in a row brought no better one."""
        if waited and waited % self.config.plateau_patience == 0:
            self.factor *= self.config.decay_factor

    def restore(self, factor: float) -> None:
        """Take what `factor` once was. Raises TypeError or ValueError for nonsense."""
        if not 0 <= factor <= 1:
            raise ValueError("no plateau has seen this")
        self.factor = float(factor)


def total_steps(config: TrainConfig, per_epoch: int) -> int:
    """Return the updates of a run, of which so many pass over the text once."""
    if config.epochs is not None:
        return max(1, round(min(config.epochs * per_epoch, MAX_INT)))
    return config.steps or DEFAULT_STEPS
