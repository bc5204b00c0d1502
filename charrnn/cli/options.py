"""Arguments and options that several commands share, and how the shells complete `--set`.

`text_options` are those of `eval`, `score` and `page`: model, text and how the text is scored.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from charrnn.cli.terminal import logger

if TYPE_CHECKING:
    from charrnn.evaluation.scoring_task import ScoringTask


class Number(click.FloatRange):
    """A number in a range, without `nan`, which Click's own type accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises BadParameter."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


@add_completion_class
class BashWordComplete(BashComplete):
    """Completion in bash, where `key=value` arrives as three words and = is one of them."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the completions of the word with its =, without what bash leaves as it is."""
        *args, word = re.sub(r"\n=(\n(?=.))?", "=", "\n".join([*args, incomplete])).split("\n")
        items = super().get_completions(args, word)
        unchanged = word.removeprefix("--set=").removesuffix(incomplete.removeprefix("="))
        return [CompletionItem(i.value.removeprefix(unchanged), i.type, i.help) for i in items]


def complete_setting(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return each `KEY=` that begins with the text, and each `KEY=VALUE` of a single key.

    The values are the words that the setting may be, and its default.
    """
    from charrnn.config.kinds import format_value
    from charrnn.config.schema import FIELDS, KINDS

    prefix, equals, _ = incomplete.partition("=")
    keys = [key for key in KINDS if key == prefix or (not equals and key.startswith(prefix))]
    texts = {f"{key}=": key for key in keys}
    if len(keys) == 1:
        (key,) = keys
        words = [*KINDS[key].words, format_value(FIELDS[key].default)]
        texts |= {f"{key}={word}": key for word in words}
    return [
        CompletionItem(text, help=FIELDS[key].metadata["meaning"])
        for text, key in texts.items()
        if text.startswith(incomplete) and text != incomplete
    ]


set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=complete_setting,
    help="Change a setting, such as model.hidden=200. Repeatable. All settings: charrnn settings.",
)


def _set_quiet(ctx: click.Context, param: click.Parameter, quiet: bool) -> None:
    if quiet and not ctx.resilient_parsing:
        logger.setLevel(logging.WARNING)


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_set_quiet,
    help="Print only errors and warnings on stderr.",
)


checkpoint_argument = click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT")


def _one_stdin(
    ctx: click.Context, param: click.Parameter, paths: tuple[str, ...]
) -> tuple[str, ...]:
    if paths.count("-") > 1:
        raise click.UsageError("only one checkpoint can come from standard input", ctx)
    return paths


checkpoints_argument = click.argument(
    "checkpoint_paths",
    metavar="CKPT...",
    nargs=-1,
    required=True,
    envvar="CHARRNN_CHECKPOINT",
    type=click.Path(readable=False),  # the variable is a list like PATH
    callback=_one_stdin,
)


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


TEXT_OPTIONS = [
    checkpoint_argument,
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


def model_and_text(checkpoint_path: str, text: str | None) -> tuple[str, str | None]:
    """Return the arguments CKPT and TEXT; a single one is TEXT if the environment names a model."""
    default = os.environ.get("CHARRNN_CHECKPOINT")
    if text is None and default and checkpoint_path != default:
        from charrnn import archive  # imports zipfile in 7 ms, too slow for --help

        if not archive.is_checkpoint(checkpoint_path):
            return default, checkpoint_path
    return checkpoint_path, text


def text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command. It receives them as a TextOptions, its first argument."""

    @functools.wraps(command)
    def run(checkpoint_path: str, text_path: str | None, **options: Any) -> None:
        checkpoint_path, text_path = model_and_text(checkpoint_path, text_path)
        shared = {name: options.pop(name) for name in ("unknown", "window", "workers")}
        command(TextOptions(checkpoint_path, text_path, **shared), **options)

    for option in reversed(TEXT_OPTIONS):
        run = option(run)
    return run
