"""Scores each line and each character of a text as it arrives."""

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

PIECE_CHARS = 1 << 16  # characters of a long text scored at a time
PIECE_RECORDS = 1024  # records of a validation part scored at a time


class LineScore(NamedTuple):
    """The score of a line, its closing newline included."""

    bits: float
    chars: int  # scored
    unknown: int
    text: str
    nats: Floats  # (N,) of each character of the text as the model reads it; NaN if not scored
    newline_bits: float  # of the closing newline; NaN if there is none or it is not scored

    @property
    def bits_per_char(self) -> float:
        """Bits per scored character; infinite for a line of unknown characters alone."""
        return self.bits / self.chars if self.chars else math.inf

    @property
    def char_bits(self) -> Floats:
        """The bits (N,) of each character of `text`; all NaN if its lower case is longer."""
        if len(self.nats) != len(self.text):
            return np.full(len(self.text), np.nan)
        return bits(self.nats)


class CharScore(NamedTuple):
    """A character, and the model's prediction of it."""

    char: str
    bits: float  # -log2 p of the character
    rank: int  # among all characters; 1 is the likeliest
    entropy_bits: float  # of the prediction: the expected bits
    likeliest: str

    @property
    def bits_per_char(self) -> float:
        """The same as `bits`: lines and characters share this attribute."""
        return self.bits


def line_scores(
    pieces: Iterable[ScoredPiece], originals: Iterator[str] | None = None
) -> Iterator[list[LineScore]]:
    """Yield the scores of the lines that end in each piece.

    Lines without scored and unknown characters are left out. `originals` are all lines of the text
    before it is folded to lower case.
    """
    rest, nats, unknown = "", np.empty(0), np.empty(0, dtype=bool)  # of an unfinished line
    for piece in pieces:
        *lines, rest = (rest + piece.text).split("\n")
        nats = np.concatenate([nats, piece.nats])
        unknown = np.concatenate([unknown, piece.unknown])
        yield list(_rows(lines, nats, unknown, originals))
        stop = len(nats) - len(rest)
        nats, unknown = nats[stop:], unknown[stop:]
    if rest:
        yield list(_rows([rest], nats, unknown, originals))


def _rows(
    lines: list[str], nats: Floats, unknown: Bools, originals: Iterator[str] | None
) -> Iterator[LineScore]:
    """Yield the scores of these lines; `nats` and `unknown` cover their characters and newlines."""
    if not lines:
        return
    *starts, stop = np.cumsum([0, *(len(line) + 1 for line in lines)]).tolist()
    columns = np.stack([np.nan_to_num(nats), ~np.isnan(nats), unknown])[:, :stop]
    sums = np.add.reduceat(columns, starts, axis=1).T.tolist()
    originals = iter(lines) if originals is None else originals
    for line, start, row, original in zip(lines, starts, sums, originals, strict=False):
        total_nats, chars, unknown_chars = row
        if chars or unknown_chars:
            end = start + len(line)
            newline_bits = bits(float(nats[end])) if end < len(nats) else math.nan
            counts = int(chars), int(unknown_chars)
            yield LineScore(bits(total_nats), *counts, original, nats[start:end], newline_bits)


def char_scores(pieces: Iterable[ScoredPiece], vocab: Vocab) -> Iterator[list[CharScore]]:
    """Yield the scored characters of each piece, whose readout is `PREDICTION`."""
    for piece in pieces:
        inside = ~np.isnan(piece.nats)
        nats, ranks, entropies, likeliest = piece.values[:, inside]
        columns = (bits(nats), ranks.astype(int), bits(entropies))
        predicted = vocab.decode(likeliest.astype(int).tolist())
        chars = itertools.compress(piece.text, inside)
        yield [*map(CharScore, chars, *(column.tolist() for column in columns), predicted)]


def split_long_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text in pieces of at most `PIECE_CHARS` characters."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_CHARS):
            yield piece[start : start + PIECE_CHARS]


def validation_text(corpus: Corpus) -> Iterator[str]:
    """Yield the validation part of a corpus, in pieces."""
    records = corpus.records
    size = PIECE_CHARS if records is None else PIECE_RECORDS
    for start in range(0, len(corpus.validation), size):
        ids = corpus.validation[start : start + size]
        if records is not None:
            spans = zip(records.starts[ids], records.starts[ids + 1], strict=True)
            ids = np.concatenate([records.ids[first:stop] for first, stop in spans])
        yield corpus.vocab.decode(ids.tolist())
