"""The training loop: update the weights; at intervals validate, save and sample.

The loop prints nothing. It calls a `Callbacks`, which reports to the user and can stop the run.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import time

from charrnn.errors import DivergedError, Interrupted
from charrnn.parallel.group import StopRequested
from charrnn.training.outputs import RunFiles
from charrnn.training.state import LossPoint
from charrnn.training.trainer import Trainer

logger = logging.getLogger("charrnn")

STEP_INTERVAL_S = 0.1  # seconds between two calls of `on_step`
CHECKED_STEPS = (200, 500, 1000)  # checks whether the model learns; later, at every validation
MIN_RISING_STEPS = 200  # of the validation loss, and a third of the run, to call it overfitting
UPDATE_COST = 1.3  # time of an update / time of its gradient
SCORING_COST = 0.4  # time to score a character / time to train on it
LEARNS_BY = 500  # updates after which a run that ends above guessing has failed


class Callbacks:
    """Functions that the training loop calls. These do nothing, and never stop the run."""

    def on_start(self, trainer: Trainer, initial_nats: float) -> None:
        """Report that training starts, or resumes if the step is above 0.

        `initial_nats` is the loss of the next window in nats per character, before any update.
        """

    def on_step(self, trainer: Trainer) -> None:
        """Report the step and the training loss, after some updates."""

    def on_validation(self, trainer: Trainer, point: LossPoint) -> None:
        """Report a validation, after the save."""

    def on_warning(self, message: str) -> None:
        """Report a save that failed, and a model that does not learn or overfits."""

    def on_sample(self, step: int, text: str) -> None:
        """Report a sampled text."""

    def on_end(self, message: str) -> None:
        """Report an early stop or the best validation, at the end of the run."""

    def stop_requested(self) -> bool:
        """Return whether the run should save and stop."""
        return False


class LoggingCallbacks(Callbacks):
    """Callbacks that log validations and warnings."""

    def on_validation(self, trainer: Trainer, point: LossPoint) -> None:
        """Log the losses of a validation."""
        logger.info(
            f"step {point.step:,}/{trainer.steps:,}  train {point.train_nats:.4f}  "
            f"validation {point.validation_nats:.4f} nats"
        )

    def on_warning(self, message: str) -> None:
        """Log a warning."""
        logger.warning(message)


def run(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    """Train to the end, and save to `path` at every validation. All ranks call it.

    Raises Interrupted after saving when `callbacks` requests a stop, CheckpointError at the end
    when the last save failed, and DivergedError for a run that diverges, which leaves the last
    checkpoint as it is, or that does not learn, which is saved.
    """
    output, state, group = trainer.config.output, trainer.training_state, trainer.group
    files = RunFiles(trainer, path)
    was_finished = trainer.finished
    try:
        callbacks.on_start(trainer, trainer.initial_nats())
        while True:
            text = point = None
            if _is_due(trainer, output.sample_every) and state.sampled_at != state.step:
                text = group.on_rank_zero(lambda: trainer.sample(callbacks.stop_requested))
            if _is_due(trainer, output.validate_every) and state.validated_at != state.step:
                point = trainer.validate(callbacks.stop_requested)
            elif _is_due(trainer, trainer.log_every) and state.logged_at != state.step:
                files.log(trainer.log())
            if text is not None:
                state.sampled_at = state.step  # after the validation, which a stop may interrupt
            if point is not None:
                warning = files.save(point)
                callbacks.on_validation(trainer, point)
                if warning is not None and not trainer.finished:
                    callbacks.on_warning(warning)
            if text is not None:
                callbacks.on_sample(state.step, text)
            _check(trainer, files, callbacks, point is not None)
            if trainer.finished:
                break
            if state.step > 0 and trainer.must_stop(callbacks.stop_requested):
                raise StopRequested
            _update_until_due(trainer, callbacks)
        group.on_rank_zero(files.raise_if_failed)
        if was_finished:
            callbacks.on_end(_how_to_continue(trainer))
        _report_best(trainer, path, callbacks)
    except StopRequested:
        files.save()
        group.on_rank_zero(files.raise_if_failed)
        stopped = f"stopped at step {state.step:,} of {trainer.steps:,} and saved"
        hint = f"To resume: {files.resume_command()}"
        raise group.error_for_all_ranks(Interrupted(stopped, hint)) from None


def _is_due(trainer: Trainer, every: int | None) -> bool:
    """Return whether what happens every `every` steps and at the end is due; None is never."""
    step = trainer.step
    return every is not None and (step >= trainer.steps or (step % every == 0 and step > 0))


def _check(trainer: Trainer, files: RunFiles, callbacks: Callbacks, validated: bool) -> None:
    """Warn of a model that does not learn or overfits. Raises DivergedError, after saving."""
    state, step, warning = trainer.training_state, trainer.step, None
    at_end = trainer.finished and step >= LEARNS_BY
    if step in CHECKED_STEPS or at_end or (validated and step > CHECKED_STEPS[-1]):
        warning = _learning_warning(trainer) if state.checked_at != step else None
    if warning is not None and (at_end or state.failed_checks > 1):
        files.save()
        error = DivergedError(f"the run does not learn: {warning}", trainer.advice())
        raise trainer.group.error_for_all_ranks(error)
    if warning is not None:
        callbacks.on_warning(f"{warning}. {trainer.advice()}")
    warning = _overfitting_warning(trainer) if validated else None
    if warning is not None:
        callbacks.on_warning(warning)


def _steps_until_due(trainer: Trainer) -> int:
    """Return the updates until the next point, validation, sample or check, or the end."""
    output, step = trainer.config.output, trainer.step
    intervals = (trainer.log_every, output.validate_every, output.sample_every)
    due = [every - step % every for every in intervals if every is not None]
    return min(*due, trainer.steps - step, *(n - step for n in CHECKED_STEPS if n > step))


def _update_until_due(trainer: Trainer, callbacks: Callbacks) -> None:
    """Update until a point, validation, sample or check is due, or the run must stop."""
    state = trainer.training_state
    start = last = time.perf_counter()
    try:
        for _ in range(_steps_until_due(trainer)):
            trainer.update(callbacks.stop_requested)
            now = time.perf_counter()
            if now - last > STEP_INTERVAL_S:
                last = now
                callbacks.on_step(trainer)
            if trainer.must_stop(callbacks.stop_requested):
                break
        callbacks.on_step(trainer)
    finally:
        elapsed = time.perf_counter() - start
        state.seconds += elapsed
        state.recent_seconds += elapsed


def _how_to_continue(trainer: Trainer) -> str:
    """Return the message of a resumed run that was finished already: how to train it further."""
    step, train = trainer.step, trainer.config.train
    if step < trainer.steps:
        setting, reason = f"patience={2 * trainer.training_state.waited}", "its patience ran out"
    elif train.epochs is not None:
        epochs = math.ceil(2 * step * train.epochs / trainer.steps)
        setting, reason = f"epochs={epochs}", f"train.epochs is {train.epochs:g}"
    else:
        setting, reason = f"steps={2 * step}", f"train.steps is {trainer.steps:,}"
    return f"the run is finished at step {step:,}: {reason}. To train on, add --set train.{setting}"


def _report_best(trainer: Trainer, path: str, callbacks: Callbacks) -> None:
    """Call `on_end` for an early stop, and with the best validation and what to type next."""
    state = trainer.training_state
    best_step = f"step {state.best_step:,}"
    if trainer.step < trainer.steps:
        patience = f"train.patience={trainer.config.train.patience}"
        callbacks.on_end(f"stopped early: no validation since {best_step} was better ({patience})")
    best = ""
    if state.best_nats is not None:
        best = f"best validation {state.best_nats:.4f} nats at {best_step}; "
    name = os.path.relpath(path)
    name = f"./{name}" if name.startswith("-") else name
    callbacks.on_end(f"{best}try: charrnn sample {shlex.quote(name)}")


def _learning_warning(trainer: Trainer) -> str | None:
    """Return a warning when the model predicts held-out text worse than guessing does.

    All ranks call it. Counts the failed checks in a row in the training state.
    """
    training_state = trainer.training_state
    nats = trainer.group.on_rank_zero(lambda: _first_nats(trainer))
    training_state.checked_at = trainer.step
    if nats <= trainer.guessing_nats:
        training_state.failed_checks = 0
        return None
    training_state.failed_checks += 1
    guessing = f"ln {trainer.model.vocab_size} = {trainer.guessing_nats:.4g}"
    return (
        f"at step {trainer.step:,} the model predicts worse than guessing: {nats:.4g} nats per "
        f"character of held-out text, where guessing costs {guessing}"
    )


def _first_nats(trainer: Trainer) -> float:
    """Return the nats per character of the first held-out characters, from the zero state.

    A model that predicts the first characters of the training part better has learnt, and
    overfits: its nats there are the result then.
    """
    corpus, nats = trainer.corpus, math.inf
    for ids in (corpus.validation, corpus.training):
        if len(ids) > 1 and nats > trainer.guessing_nats:
            nats = min(nats, trainer.evaluator.first_nats(corpus, ids))
    return nats


def _overfitting_warning(trainer: Trainer) -> str | None:
    """Return a warning, once a run, when the validation loss has risen for a third of the run."""
    training_state = trainer.training_state
    best_nats, best_step = training_state.best_nats, training_state.best_step
    if best_nats is None or training_state.overfits or trainer.history[-1][-1] <= best_nats:
        return None
    if trainer.step - best_step < max(trainer.steps / 3, MIN_RISING_STEPS):
        return None
    training_state.overfits = 1
    dropout = min(trainer.model.dropout + 0.2, 0.7)
    return (
        f"the validation has risen since step {best_step:,}: the model overfits. Try "
        f"--set model.dropout={dropout:g}, fewer hidden units, or fewer steps"
    )


def estimate_seconds(trainer: Trainer) -> float:
    """Return about how long the rest of the run takes, by the gradient of the next window."""
    batch = trainer.peek_batch()
    for _ in range(2):  # the first also allocates memory
        start = time.perf_counter()
        trainer.try_gradient(batch)
        seconds_per_char = UPDATE_COST * (time.perf_counter() - start) / batch.chars
    training, validation = trainer.corpus.chars()
    steps, validate_every = trainer.steps - trainer.step, trainer.config.output.validate_every
    chars = steps * training / trainer.batches.per_epoch()
    return seconds_per_char * (chars + SCORING_COST * validation * steps / validate_every)
