"""Standard input, for `-` in the place of a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from charrnn.errors import CharrnnError


def display_name(path: str) -> str:
    """What messages call the file at this path."""
    return "standard input" if path == "-" else path


def standard_input() -> BinaryIO:
    """The bytes of stdin. Raises CharrnnError when it is closed."""
    if sys.stdin is None:
        raise CharrnnError("standard input is closed, so there is nothing to read for -")
    return sys.stdin.buffer


@contextlib.contextmanager
def open_binary(path: str, what: str, error: type[CharrnnError]) -> Iterator[BinaryIO]:
    """Open a file for reading, or stdin for `-`, which stays open afterwards.

    When it cannot be opened, or the block cannot read it, raises `error`, whose message calls the
    file `what`.
    """
    standard = path == "-"
    try:
        with contextlib.nullcontext(standard_input()) if standard else open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise error(f"{path}: no such {what}") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder, not a {what}") from None
    except (OSError, EOFError, ValueError, OverflowError, RuntimeError) as reason:
        raise error(f"{display_name(path)} cannot be read as a {what}: {reason}") from None
