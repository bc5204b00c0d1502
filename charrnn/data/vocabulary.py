"""The vocabulary: the sorted distinct characters of a text, each with a number from 0 up."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.characters import with_code_point
from charrnn.errors import VocabError

# All that gb2312, big5, shift_jis and euc_kr can write, which is every script of East Asia, makes
# 29,286 characters together. Bytes read in a wrong encoding, such as UTF-8 as UTF-16, soon have
# more, and each would cost a row and a column of weights.
MAX_CHARS = 30_000


def code_points(text: str) -> Ints:
    """The Unicode code point of every character of `text`, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


class Vocab:
    """Characters <-> ids. A character is one Unicode code point, not a byte.

    >>> vocab = Vocab.of("hello")
    >>> vocab.chars
    'ehlo'
    >>> vocab.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> vocab.decode([1, 3, 2, 0])
    'hole'
    """

    def __init__(self, chars: str) -> None:
        """`chars`: distinct characters, sorted. Raises VocabError when they are not."""
        points = code_points(chars).astype(np.int64)
        if not chars or (np.diff(points) <= 0).any():
            raise VocabError("a vocabulary is one or more distinct characters, sorted")
        self.chars = chars
        self.dtype = np.min_scalar_type(len(chars))  # the smallest that also holds `missing`
        self.missing = len(chars)
        # code point -> id; the last entry stands for every higher code point
        self._table = np.full(int(points[-1]) + 2, self.missing, dtype=self.dtype)
        self._table[points] = np.arange(len(chars))

    @classmethod
    def of(cls, text: Iterable[str]) -> Vocab:
        """The vocabulary of a text, or of the pieces of one.

        Raises VocabError when it is empty, or has more than `MAX_CHARS` characters.
        """
        chars = sorted(set(chain.from_iterable(text)))
        if len(chars) > MAX_CHARS:
            raise VocabError(
                f"the text has {len(chars):,} distinct characters, and real ones have "
                f"{MAX_CHARS:,} at most: it is almost surely read in a wrong encoding",
                "Name the right one: --set corpus.encoding=utf-8, or utf-16, gb18030, big5, "
                "shift_jis, euc_kr, cp1252; `charrnn new FILE` tells which of the Unicode and "
                "Western ones fits",
            )
        return cls("".join(chars))

    def __len__(self) -> int:
        return len(self.chars)

    def __contains__(self, char: str) -> bool:
        return char in self.chars

    def lookup(self, text: str) -> Ints:
        """The id of every character, `missing` where there is none; the smallest unsigned type."""
        return self._table.take(code_points(text), mode="clip")

    def encode(
        self,
        text: str,
        where: str = "the text",
        start: int = 0,
        hint: str = "",
        model: str = "the model",
    ) -> Ints:
        """The id of every character of a text, or of what `where` has from character `start` on.

        Raises VocabError that names the first unknown one and this model, with this hint.
        """
        ids = self.lookup(text)
        unknown = ids == self.missing
        if unknown.any():
            position = int(unknown.argmax())
            raise VocabError(
                f"{where} has {with_code_point(text[position])} at character "
                f"{start + position + 1:,}, which {model}'s training text did not have",
                hint,
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text these ids stand for."""
        return "".join(map(self.chars.__getitem__, ids))
