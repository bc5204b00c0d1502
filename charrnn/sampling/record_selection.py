"""Filters generated records, and counts the dropped ones by reason.

A record matches an expression where `re.search` finds a match, as in grep: `^` and `$` are its
beginning and its end. The plain characters after a leading `^` are fed as a prime, which samples
exactly from the records that begin with them. Rejection takes care of the rest of the expression.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice

from charrnn.errors import ConfigError
from charrnn.sampling.sampler import GeneratedText

# A leading ^, then plain characters, without one that a quantifier (*, ?, {}) makes optional.
LITERAL_PREFIX = re.compile(r"\^([^.^$*+?{}\[\]\\|()\n]*)(?![*?{])")
CHARACTER_CLASS = r"\[\^?\]?(?:\\.|[^\]\\])*\]"


@dataclass(eq=False)
class Selection:
    """An iterable of at most `count` texts that pass; it counts the kept and the dropped ones."""

    texts: Iterable[GeneratedText]
    count: int
    attempts: int  # maximum number of texts tried
    pattern: re.Pattern[str] = re.compile("")  # `search` must find it in a text
    unique: bool = False
    known: Set[str] = frozenset()  # texts that do not pass
    longest: int | None = None  # a text with this many drawn characters does not pass
    kept: int = field(default=0, init=False)
    tried: int = field(default=0, init=False)
    dropped: Counter[str] = field(default_factory=Counter, init=False)  # texts by reason
    _seen: set[str] = field(default_factory=set, init=False)

    def __iter__(self) -> Iterator[GeneratedText]:
        texts = islice(self.texts, self.attempts)
        while self.kept < self.count and (text := next(texts, None)) is not None:
            self.tried += 1
            reason = self._drop_reason(text)
            if reason is not None:
                self.dropped[reason] += 1
                continue
            self.kept += 1
            if self.unique:
                self._seen.add(text.text)
            yield text

    def _drop_reason(self, text: GeneratedText) -> str | None:
        """Return why a text is dropped, or None if it passes."""
        if text.chars == self.longest:
            return f"did not end within {self.longest:,} characters"
        if not self.pattern.search(text.text):
            return "did not match"
        if text.text in self.known:
            return "were in the training corpus"
        if text.text in self._seen:
            return "were repeats"
        return None

    def summary(self) -> str:
        """Return how many of the tried records were kept, and how many were dropped and why."""
        percent = 100 * self.kept / max(self.tried, 1)
        reasons = "".join(f"; {count:,} {reason}" for reason, count in self.dropped.items())
        return f"kept {self.kept:,} of {self.tried:,} records tried ({percent:.3g} %){reasons}"


def compile_pattern(match: str) -> re.Pattern[str]:
    """Return the compiled expression. Raises ConfigError if it is not valid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about syntax that may change in a later Python
            return re.compile(match)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{match!r} is not a regular expression: {error}") from None


def literal_prefix(match: str) -> str:
    """Return the plain characters after a leading `^`, with which every match begins.

    Returns an empty string for an expression with alternatives: only the first begins with them.

    >>> literal_prefix("^tri.*tops$"), literal_prefix("^trip?"), literal_prefix("saurus$")
    ('tri', 'tri', '')
    >>> literal_prefix("^tri(cera|ceno)tops"), literal_prefix("^tri|tops")
    ('tri', '')
    """
    prefix = LITERAL_PREFIX.match(match)
    if prefix is None or "(?" in match:  # such as (?i), with which ^a also matches A
        return ""
    top_level = re.sub(rf"\\.|{CHARACTER_CLASS}", "", match)  # the expression outside of groups
    while (reduced := re.sub(r"\([^()]*\)", "", top_level)) != top_level:
        top_level = reduced
    return "" if "|" in top_level else prefix[1]
