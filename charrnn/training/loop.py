"""The training loop: update, and now and then validate, save and show a sample.

It prints nothing: a `Watch` is told what happens, and asked whether to stop.
"""

from __future__ import annotations

import time
from typing import Protocol

from charrnn.errors import Interrupted
from charrnn.parallel.group import StopRequested
from charrnn.training.outputs import RunFiles, best_path
from charrnn.training.state import Report
from charrnn.training.trainer import Trainer

TICK = 0.1  # seconds between two updates of the progress bar


class Watch(Protocol):
    """What a run tells, and the one thing it asks."""

    def started(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """Training begins, or goes on, at `step`."""

    def ticked(self, step: int, smooth_nats: float) -> None:
        """Some steps later."""

    def validated(self, report: Report) -> None:
        """A validation is done, and saved if that was possible."""

    def troubled(self, message: str) -> None:
        """Something could not be saved, and is tried again later."""

    def sampled(self, step: int, text: str) -> None:
        """A text was sampled."""

    def ended(self, message: str) -> None:
        """The run is over, and there is something to say about it."""

    def stop_requested(self) -> bool:
        """Return whether the run is to save and leave."""


def run(trainer: Trainer, path: str, watch: Watch) -> None:
    """Train to the end, saving to `path` at every validation. All ranks go through it alike.

    Raises Interrupted, after saving, when `watch` asks to stop; DivergedError, with the last
    checkpoint kept; CheckpointError, at the end, when the last save failed.
    """
    output, now, group = trainer.config.output, trainer.progress, trainer.group
    files = RunFiles(trainer, path)
    try:
        watch.started(now.step, trainer.steps, trainer.initial_nats(), len(trainer.corpus.vocab))
        while True:
            text = report = None
            if _is_due(trainer, output.sample_every) and now.sampled_at != now.step:
                text = group.on_rank_zero(lambda: trainer.sample(watch.stop_requested))
            if _is_due(trainer, output.validate_every) and now.validated_at != now.step:
                report = trainer.validate(watch.stop_requested)
            if text is not None:
                now.sampled_at = now.step  # not before the validation, which may be broken off
            if report is not None:
                trouble = files.save(report)
                watch.validated(report)
                if trouble is not None and not trainer.finished:
                    watch.troubled(trouble)
            if text is not None:
                watch.sampled(now.step, text)
            if trainer.finished:
                break
            if now.step > 0 and trainer.must_stop(watch.stop_requested):
                raise StopRequested
            _update_until_due(trainer, watch)
        _tell_best(trainer, path, watch)
    except StopRequested:
        files.save()
        group.on_rank_zero(files.check)
        stopped = f"stopped at step {now.step:,} of {trainer.steps:,} and saved"
        hint = f"To go on: {files.resume_command()}"
        raise group.for_all(Interrupted(stopped, hint)) from None
    group.on_rank_zero(files.check)


def _is_due(trainer: Trainer, every: int | None) -> bool:
    """Whether something done every so many steps and at the end is due; None is never."""
    step = trainer.step
    return every is not None and (step >= trainer.steps or (step % every == 0 and step > 0))


def _update_until_due(trainer: Trainer, watch: Watch) -> None:
    """Update up to the next thing due, or until the run is to stop."""
    output, now = trainer.config.output, trainer.progress
    begun = last = time.perf_counter()
    try:
        while True:
            trainer.update(watch.stop_requested)
            due = any(_is_due(trainer, n) for n in (output.validate_every, output.sample_every))
            tick = time.perf_counter()
            if due or tick - last > TICK:
                last = tick
                watch.ticked(now.step, now.smooth_nats)
            if due or trainer.must_stop(watch.stop_requested):
                break
    finally:
        elapsed = time.perf_counter() - begun
        now.seconds += elapsed
        now.recent_seconds += elapsed


def _tell_best(trainer: Trainer, path: str, watch: Watch) -> None:
    now, config = trainer.progress, trainer.config
    if now.step < trainer.steps:
        watch.ended(
            f"stopped early: {now.waited} validations in a row were no better than that at step "
            f"{now.best_step:,}"
        )
    if config.output.keep == "best" and now.best_nats is not None:
        watch.ended(
            f"best validation {now.best_nats:.4f} nats at step {now.best_step:,}: {best_path(path)}"
        )
