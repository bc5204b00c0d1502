"""How a character is shown that a terminal would obey, or that nobody could see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAX_LISTED = 20  # characters named in a message


def escape_unprintable(char: str) -> str:
    """The character, or an escape where a terminal would obey it or show nothing."""
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def with_code_point(char: str) -> str:
    r"""A character in ASCII, with its code point.

    >>> with_code_point("é")
    "'\\xe9' (U+00E9)"
    """
    return f"{char!a} (U+{ord(char):04X})"


def list_characters(chars: Sequence[str], show: Callable[[str], str] = with_code_point) -> str:
    """Characters as `show` shows them: the first of them, and how many more."""
    shown = ", ".join(map(show, chars[:MAX_LISTED]))
    more = len(chars) - MAX_LISTED
    return f"{shown}, and {more:,} more" if more > 0 else shown
