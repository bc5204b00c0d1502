"""Standard input, which `-` names instead of a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from charrnn.errors import CharrnnError


def display_name(path: str) -> str:
    """Return the name of a path in messages."""
    return "standard input" if path == "-" else path


def standard_input() -> BinaryIO:
    """Return stdin as a binary stream. Raises CharrnnError when it is closed."""
    if sys.stdin is None:
        raise CharrnnError("standard input is closed, so there is nothing to read for -")
    return sys.stdin.buffer


@contextlib.contextmanager
def open_binary(path: str, kind: str, error: type[CharrnnError]) -> Iterator[BinaryIO]:
    """Open a file for reading, or stdin for `-`, which stays open afterwards.

    Raises `error` when it cannot be opened, or the block cannot read it; the message has `kind`,
    such as "checkpoint".
    """
    is_stdin = path == "-"
    try:
        with contextlib.nullcontext(standard_input()) if is_stdin else open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise error(f"{path}: no such {kind}") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder, not a {kind}") from None
    except (OSError, EOFError, ValueError, OverflowError, RuntimeError) as reason:
        raise error(f"{display_name(path)} cannot be read as a {kind}: {reason}") from None
