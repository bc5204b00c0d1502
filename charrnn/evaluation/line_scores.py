"""Scores line by line and character by character, as the text arrives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Bools, Floats
from charrnn.data.corpus import Corpus
from charrnn.data.vocabulary import Vocab
from charrnn.evaluation.text_scoring import ScoredPiece
from charrnn.units import bits

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
        return np.full(len(self.text), np.nan) if folded else bits(self.nats)


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


def lines(
    pieces: Iterable[ScoredPiece], originals: Iterator[str] | None = None
) -> Iterator[list[Line]]:
    """The lines that each piece ends. A line's bits are the sum over its characters.

    Lines of which nothing is scored and nothing is unknown have no row. `originals` are all lines
    of the text as it was before folding, where it was folded.
    """
    rest, nats, unknown = "", np.empty(0), np.empty(0, dtype=bool)  # of a line without its end
    for piece in pieces:
        *ended, rest = (rest + piece.text).split("\n")
        nats = np.concatenate([nats, piece.nats])
        unknown = np.concatenate([unknown, piece.unknown])
        yield list(_rows(ended, nats, unknown, originals))
        stop = len(nats) - len(rest)
        nats, unknown = nats[stop:], unknown[stop:]
    if rest:
        yield list(_rows([rest], nats, unknown, originals))


def _rows(
    texts: list[str], nats: Floats, unknown: Bools, originals: Iterator[str] | None
) -> Iterator[Line]:
    """The rows of these lines, whose characters and newlines have these nats."""
    if not texts:
        return
    *starts, stop = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
    columns = np.stack([np.nan_to_num(nats), ~np.isnan(nats), unknown])[:, :stop]
    sums = np.add.reduceat(columns, starts, axis=1).T.tolist()
    shown = texts if originals is None else originals
    for text, start, (total, chars, missing), line in zip(texts, starts, sums, shown, strict=False):
        if chars or missing:
            own = nats[start : start + len(text)]
            yield Line(bits(total), int(chars), int(missing), line, own)


def chars(pieces: Iterable[ScoredPiece], vocab: Vocab) -> Iterator[list[Char]]:
    """The scored characters of each piece, which has the figures of `PREDICTION`."""
    for piece in pieces:
        inside = ~np.isnan(piece.nats)
        nats, ranks, entropies, likeliest = piece.figures[:, inside]
        columns = (bits(nats), ranks.astype(int), bits(entropies))
        expected = vocab.decode(likeliest.astype(int).tolist())
        shown = itertools.compress(piece.text, inside)
        yield [*map(Char, shown, *(column.tolist() for column in columns), expected)]


def cut(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that are not too large to be scored at once."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_CHARS):
            yield piece[start : start + PIECE_CHARS]


def validation_text(corpus: Corpus) -> Iterator[str]:
    """The validation part of a corpus, in pieces."""
    records = corpus.records
    size = PIECE_CHARS if records is None else RECORDS
    for start in range(0, len(corpus.validation), size):
        ids = corpus.validation[start : start + size]
        if records is not None:
            spans = zip(records.starts[ids], records.starts[ids + 1], strict=True)
            ids = np.concatenate([records.ids[first:stop] for first, stop in spans])
        yield corpus.vocab.decode(ids.tolist())
