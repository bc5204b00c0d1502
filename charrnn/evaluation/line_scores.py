"""Scores line by line and character by character, as the text arrives."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Floats
from charrnn.data.corpus import Corpus
from charrnn.data.reader import lowered
from charrnn.data.vocabulary import Vocab
from charrnn.evaluation.text_scoring import ScoredPiece
from charrnn.units import LN2

PIECE_CHARS = 1 << 16  # of a long text that are scored at a time
RECORDS = 1024  # of a validation part that are scored at a time


class Line(NamedTuple):
    """The score of a line, its closing newline included."""

    bits: float
    chars: int  # scored
    unknown: int
    text: str
    nats: Floats  # (N,) of each character of the text as the model reads it; NaN if not scored

    @property
    def bits_per_char(self) -> float:
        """Infinite for a line of unknown characters alone: the model foretells none of it."""
        return self.bits / self.chars if self.chars else math.inf

    @property
    def shades(self) -> Floats:
        """The bits (N,) of each character of `text`; NaN where folding changed its length."""
        folded = len(self.nats) != len(self.text)
        return np.full(len(self.text), np.nan) if folded else self.nats / LN2


class Char(NamedTuple):
    """A character, and what the model expected in its place."""

    char: str
    bits: float  # -log2 p of the character
    rank: int  # among all characters; 1 is the likeliest
    entropy_bits: float  # of the prediction: the bits that were to be expected
    likeliest: str

    @property
    def bits_per_char(self) -> float:
        """The same bits, by the name that a line has for its own."""
        return self.bits


def lines(pieces: Iterable[ScoredPiece], folded: Folded | None = None) -> Iterator[list[Line]]:
    """The lines that each piece ends. A line's bits are the sum over its characters.

    Lines of which nothing is scored and nothing is unknown have no row.
    """
    held, held_sums = "", np.zeros(3)  # of a line that is not at its end yet
    held_nats: Floats = np.empty(0)
    for piece in pieces:
        *ended, rest = piece.text.split("\n")
        starts = np.cumsum([0, *(len(line) + 1 for line in ended)])
        sums = np.zeros((3, len(starts)))  # nats, characters scored, unknown
        filled = starts[starts < len(piece.text)]
        columns = np.stack([np.nan_to_num(piece.nats), ~np.isnan(piece.nats), piece.unknown])
        if len(filled):
            sums[:, : len(filled)] = np.add.reduceat(columns, filled, axis=1)
        sums[:, 0] += held_sums
        nats = [piece.nats[at : at + len(line)] for at, line in zip(starts, ended, strict=False)]
        nats.append(piece.nats[starts[-1] :])
        nats[0] = np.concatenate([held_nats, nats[0]])
        ended[:1] = [held + line for line in ended[:1]]
        held = rest if ended else held + rest
        held_sums, held_nats = sums[:, -1], nats[-1]
        yield list(_rows(ended, sums, nats, folded))
    if held:
        yield list(_rows([held], held_sums.reshape(3, 1), [held_nats], folded))


def _rows(
    texts: list[str], sums: Floats, nats: list[Floats], folded: Folded | None
) -> Iterator[Line]:
    for text, (total, chars, unknown), each in zip(texts, sums.T.tolist(), nats, strict=False):
        original = text if folded is None else folded.next_line()
        if chars or unknown:
            yield Line(total / LN2, int(chars), int(unknown), original, each)


def chars(pieces: Iterable[ScoredPiece], vocab: Vocab) -> Iterator[list[Char]]:
    """The scored characters of each piece, which has the figures of `PREDICTION`."""
    for piece in pieces:
        nats, ranks, entropies, likeliest = piece.figures
        yield [
            Char(
                piece.text[at],
                nats[at] / LN2,
                int(ranks[at]),
                entropies[at] / LN2,
                vocab.chars[int(likeliest[at])],
            )
            for at in np.flatnonzero(~np.isnan(nats)).tolist()
        ]


def cut(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that are not too large to be scored at once."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_CHARS):
            yield piece[start : start + PIECE_CHARS]


class Folded:
    """Pieces of a text folded to lower case, as some models read it, and its lines as they were.

    Lines must be taken as they come: only those that were read and not yet taken are kept.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self.pieces = pieces
        self._lines = deque([""])

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces:
            first, *others = piece.split("\n")
            self._lines[-1] += first
            self._lines.extend(others)
            yield lowered(piece)

    def next_line(self) -> str:
        """The next line as it was."""
        return self._lines.popleft()


def validation_text(corpus: Corpus) -> Iterator[str]:
    """The validation part of a corpus, in pieces."""
    if corpus.records is None:
        for start in range(0, len(corpus.validation), PIECE_CHARS):
            yield corpus.vocab.decode(corpus.validation[start : start + PIECE_CHARS].tolist())
        return
    ids, starts = corpus.records.ids, corpus.records.starts
    for first in range(0, len(corpus.validation), RECORDS):
        some = corpus.validation[first : first + RECORDS]
        spans = zip(starts[some].tolist(), starts[some + 1].tolist(), strict=True)
        lines = np.concatenate([ids[start:stop] for start, stop in spans])
        yield corpus.vocab.decode(lines.tolist())
