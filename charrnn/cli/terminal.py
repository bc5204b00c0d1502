"""What goes to the terminal: results to stdout at once, everything else to stderr.

A text may hold what a terminal obeys: a sequence that clears the screen, renames the window or
types on the user's behalf, or one that turns the reading direction so that a line seems to say
something else. On a terminal such characters are shown as escapes; a file and a pipe get them as
they are.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from charrnn.data.characters import escape_unprintable

logger = logging.getLogger("charrnn")

# C0 but tab and newline, DEL and C1, which a terminal obeys; and the marks that override the
# direction of what follows (https://trojansource.codes). Joiners and combining marks are letters'
# business and stay.
OBEYED = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\t"), ord("\n")}
TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ESCAPES = {code: escape_unprintable(chr(code)) for code in OBEYED | TURNING}


class Number(click.FloatRange):
    """A number in a range. `nan` compares with nothing, so Click's own type lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises BadParameter."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting, such as model.hidden=200. Repeatable.",
)


def harmless(text: str, stream: Any) -> str:
    r"""The text as this stream may have it: on a terminal, without what the terminal would obey.

    >>> import io
    >>> class Terminal(io.StringIO):
    ...     isatty = lambda self: True
    >>> harmless("\x1b[2Jann\u200da", Terminal()) == "\\x1b[2Jann\u200da"
    True
    >>> harmless("\x1b[2J", io.StringIO()) == "\x1b[2J"
    True
    """
    return text.translate(ESCAPES) if stream is not None and stream.isatty() else text


def note(message: str) -> None:
    """A line on stderr."""
    click.echo(harmless(message, sys.stderr), err=True, color=True)


class _Stderr(logging.Handler):
    """Shows what is logged as lines on stderr, whatever that is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message. An error of stderr goes to the caller."""
        note(record.getMessage())


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Show what the program logs, from INFO on, or from WARNING on once -q is read."""
    handler, before = _Stderr(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _hush(ctx: click.Context, param: click.Parameter, quiet: bool) -> None:
    if quiet and not ctx.resilient_parsing:
        logger.setLevel(logging.WARNING)


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_hush,
    help="Print nothing on stderr but errors.",
)


def tell(text: str) -> None:
    """A table or a line that is the command's result, on stdout."""
    click.echo(harmless(text, sys.stdout), color=True)


@contextlib.contextmanager
def result_file(path: str) -> Iterator[BinaryIO]:
    """The file that is a command's result, whose path is told; `-` is stdout.

    It replaces an older one when the block ends well. Raises CheckpointError.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    from charrnn.atomic import as_checkpoint_error, replace_file

    with as_checkpoint_error(path), replace_file(path) as stream:
        yield stream
    tell(path)


def write(text: str, raw: bool = False) -> None:
    """Write to stdout at once. What a terminal would obey is shown as escapes, unless `raw`."""
    sys.stdout.write(text if raw else harmless(text, sys.stdout))
    sys.stdout.flush()
