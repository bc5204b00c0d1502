"""Standard input, for `-` in the place of a file."""

from __future__ import annotations

import sys
from typing import BinaryIO

from charrnn.errors import CharrnnError


def name_of(path: str) -> str:
    """What messages call the file at this path."""
    return "standard input" if path == "-" else path


def standard_input() -> BinaryIO:
    """The bytes of stdin. Raises CharrnnError when it is closed."""
    if sys.stdin is None:
        raise CharrnnError("standard input is closed, so there is nothing to read for -")
    return sys.stdin.buffer
