"""Printable forms of control characters, invisible characters and lists of characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAX_LISTED = 20  # characters named in a message
MARKS = {"\n": "↵", "\t": "→"}  # shown for white space where it is looked at


def escape_unprintable(char: str) -> str:
    """Return the character, or its escape sequence if it is not printable."""
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def with_code_point(char: str) -> str:
    r"""Return the character as an ASCII literal, with its code point.

    >>> with_code_point("é")
    "'\\xe9' (U+00E9)"
    """
    return f"{char!a} (U+{ord(char):04X})"


def list_characters(chars: Sequence[str], show: Callable[[str], str] = with_code_point) -> str:
    """Return the first `MAX_LISTED` characters, formatted by `show`, and the number of the rest."""
    listed = ", ".join(map(show, chars[:MAX_LISTED]))
    more = len(chars) - MAX_LISTED
    return f"{listed}, and {more:,} more" if more > 0 else listed
