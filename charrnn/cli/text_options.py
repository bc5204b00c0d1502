"""The options that `eval`, `score` and `page` share: model, text and how the text is scored."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.terminal import quiet_option

if TYPE_CHECKING:
    from charrnn.evaluation.scoring_task import ScoringTask


class TextOptions(NamedTuple):
    """The model, the text to score, and how it is scored."""

    checkpoint_path: str
    text_path: str | None  # None is the validation part of the corpus
    unknown: str
    window: int | None
    workers: int | None

    def open(self) -> ScoringTask:
        """Load the model and open the text. Raises CharrnnError, and UsageError for --window."""
        from charrnn import checkpoint
        from charrnn.evaluation.scoring_task import ScoringTask
        from charrnn.parallel import worker_count

        loaded = checkpoint.load(self.checkpoint_path)
        if self.window and loaded.config.corpus.mode == "lines":
            raise click.UsageError("--window is for running text: this model scores single lines")
        workers = self.workers or worker_count.for_scoring(loaded.config.model)
        return ScoringTask(loaded, self.text_path, self.unknown == "skip", self.window, workers)


OPTIONS = [
    click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT"),
    click.argument("text_path", metavar="[TEXT]", required=False),
    click.option(
        "--unknown",
        type=click.Choice(["error", "skip"]),
        default="error",
        help="Treat characters outside the vocabulary as an error, or skip and count them.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 1 << 16),
        metavar="N",
        help="Score running text in windows of N characters, each from the zero state, as models "
        "without a state are scored.  [default: carry the state through the text]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        help="Processes that score lines or windows in parallel.  [default: chosen by the number "
        "of cores and the size of the work]",
    ),
    quiet_option,
]


def text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command. It receives them as a TextOptions, its first argument."""

    @functools.wraps(command)
    def run(checkpoint_path: str, text_path: str | None, **options: Any) -> None:
        from charrnn import archive  # imports zipfile in 7 ms, too slow for --help

        default = os.environ.get("CHARRNN_CHECKPOINT")
        is_text = checkpoint_path != default and not archive.is_checkpoint(checkpoint_path)
        if default and text_path is None and is_text:
            checkpoint_path, text_path = default, checkpoint_path
        shared = {name: options.pop(name) for name in ("unknown", "window", "workers")}
        command(TextOptions(checkpoint_path, text_path, **shared), **options)

    for option in reversed(OPTIONS):
        run = option(run)
    return run
