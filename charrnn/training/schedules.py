"""A schedule says how large the learning rate is at each step.

    constant   rate
    cosine     rate x (final + (1 - final) (1 + cos(pi t / steps)) / 2)     Loshchilov, Hutter 2017
    step       rate x factor ^ floor(epoch / decay_epochs)
    plateau    rate x factor each time that many validations brought no better one

With `warmup`, every schedule first rises in a straight line over so many steps.
"""

from __future__ import annotations

import math

from charrnn.config.schema import OptimizerConfig

MOST_CHANGES = 1e9  # of `step`: no factor below 1 leaves anything of the rate after so many


class Schedule:
    """The learning rate of each step, and for `plateau` what it has seen of the validations."""

    def __init__(self, config: OptimizerConfig, steps: int, steps_per_epoch: int) -> None:
        self.config = config
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.factor = 1.0  # of plateau, so far
        self.best = math.inf  # validation nats
        self.waited = 0  # validations since then

    def rate(self, step: int) -> float:
        """The learning rate of the update after `step` updates."""
        config, share = self.config, 1.0
        if config.schedule == "cosine":
            t = max(0, step - config.warmup) / max(1, self.steps - config.warmup)
            cosine = (1 + math.cos(math.pi * min(t, 1.0))) / 2
            share = config.final_rate + (1 - config.final_rate) * cosine
        elif config.schedule == "step":
            changes = step / self.steps_per_epoch / config.decay_epochs
            share = config.decay_factor ** math.floor(min(changes, MOST_CHANGES))
        elif config.schedule == "plateau":
            share = self.factor
        if step < config.warmup:
            share *= (step + 1) / config.warmup
        return config.learning_rate * share

    def validated(self, nats: float) -> None:
        """Let `plateau` see a validation."""
        if nats < self.best:
            self.best, self.waited = nats, 0
            return
        self.waited += 1
        if self.waited >= self.config.plateau_patience:
            self.factor, self.waited = self.factor * self.config.decay_factor, 0

    def state(self) -> dict[str, float | None]:
        """What a checkpoint has to keep; infinity is None, which JSON has a word for."""
        best = None if math.isinf(self.best) else self.best
        return {"factor": self.factor, "best": best, "waited": self.waited}

    def restore(self, state: dict[str, float | None]) -> None:
        """Take what `state` once gave. Raises KeyError, TypeError or ValueError for nonsense."""
        best, factor, waited = state["best"], state["factor"], state["waited"]
        if factor is None or waited is None:
            raise TypeError("only the best may be missing")
        if not 0 <= factor <= 1 or not waited >= 0 or not (best is None or 0 <= best < math.inf):
            raise ValueError("no plateau has seen this")
        self.best = math.inf if best is None else float(best)
        self.factor, self.waited = float(factor), int(waited)
