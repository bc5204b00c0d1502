"""What a setting may hold: numbers in a range, words, paths."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_INT = 2**63 - 1  # what 64 bits hold


def format_value(value: Any) -> str:
    """Return the value of a setting as the text of a config."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


class Kind(NamedTuple):
    """The allowed values of a setting: a description, a test, and a conversion applied first.

    `words` are the allowed values that have a name of their own, for completion.
    """

    expected: str
    allowed: Callable[[Any], object] = lambda value: True
    convert: Callable[[Any, str], Any] = lambda value, base: value
    words: tuple[str, ...] = ()

    def read(self, value: Any, base: str) -> Any:
        """Return the converted value; relative paths start from the folder `base`.

        Raises ValueError, TypeError, LookupError or OverflowError if the value is not allowed.
        """
        converted = self.convert(value, base)
        if not self.allowed(converted):
            raise ValueError
        return converted


def _number(value: Any, base: str) -> float:
    """Return a finite number. A string is allowed, because YAML 1.1 reads 1e-3 as a string."""
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _integer(value: Any, base: str) -> int:
    """Return a whole number, or raise ValueError."""
    number = value if type(value) is int else _number(value, base)  # a float rounds large ones
    if number % 1:
        raise ValueError
    return int(number)


def integer(minimum: int, maximum: int | None = None) -> Kind:
    """Return the kind of a whole number in a closed range."""
    largest = MAX_INT if maximum is None else maximum
    bounds = f", {minimum} or more" if maximum is None else f" from {minimum} to {maximum}"
    return Kind(f"a whole number{bounds}", lambda n: minimum <= n <= largest, _integer)


def choice(*names: str) -> Kind:
    """Return the kind of one of these words."""
    return Kind(" or ".join(names), lambda value: value in names, words=names)


def optional(inner: Kind, word: str | None = None) -> Kind:
    """Return the kind that also allows `word`; None stands for null."""
    return Kind(
        f"{inner.expected}, or {format_value(word)}",
        convert=lambda value, base: word if value == word else inner.read(value, base),
        words=(*inner.words, format_value(word)),
    )


def _path(path: str, base: str) -> str:
    """Return the absolute path, or `-`; raise ValueError for text that cannot be a path."""
    if not path or "\0" in path:
        raise ValueError
    return path if path == "-" else os.path.abspath(os.path.join(base, os.path.expanduser(path)))


def _paths(value: Any, base: str) -> tuple[str, ...]:
    """Return the absolute paths of one path or a list of them."""
    paths = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_path(path, base) for path in paths)


def _encoding(name: str, base: str) -> str:
    """Return the name, or raise LookupError unless it is an encoding of text."""
    "".encode(name)  # unlike codecs.lookup, this also refuses base64, which is not for text
    return name


POSITIVE = Kind("a number above 0", lambda x: x > 0, _number)
NOT_NEGATIVE = Kind("a number, 0 or more", lambda x: x >= 0, _number)
SHARE = Kind("a number above 0 and at most 1", lambda x: 0 < x <= 1, _number)
FRACTION = Kind("a number from 0 to below 1", lambda x: 0 <= x < 1, _number)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), words=("true", "false"))
URL = Kind("an http or https URL", re.compile("https?://.*").fullmatch)
SHA256 = Kind("64 hexadecimal digits", re.compile("[0-9a-f]{64}").fullmatch)
ENCODING = Kind("the name of an encoding in Python", convert=_encoding)
FILE = Kind("a path", convert=_path)
FILES = Kind("a path, a list of paths, or - for standard input", convert=_paths, words=("-",))
