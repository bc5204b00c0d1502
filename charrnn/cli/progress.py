"""The messages of a training run on stderr: with a bar on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import types
from collections.abc import Callable
from typing import Any

import click

from charrnn.bar import Bar
from charrnn.cli.terminal import escape_controls, logger
from charrnn.errors import SIGNALS, Interrupted
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested
from charrnn.training.state import ValidationReport
from charrnn.units import bits


class ProgressReporter:
    """Prints the messages of a run that the logger's level allows, and requests its stop.

    After the first signal all ranks stop at the same step, and the run is saved. The second signal
    exits at once, even during the save.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self.group = group or SingleProcess()
        self._bar: Bar | None = None
        self._stop_requested = False
        self._writing = False  # to stderr, where a full pipe may block the write

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

    def on_start(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """Print the loss at the start, which is about ln V nats for an untrained network."""
        if step == 0:
            self._print(
                f"initial loss {initial_nats:.4f} nats per character; guessing among {vocab_size} "
                f"characters is ln {vocab_size} = {math.log(vocab_size):.4f}"
            )
        else:
            self._print(f"resuming at step {step:,} of {steps:,}; loss {initial_nats:.4f} nats")
        if logger.isEnabledFor(logging.INFO) and sys.stderr.isatty():
            self._bar = Bar(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def on_step(self, step: int, smooth_nats: float) -> None:
        """Update the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {smooth_nats:.3f} nats", refresh=False)
            self._write(self._bar.update, step - self._bar.n)

    def on_validation(self, report: ValidationReport) -> None:
        """Print the losses of a validation and the speed on one line."""
        score = report.validation
        text = "" if score is None else f"  validation {score.nats:.4f} nats {score.bits:.4f} bits"
        width = len(f"{report.steps:,}")
        self._print(
            f"step {report.step:{width},}/{report.steps:,}  smooth loss {report.smooth_loss:.3f}"
            f"  train {report.train_nats:.4f} nats {bits(report.train_nats):.4f} bits{text}"
            f"  {report.chars_per_s / 1000:,.0f}k chars/s"
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
        line = escape_controls(line, sys.stderr)
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


def _exit_at_once(number: int, frame: types.FrameType | None) -> None:
    os._exit(Interrupted.exit_code)
