"""The training loop: update the weights; at intervals validate, save and sample.

The loop prints nothing. It calls a `Callbacks`, which reports to the user and can stop the run.
"""

from __future__ import annotations

import time
from typing import Protocol

from charrnn.errors import Interrupted
from charrnn.parallel.group import StopRequested
from charrnn.training.outputs import RunFiles, best_path
from charrnn.training.state import ValidationReport
from charrnn.training.trainer import Trainer

STEP_INTERVAL_S = 0.1  # seconds between two calls of `on_step`


class Callbacks(Protocol):
    """Functions that the training loop calls."""

    def on_start(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """Report that training starts at `step`, or resumes there if it is above 0.

        `initial_nats` is the loss of the next window in nats per character, before any update.
        """

    def on_step(self, step: int, smooth_nats: float) -> None:
        """Report the step and the smoothed loss in nats per character, after some updates."""

    def on_validation(self, report: ValidationReport) -> None:
        """Report a validation, after the save."""

    def on_warning(self, message: str) -> None:
        """Report that a save failed. The next save tries again."""

    def on_sample(self, step: int, text: str) -> None:
        """Report a sampled text."""

    def on_end(self, message: str) -> None:
        """Report an early stop or the best validation, at the end of the run."""

    def stop_requested(self) -> bool:
        """Return whether the run should save and stop."""


def run(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    """Train to the end, and save to `path` at every validation. All ranks call it.

    Raises Interrupted after saving when `callbacks` requests a stop, CheckpointError at the end
    when the last save failed, and DivergedError, which leaves the last checkpoint as it is.
    """
    output, state, group = trainer.config.output, trainer.training_state, trainer.group
    files = RunFiles(trainer, path)
    try:
        initial_nats, vocab_size = trainer.initial_nats(), len(trainer.corpus.vocab)
        callbacks.on_start(state.step, trainer.steps, initial_nats, vocab_size)
        while True:
            text = report = None
            if _is_due(trainer, output.sample_every) and state.sampled_at != state.step:
                text = group.on_rank_zero(lambda: trainer.sample(callbacks.stop_requested))
            if _is_due(trainer, output.validate_every) and state.validated_at != state.step:
                report = trainer.validate(callbacks.stop_requested)
            if text is not None:
                state.sampled_at = state.step  # after the validation, which a stop may interrupt
            if report is not None:
                warning = files.save(report)
                callbacks.on_validation(report)
                if warning is not None and not trainer.finished:
                    callbacks.on_warning(warning)
            if text is not None:
                callbacks.on_sample(state.step, text)
            if trainer.finished:
                break
            if state.step > 0 and trainer.must_stop(callbacks.stop_requested):
                raise StopRequested
            _update_until_due(trainer, callbacks)
        _report_best(trainer, path, callbacks)
    except StopRequested:
        files.save()
        group.on_rank_zero(files.raise_if_failed)
        stopped = f"stopped at step {state.step:,} of {trainer.steps:,} and saved"
        hint = f"To resume: {files.resume_command()}"
        raise group.error_for_all_ranks(Interrupted(stopped, hint)) from None
    group.on_rank_zero(files.raise_if_failed)


def _is_due(trainer: Trainer, every: int | None) -> bool:
    """Return whether what happens every `every` steps and at the end is due; None is never."""
    step = trainer.step
    return every is not None and (step >= trainer.steps or (step % every == 0 and step > 0))


def _update_until_due(trainer: Trainer, callbacks: Callbacks) -> None:
    """Update until a validation or a sample is due, or the run must stop."""
    output, state = trainer.config.output, trainer.training_state
    start = last = time.perf_counter()
    try:
        while True:
            trainer.update(callbacks.stop_requested)
            due = any(_is_due(trainer, n) for n in (output.validate_every, output.sample_every))
            now = time.perf_counter()
            if due or now - last > STEP_INTERVAL_S:
                last = now
                callbacks.on_step(state.step, state.smooth_nats)
            if due or trainer.must_stop(callbacks.stop_requested):
                break
    finally:
        elapsed = time.perf_counter() - start
        state.seconds += elapsed
        state.recent_seconds += elapsed


def _report_best(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    """Call `on_end` for an early stop, and for the best checkpoint if the run keeps it."""
    state = trainer.training_state
    best_step = f"step {state.best_step:,}"
    if trainer.step < trainer.steps:
        patience = f"train.patience={trainer.config.train.patience}"
        callbacks.on_end(f"stopped early: no validation since {best_step} was better ({patience})")
    if trainer.config.output.keep == "best" and state.best_nats is not None:
        best = f"best validation {state.best_nats:.4f} nats at {best_step}"
        callbacks.on_end(f"{best}: {best_path(path)}")
