"""The training loop: update, and now and then validate, save and show a sample.

It prints nothing: a `Callbacks` is told what happens, and asked whether to stop.
"""

from __future__ import annotations

import time
from typing import Protocol

from charrnn.errors import Interrupted
from charrnn.parallel.group import StopRequested
from charrnn.training.outputs import RunFiles, best_path
from charrnn.training.state import ValidationReport
from charrnn.training.trainer import Trainer

STEP_INTERVAL_S = 0.1  # seconds between two updates of the progress bar


class Callbacks(Protocol):
    """What a run tells, and the one thing it asks."""

    def on_start(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """Training begins, or goes on, at `step`."""

    def on_step(self, step: int, smooth_nats: float) -> None:
        """Some steps later."""

    def on_validation(self, report: ValidationReport) -> None:
        """A validation is done, and saved if that was possible."""

    def on_warning(self, message: str) -> None:
        """Something could not be saved, and is tried again later."""

    def on_sample(self, step: int, text: str) -> None:
        """A text was sampled."""

    def on_end(self, message: str) -> None:
        """The run is over, and there is something to say about it."""

    def stop_requested(self) -> bool:
        """Return whether the run is to save and leave."""


def run(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    """Train to the end, saving to `path` at every validation. All ranks go through it alike.

    Raises Interrupted, after saving, when `callbacks` asks to stop; DivergedError, with the last
    checkpoint kept; CheckpointError, at the end, when the last save failed.
    """
    output, training_state, group = trainer.config.output, trainer.training_state, trainer.group
    files = RunFiles(trainer, path)
    try:
        callbacks.on_start(
            training_state.step, trainer.steps, trainer.initial_nats(), len(trainer.corpus.vocab)
        )
        while True:
            text = report = None
            if (
                _is_due(trainer, output.sample_every)
                and training_state.sampled_at != training_state.step
            ):
                text = group.on_rank_zero(lambda: trainer.sample(callbacks.stop_requested))
            if (
                _is_due(trainer, output.validate_every)
                and training_state.validated_at != training_state.step
            ):
                report = trainer.validate(callbacks.stop_requested)
            if text is not None:
                training_state.sampled_at = (
                    training_state.step
                )  # not before the validation, which may be broken off
            if report is not None:
                trouble = files.save(report)
                callbacks.on_validation(report)
                if trouble is not None and not trainer.finished:
                    callbacks.on_warning(trouble)
            if text is not None:
                callbacks.on_sample(training_state.step, text)
            if trainer.finished:
                break
            if training_state.step > 0 and trainer.must_stop(callbacks.stop_requested):
                raise StopRequested
            _update_until_due(trainer, callbacks)
        _report_best(trainer, path, callbacks)
    except StopRequested:
        files.save()
        group.on_rank_zero(files.check)
        stopped = f"stopped at step {training_state.step:,} of {trainer.steps:,} and saved"
        hint = f"To go on: {files.resume_command()}"
        raise group.error_for_all_ranks(Interrupted(stopped, hint)) from None
    group.on_rank_zero(files.check)


def _is_due(trainer: Trainer, every: int | None) -> bool:
    """Whether something done every so many steps and at the end is due; None is never."""
    step = trainer.step
    return every is not None and (step >= trainer.steps or (step % every == 0 and step > 0))


def _update_until_due(trainer: Trainer, callbacks: Callbacks) -> None:
    """Update up to the next thing due, or until the run is to stop."""
    output, training_state = trainer.config.output, trainer.training_state
    begun = last = time.perf_counter()
    try:
        while True:
            trainer.update(callbacks.stop_requested)
            due = any(_is_due(trainer, n) for n in (output.validate_every, output.sample_every))
            tick = time.perf_counter()
            if due or tick - last > STEP_INTERVAL_S:
                last = tick
                callbacks.on_step(training_state.step, training_state.smooth_nats)
            if due or trainer.must_stop(callbacks.stop_requested):
                break
    finally:
        elapsed = time.perf_counter() - begun
        training_state.seconds += elapsed
        training_state.recent_seconds += elapsed


def _report_best(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    training_state = trainer.training_state
    waited, best_nats = training_state.waited, training_state.best_nats
    best_step = f"step {training_state.best_step:,}"
    if trainer.step < trainer.steps:
        callbacks.on_end(
            f"stopped early: {waited} validations in a row were no better than that at {best_step}"
        )
    if trainer.config.output.keep == "best" and best_nats is not None:
        best = f"best validation {best_nats:.4f} nats at {best_step}"
        callbacks.on_end(f"{best}: {best_path(path)}")
