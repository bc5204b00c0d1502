"""What people see of a training run: a bar on a terminal, plain lines elsewhere, or nothing.

All of it goes to standard error.
"""

from __future__ import annotations

import math
import signal
import sys
import types
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from charrnn.metrics import Report
from charrnn.train import StopAsked

if TYPE_CHECKING:
    from typing_extensions import Never

LN2 = math.log(2)


class Progress:
    """Watches a run, and asks it to stop when the user does."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: tqdm[Never] | None = None
        self._asked = False

    def __enter__(self) -> Progress:
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._bar is not None:
            self._bar.close()

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        """The first signal lets the run save; the handlers are then as they were before."""
        self._asked = True
        for known, handler in self._before.items():
            signal.signal(known, handler)

    def check(self) -> None:
        """Raise StopAsked when the user has asked for it."""
        if self._asked:
            raise StopAsked

    def started(self, step: int, steps: int, initial_nats: float, vocab_size: int) -> None:
        """The first line: an untrained network is as good as guessing, ln V nats."""
        chance = math.log(vocab_size)
        if step == 0:
            self._say(
                f"initial loss {initial_nats:.4f} nats per character; "
                f"guessing among {vocab_size} characters is ln {vocab_size} = {chance:.4f}"
            )
        else:
            self._say(f"going on at step {step:,} of {steps:,}; loss there {initial_nats:.4f} nats")
        if not self.quiet and sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True)

    def ticked(self, step: int, smooth_nats: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {smooth_nats:.3f} nats", refresh=False)
            self._bar.update(step - self._bar.n)

    def validated(self, report: Report) -> None:
        """A line of figures."""
        score = report.validation
        shown = "" if score is None else f"  validation {score.nats:.4f} nats {score.bits:.4f} bits"
        width = len(f"{report.steps:,}")
        self._say(
            f"step {report.step:{width},}/{report.steps:,}  smooth loss {report.smooth_loss:.3f}"
            f"  train {report.train_nats:.4f} nats {report.train_nats / LN2:.4f} bits{shown}"
            f"  {report.chars_per_s / 1000:,.0f}k chars/s"
        )

    def sampled(self, step: int, text: str) -> None:
        """A text, between two rules."""
        self._say(f"--- sample at step {step:,}\n{text.strip(chr(10))}\n---")

    def ended(self, message: str) -> None:
        """A last word."""
        self._say(message)

    def _say(self, line: str) -> None:
        if self.quiet:
            return
        try:
            if self._bar is None:
                click.echo(line, err=True)
            else:
                self._bar.write(line, file=sys.stderr)
        except OSError:  # nobody reads stderr any more: no reason to stop training
            self.quiet = True
