"""Output: results go to stdout at once, everything else to stderr.

A text may contain control characters that clear the screen, rename the window or type for the user,
and marks that reverse the reading direction, so that a line seems to read differently. On a
terminal such characters are printed as escapes. Files and pipes receive them unchanged.

The options that several commands have are here too, with the completion of `--set` in the shells.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from charrnn.data.characters import escape_unprintable

logger = logging.getLogger("charrnn")

# Control characters: C0 without tab and newline, DEL and C1; and the marks that override the
# direction of reading (https://trojansource.codes). Joiners and combining marks belong to letters
# and are printed unchanged.
CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\t"), ord("\n")}
OVERRIDES = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ESCAPES = {code: escape_unprintable(chr(code)) for code in CONTROLS | OVERRIDES}


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


def escape_controls(text: str, stream: Any) -> str:
    r"""Return the text, with its control characters as escapes if the stream is a terminal.

    >>> import io
    >>> class Terminal(io.StringIO):
    ...     isatty = lambda self: True
    >>> escape_controls("\x1b[2Jann\u200da", Terminal()) == "\\x1b[2Jann\u200da"
    True
    >>> escape_controls("\x1b[2J", io.StringIO()) == "\x1b[2J"
    True
    """
    return text.translate(ESCAPES) if stream is not None and stream.isatty() else text


def note(message: str) -> None:
    """Print a line on stderr."""
    click.echo(escape_controls(message, sys.stderr), err=True, color=True)


class _StderrHandler(logging.Handler):
    """Prints log messages as lines on `sys.stderr`, which may be replaced meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message. Raises OSError when stderr cannot be written."""
        note(record.getMessage())


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Print log messages of level INFO and above; after -q, of WARNING and above."""
    handler, level = _StderrHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


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


def colour_enabled(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Return whether to print colours: on a terminal, unless the environment disables them.

    `NO_COLOR` is described on https://no-color.org.
    """
    disabled = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return is_terminal and not disabled


def print_result(text: str) -> None:
    """Print a line or a table that is the command's result on stdout."""
    click.echo(escape_controls(text, sys.stdout), color=True)


@contextlib.contextmanager
def result_file(path: str) -> Iterator[BinaryIO]:
    """Open the file of a command's result for the block, then print its path; `-` is stdout.

    The file replaces an older one when the block ends without an error. Raises CheckpointError.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    from charrnn.atomic import as_checkpoint_error, replace_file

    with as_checkpoint_error(path), replace_file(path) as stream:
        yield stream
    print_result(path)


def write(text: str, raw: bool = False) -> None:
    """Write to stdout at once. On a terminal, escape control characters unless `raw`."""
    sys.stdout.write(text if raw else escape_controls(text, sys.stdout))
    sys.stdout.flush()
