"""The vocabulary: the sorted distinct characters of a text, numbered from 0."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.characters import with_code_point
from charrnn.errors import VocabError

# The scripts of East Asia, that is gb2312, big5, shift_jis and euc_kr together, have 29,286 unique
# characters. Bytes decoded in a wrong encoding, such as UTF-8 as UTF-16, often have more. Each
# character needs a row and a column of weights.
MAX_CHARS = 30_000


def code_points(text: str) -> Ints:
    """Return the Unicode code point of every character of `text`, (N,)."""
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
        """Assign ids to `chars`. Raise VocabError unless they are distinct and sorted."""
        points = code_points(chars).astype(np.int64)
        if not chars or (np.diff(points) <= 0).any():
            raise VocabError("a vocabulary is one or more distinct characters, sorted")
        self.chars = chars
        self.dtype = np.min_scalar_type(len(chars))  # the smallest that can hold `missing`
        self.missing = len(chars)
        # code point -> id; the last entry is for all higher code points
        self._table = np.full(int(points[-1]) + 2, self.missing, dtype=self.dtype)
        self._table[points] = np.arange(len(chars))

    @classmethod
    def of(cls, text: Iterable[str]) -> Vocab:
        """Return the vocabulary of a text, or of the pieces of a text.

        Raise VocabError if it is empty or has more than `MAX_CHARS` characters.
        """
        chars = sorted(set(chain.from_iterable(text)))
        if len(chars) > MAX_CHARS:
            raise VocabError(
                f"the text has {len(chars):,} distinct characters, but real texts have "
                f"{MAX_CHARS:,} at most: it is almost surely read in a wrong encoding",
                "Set the right one: --set corpus.encoding=utf-8, or utf-16, gb18030, big5, "
                "shift_jis, euc_kr, cp1252; `charrnn new FILE` detects the Unicode and Western "
                "encodings",
            )
        return cls("".join(chars))

    def __len__(self) -> int:
        return len(self.chars)

    def __contains__(self, char: str) -> bool:
        return char in self.chars

    def lookup(self, text: str) -> Ints:
        """Return the id of every character, (N,) of `dtype`, or `missing` where there is none."""
        return self._table.take(code_points(text), mode="clip")

    def encode(
        self,
        text: str,
        name: str = "the text",
        start: int = 0,
        hint: str = "",
        model: str = "the model",
    ) -> Ints:
        """Return the id of every character of `text`, (N,).

        Raise VocabError for the first unknown character, with this hint. `name` and `model` are
        for its message; `start` is the position of `text` in the text called `name`.
        """
        ids = self.lookup(text)
        unknown = ids == self.missing
        if unknown.any():
            position = int(unknown.argmax())
            raise VocabError(
                f"{name} has {with_code_point(text[position])} at character "
                f"{start + position + 1:,}, which {model}'s training text did not have",
                hint,
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of these ids."""
        return "".join(map(self.chars.__getitem__, ids))
