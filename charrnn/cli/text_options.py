"""What `eval`, `score` and `page` ask alike: which model, which text, and how it is read."""

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
    """A text to be scored, and the model that scores it."""

    checkpoint_path: str
    text_path: str | None  # None is the validation part of the model's corpus
    unknown: str
    window: int | None
    workers: int | None

    def open(self) -> ScoringTask:
        """Return the model and the text. Raises CharrnnError, and UsageError for --window."""
        from charrnn import checkpoint
        from charrnn.evaluation.scoring_task import ScoringTask
        from charrnn.parallel import worker_count

        loaded = checkpoint.load(self.checkpoint_path)
        if self.window and loaded.config.corpus.mode == "lines":
            raise click.UsageError("--window is for running text: each line is scored by itself")
        workers = self.workers or worker_count.for_scoring(loaded.config.model)
        return ScoringTask(loaded, self.text_path, self.unknown == "skip", self.window, workers)


OPTIONS = [
    click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT"),
    click.argument("text_path", metavar="[TEXT]", required=False),
    click.option(
        "--unknown",
        type=click.Choice(["error", "skip"]),
        default="error",
        help="What to do about characters the model does not know; skip counts them.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 1 << 16),
        metavar="N",
        help="Score running text in windows of N characters, each from the zero state, as models "
        "without a state are scored.  [default: the state is carried from the first to the last]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        help="Processes that share lines or windows scored side by side.  [default: by the cores "
        "and the size of the work]",
    ),
    quiet_option,
]


def text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options, as its first argument, before those of its own."""

    @functools.wraps(command)
    def run(checkpoint_path: str, text_path: str | None, **options: Any) -> None:
        from charrnn import archive  # with zipfile, 7 ms that --help can do without

        named = os.environ.get("CHARRNN_CHECKPOINT")
        is_text = checkpoint_path != named and not archive.is_checkpoint(checkpoint_path)
        if named and text_path is None and is_text:
            checkpoint_path, text_path = named, checkpoint_path
        shared = {name: options.pop(name) for name in ("unknown", "window", "workers")}
        command(TextOptions(checkpoint_path, text_path, **shared), **options)

    for option in reversed(OPTIONS):
        run = option(run)
    return run
