"""Output: results go to stdout at once, everything else to stderr.

A text may contain control characters that clear the screen, rename the window or type for the user,
and marks that reverse the reading direction, so that a line seems to read differently. On a
terminal such characters are printed as escapes. Files and pipes receive them unchanged.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import click

from charrnn.data.characters import escape_unprintable

logger = logging.getLogger("charrnn")

# Control characters: C0 without tab and newline, DEL and C1; and the marks that override the
# direction of reading (https://trojansource.codes). Joiners and combining marks belong to letters
# and are printed unchanged.
CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\t"), ord("\n")}
OVERRIDES = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
ESCAPES = {code: escape_unprintable(chr(code)) for code in CONTROLS | OVERRIDES}


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
    """Print a line on stderr, if it can be written: the exit code reports an error too."""
    with contextlib.suppress(OSError):
        click.echo(escape_controls(message, sys.stderr), err=True, color=True)


class _StderrHandler(logging.Handler):
    """Prints log messages as lines on `sys.stderr`, which may be replaced meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
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
