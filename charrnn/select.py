"""Keeps the records that are wanted, and counts why the others were not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Set

from charrnn.sample import Text


class Selection:
    """Iterates over at most `count` texts that pass; `kept`, `tried` and `dropped` then tell."""

    def __init__(
        self,
        texts: Iterable[Text],
        count: int,
        *,
        pattern: re.Pattern[str] | None = None,
        unique: bool = False,
        known: Set[str] | None = None,
        attempts: int,
    ) -> None:
        """`pattern` must match a text in full; no text of `known` passes."""
        self.texts = texts
        self.count = count
        self.pattern = pattern
        self.known = known
        self.attempts = attempts
        self.kept = self.tried = 0
        self.dropped: Counter[str] = Counter()
        self._seen: set[str] | None = set() if unique else None

    def __iter__(self) -> Iterator[Text]:
        for text in self.texts:
            if self.kept == self.count or self.tried == self.attempts:
                return
            self.tried += 1
            reason = self._reason(text.text)
            if reason is not None:
                self.dropped[reason] += 1
                continue
            if self._seen is not None:
                self._seen.add(text.text)
            self.kept += 1
            yield text
            if self.kept == self.count:
                return

    def _reason(self, text: str) -> str | None:
        """Why a text is not kept, or None."""
        if self.pattern is not None and not self.pattern.fullmatch(text):
            return "did not match"
        if self.known is not None and text in self.known:
            return "stood in the training corpus"
        if self._seen is not None and text in self._seen:
            return "were repeats"
        return None

    def summary(self) -> str:
        """One sentence: how many were kept of how many, and why the others were not."""
        share = 100 * self.kept / max(self.tried, 1)
        reasons = "".join(f"; {number:,} {reason}" for reason, number in self.dropped.items())
        return f"kept {self.kept:,} of {self.tried:,} records ({share:.3g} %){reasons}"
