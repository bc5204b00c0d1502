"""Text turned into ids as it arrives, with unknown characters refused or counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.arrays import Ints
from charrnn.data.vocabulary import Vocab, unknown_character
from charrnn.errors import VocabError

LINES = 4096  # lines handed on together


class Encoder:
    """Encodes the pieces of a text; unknown characters are an error, or skipped and counted."""

    def __init__(
        self, vocab: Vocab, name: str, skip_unknown: bool, model: str = "the model"
    ) -> None:
        """`name` is that of the text, and `model` that of the model, in messages."""
        self.vocab = vocab
        self.name = name
        self.skip_unknown = skip_unknown
        self.model = model
        self.unknown = 0
        self.position = 0

    def __call__(self, piece: str) -> tuple[Ints, Ints]:
        """Places and ids of a piece's known characters.

        Raises VocabError that names the first unknown one.
        """
        ids = self.vocab.lookup(piece)
        missing = ids == self.vocab.missing
        if missing.any():
            if not self.skip_unknown:
                index = int(missing.argmax())
                raise VocabError(
                    unknown_character(piece[index], self.position + index, self.name, self.model),
                    "To leave such characters out and count them: --unknown skip",
                )
            self.unknown += int(missing.sum())
        self.position += len(piece)
        places = np.flatnonzero(~missing)
        return places, ids[places]


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Whole lines, each with its newline, some thousands together."""
    rest: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        rest.append(first)
        if others:
            lines = ["".join(rest), *others[:-1]]
            rest = [others[-1]]
            for start in range(0, len(lines), LINES):
                yield "\n".join([*lines[start : start + LINES], ""])
    if any(rest):
        yield "".join([*rest, "\n"])
