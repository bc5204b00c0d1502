"""Chooses among records: keeps those that are wanted, and counts why the others were not.

An expression means what it means to grep: a record matches where `re.search` finds it, and `^` and
`$` stand for its beginning and its end. The letters after a leading `^` are fed as a prime, which
samples exactly from the records that begin so; the rest is left to rejection.
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

MAX_RECORD_CHARS = 5_000  # characters of a record; one that does not end by then is dropped
# A leading ^, and plain characters; the last may not be one that can be repeated or left out.
LITERAL_PREFIX = re.compile(r"\^([^.^$*+?{}\[\]\\|()\n]*)(?![*?{])")
CHARACTER_CLASS = r"\[\^?\]?(?:\\.|[^\]\\])*\]"


@dataclass(eq=False)
class Selection:
    """Iterates over at most `count` texts that pass; `kept`, `tried` and `dropped` then tell."""

    texts: Iterable[GeneratedText]
    count: int
    attempts: int  # texts tried at most
    pattern: re.Pattern[str] = re.compile("")  # must be found in a text
    unique: bool = False
    known: Set[str] = frozenset()  # texts that do not pass
    longest: int | None = None  # a text with as many drawn characters does not pass
    kept: int = field(default=0, init=False)
    tried: int = field(default=0, init=False)
    dropped: Counter[str] = field(default_factory=Counter, init=False)  # by the reason
    _seen: set[str] = field(default_factory=set, init=False)

    def __iter__(self) -> Iterator[GeneratedText]:
        texts = islice(self.texts, self.attempts)
        while self.kept < self.count and (text := next(texts, None)) is not None:
            self.tried += 1
            reason = self._reason(text)
            if reason is not None:
                self.dropped[reason] += 1
                continue
            self.kept += 1
            if self.unique:
                self._seen.add(text.text)
            yield text

    def _reason(self, text: GeneratedText) -> str | None:
        """Why a text is not kept, or None."""
        if text.chars == self.longest:
            return f"did not end within {self.longest:,} characters"
        if not self.pattern.search(text.text):
            return "did not match"
        if text.text in self.known:
            return "stood in the training corpus"
        if text.text in self._seen:
            return "were repeats"
        return None

    def summary(self) -> str:
        """One sentence: how many were kept of how many, and why the others were not."""
        share = 100 * self.kept / max(self.tried, 1)
        reasons = "".join(f"; {number:,} {reason}" for reason, number in self.dropped.items())
        return f"kept {self.kept:,} of {self.tried:,} records tried ({share:.3g} %){reasons}"


def compile_pattern(match: str) -> re.Pattern[str]:
    """The expression, ready to search. Raises ConfigError when it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what another Python may read otherwise
            return re.compile(match)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{match!r} is not a regular expression: {error}") from None


def literal_prefix(match: str) -> str:
    """The letters that every match begins with: after a leading `^`, as far as they are plain.

    None where the expression has alternatives, of which only the first begins so.

    >>> literal_prefix("^tri.*tops$"), literal_prefix("^trip?"), literal_prefix("saurus$")
    ('tri', 'tri', '')
    >>> literal_prefix("^tri(cera|ceno)tops"), literal_prefix("^tri|tops")
    ('tri', '')
    """
    beginning = LITERAL_PREFIX.match(match)
    if beginning is None or "(?" in match:  # such as (?i), which lets ^a begin with A
        return ""
    outside = re.sub(rf"\\.|{CHARACTER_CLASS}", "", match)
    while (inner := re.sub(r"\([^()]*\)", "", outside)) != outside:
        outside = inner
    return "" if "|" in outside else beginning[1]
