"""What goes to the terminal: results to stdout at once, everything else to stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import click

from charrnn.errors import CharrnnError

Write = Callable[[str], None]


class Number(click.FloatRange):
    """A number in a range. `nan` compares with nothing, so Click's own type lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises BadParameter."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


def note(message: str, quiet: bool = False) -> None:
    """A line on stderr."""
    if not quiet:
        click.echo(message, err=True)


def writer() -> Write:
    """Writes to stdout at once; characters that its encoding lacks are written as escapes.

    Raises CharrnnError when stdout is closed.
    """
    stream = sys.stdout
    if stream is None:
        raise CharrnnError("standard output is closed, so there is nowhere to write to")
    encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(text: str) -> None:
        try:
            text.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        stream.write(text)
        stream.flush()

    return write
