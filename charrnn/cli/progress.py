"""What people see of a training run: a bar on a terminal, plain lines elsewhere, or nothing.

All of it goes to standard error.
"""

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
from charrnn.cli.terminal import harmless, logger
from charrnn.errors import SIGNALS, Interrupted
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested
from charrnn.training.state import ValidationReport
from charrnn.units import bits


class ProgressReporter:
    """Watches a run, and asks it to stop when the user does.

    The first signal lets the run save. The next one leaves at once, also in the middle of that.
    It shows what the logger's level lets through. Of several ranks none stops before the others do.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self.group = group or SingleProcess()
        self._bar: Bar | None = None
        self._asked = False
        self._showing = False  # something is on its way to stderr, where a full pipe may hold it up

    def __enter__(self) -> ProgressReporter:
        self._before = {
            number: signal.signal(number, self._ask)
            for number in SIGNALS
            # What nohup ignores stays ignored; a shell script's background job can be interrupted.
            if number in (signal.SIGINT, signal.SIGTERM)
            or signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            # A run that was stopped has only its last words to say, and may be cut short.
            signal.signal(number, _exit_at_once if self._asked else handler)
        if self._bar is not None:
            self._show(self._bar.close)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        if self._asked and not self.group.is_rank_zero:
            _exit_at_once(number, frame)
        if self._asked:
            raise Interrupted("stopped at once, without saving; the last checkpoint is as it was")
        self._asked = True
        if self._showing:
            raise StopRequested

    def stop_requested(self) -> bool:
        """Return whether the user has asked for it."""
        return self._asked

    def on_start(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """The first line: an untrained network is as good as guessing, ln V nats."""
        if step == 0:
            self._say(
                f"initial loss {initial_nats:.4f} nats per character; guessing among {vocab_size} "
                f"characters is ln {vocab_size} = {math.log(vocab_size):.4f}"
            )
        else:
            self._say(f"going on at step {step:,} of {steps:,}; loss there {initial_nats:.4f} nats")
        if logger.isEnabledFor(logging.INFO) and sys.stderr.isatty():
            self._bar = Bar(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def on_step(self, step: int, smooth_nats: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {smooth_nats:.3f} nats", refresh=False)
            self._show(self._bar.update, step - self._bar.n)

    def on_validation(self, report: ValidationReport) -> None:
        """A line of figures."""
        score = report.validation
        shown = "" if score is None else f"  validation {score.nats:.4f} nats {score.bits:.4f} bits"
        width = len(f"{report.steps:,}")
        self._say(
            f"step {report.step:{width},}/{report.steps:,}  smooth loss {report.smooth_loss:.3f}"
            f"  train {report.train_nats:.4f} nats {bits(report.train_nats):.4f} bits{shown}"
            f"  {report.chars_per_s / 1000:,.0f}k chars/s"
        )

    def on_sample(self, step: int, text: str) -> None:
        """A text, between two rules."""
        self._say(f"--- sample at step {step:,}\n{text.strip(chr(10))}\n---")

    def on_warning(self, message: str) -> None:
        """An error, which quiet runs tell too."""
        self._say(message, logging.WARNING)

    def on_end(self, message: str) -> None:
        """A last word."""
        self._say(message)

    def _say(self, line: str, level: int = logging.INFO) -> None:
        if not logger.isEnabledFor(level):
            return
        line = harmless(line, sys.stderr)
        if self._bar is None:
            self._show(click.echo, line, err=True)
        else:
            self._show(self._bar.write, line, file=sys.stderr)

    def _show(self, show: Callable[..., object], *args: Any, **options: Any) -> None:
        """Nobody may be reading stderr any more, which is no reason to stop training."""
        self._showing = True
        try:
            show(*args, **options)
        except StopRequested:
            pass  # what it said is lost, and the run stops at the next chance
        except OSError:
            if self._bar is not None:
                self._bar.disable = True
        finally:
            self._showing = False


def _exit_at_once(number: int, frame: types.FrameType | None) -> None:
    os._exit(Interrupted.exit_code)
