"""The messages of a training run on stderr: with a bar on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import click

from charrnn.bar import Bar
from charrnn.cli.terminal import escape_controls, logger
from charrnn.errors import SIGNALS, Interrupted
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested
from charrnn.training.loop import Callbacks, estimate_seconds
from charrnn.training.state import LossPoint
from charrnn.training.trainer import Trainer
from charrnn.units import duration

LINE_S = 10  # seconds between two lines where there is no bar
NARROW = 60  # columns of a terminal that have no room for long words
CLEAR_LINE = "\x1b[K"
BAR = "{percentage:3.0f}% {bar} {remaining} {desc}"


class ProgressReporter(Callbacks):
    """Prints the messages of a run that the logger's level allows, and requests its stop.

    After the first signal all ranks stop at the same step, and the run is saved. The second signal
    exits at once, even during the save.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self.group = group or SingleProcess()
        self._bar: Bar | None = None
        self._stop_requested = False
        self._writing = False  # to stderr, where a full pipe may block the write
        self._validation = ""  # the loss of the last validation, for the bar
        self._printed_at = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        self._handlers = {
            number: signal.signal(number, self._on_signal)
            for number in SIGNALS
            # nohup ignores SIGHUP, which stays ignored. A shell script ignores SIGINT for its
            # background jobs, which can be interrupted all the same.
            if number in (signal.SIGINT, signal.SIGTERM)
            or signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            # A stopped run is saved, so the next signal may interrupt its last message.
            signal.signal(number, _exit_at_once if self._stop_requested else handler)
        if self._bar is not None:
            self._write(self._bar.close)
            self._write(click.echo, CLEAR_LINE, nl=False, err=True)  # of a ^C after the bar

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        if self._stop_requested and not self.group.is_rank_zero:
            _exit_at_once(number, frame)
        if self._stop_requested:
            raise Interrupted("stopped at once, without saving; the last checkpoint is unchanged")
        self._stop_requested = True
        if self._writing:
            raise StopRequested

    def stop_requested(self) -> bool:
        """Return whether a signal has requested a stop."""
        return self._stop_requested

    def on_start(self, trainer: Trainer, initial_nats: float) -> None:
        """Print what is trained, about how long, and the loss, about ln V for new weights."""
        if not logger.isEnabledFor(logging.INFO):
            return
        model, step, steps = trainer.model, trainer.step, trainer.steps
        layers = "1 layer" if model.layers == 1 else f"{model.layers} layers"
        workers = "1 worker" if self.group.size == 1 else f"{self.group.size} workers"
        self._print(
            f"{trainer.config.model.cell}, {layers} of {model.hidden} units, "
            f"{trainer.params.flat.size:,} parameters; {workers}; "
            f"about {duration(estimate_seconds(trainer))}"
        )
        training, validation = trainer.corpus.chars()
        self._print(f"{training:,} characters to learn from, {validation:,} held out")
        if step == 0:
            V = model.vocab_size
            guessing = f"guessing is ln {V} = {trainer.guessing_nats:.4f}"
            self._print(f"initial loss {initial_nats:.4f} nats per character; {guessing}")
        else:
            self._print(f"resuming at step {step:,} of {steps:,}; loss {initial_nats:.4f} nats")
        if sys.stderr.isatty():
            self._bar = Bar(
                total=steps, initial=step, dynamic_ncols=True, bar_format=BAR, leave=False
            )

    def on_step(self, trainer: Trainer) -> None:
        """Update the bar; where there is none, print a line from time to time."""
        train_nats = trainer.training_state.train_nats
        if self._bar is not None:
            self._bar.set_description_str(
                f"train {train_nats:.3f}{self._validation}", refresh=False
            )
            self._write(self._bar.update, trainer.step - self._bar.n)
        elif time.monotonic() - self._printed_at > LINE_S:
            self._print(f"{_step(trainer)}  train {train_nats:.4f} nats")

    def on_validation(self, trainer: Trainer, point: LossPoint) -> None:
        """Print the losses of a validation on one line, and the speed if there is room."""
        columns = NARROW if self._bar is None else self._bar.format_dict["ncols"] or NARROW
        narrow = columns < NARROW
        validation, train_nats = "", trainer.training_state.train_nats
        if point.validation is not None:
            validation = f"  validation {point.validation.nats:.4f}"
            word = "val" if narrow else "validation"
            self._validation = f"  {word} {point.validation.nats:.3f}"
        if narrow:
            step = _step(trainer).removeprefix("step ")
            self._print(f"{step}  train {train_nats:.3f}{self._validation}")
            return
        self._print(
            f"{_step(trainer)}  train {train_nats:.4f}{validation} nats"
            f"  {point.chars_per_s / 1000:,.0f}k chars/s"
        )

    def on_sample(self, step: int, text: str) -> None:
        """Print a sample between two lines of dashes."""
        self._print(f"--- sample at step {step:,}\n{text.strip(chr(10))}\n---")

    def on_warning(self, message: str) -> None:
        """Print a warning, also with -q."""
        self._print(message, logging.WARNING)

    def on_end(self, message: str) -> None:
        """Print the last message."""
        self._print(message)

    def _print(self, line: str, level: int = logging.INFO) -> None:
        if not logger.isEnabledFor(level):
            return
        line, self._printed_at = escape_controls(line, sys.stderr), time.monotonic()
        if self._bar is None:
            self._write(click.echo, line, err=True)
        else:
            self._write(self._bar.write, line, file=sys.stderr)

    def _write(self, write: Callable[..., object], *args: Any, **options: Any) -> None:
        """Call a function that writes to stderr. Training continues when stderr is closed."""
        self._writing = True
        try:
            write(*args, **options)
        except StopRequested:
            pass  # the message is lost; the run stops when it next calls `stop_requested`
        except OSError:
            if self._bar is not None:
                self._bar.disable = True
        finally:
            self._writing = False


def _step(trainer: Trainer) -> str:
    """Return the step and the steps of a run, as wide at every step."""
    steps = f"{trainer.steps:,}"
    return f"step {trainer.step:{len(steps)},}/{steps}"


def _exit_at_once(number: int, frame: types.FrameType | None) -> None:
    os._exit(Interrupted.exit_code)
