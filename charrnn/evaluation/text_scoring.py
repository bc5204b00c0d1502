"""The score of a text as it arrives, piece by piece, and of the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Bools, Floats, Ints
from charrnn.data.corpus import Records
from charrnn.data.reader import whole_lines
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import SURPRISAL, Evaluator, Figures, Score


class ScoredPiece(NamedTuple):
    """Some of a text, and what is known about each of its characters."""

    text: str  # of N characters; the last line of a list has its newline even if the text has not
    figures: Floats  # (K, N): NaN at a character that is not scored
    unknown: Bools  # (N,)

    @property
    def nats(self) -> Floats:
        """The surprisal (N,) of each character, NaN where it is not scored."""
        nats: Floats = self.figures[0]
        return nats


SKIP_HINT = "To leave such characters out and count them: --unknown skip"


class ReadOptions(NamedTuple):
    """How a text is read to be scored."""

    mode: str  # stream or lines
    name: str  # in messages
    skip_unknown: bool = False
    window: int | None = None  # characters of a stream that the state is carried over; None is all


def scored(
    evaluator: Evaluator,
    vocab: Vocab,
    pieces: Iterable[str],
    options: ReadOptions,
    figures: Figures = SURPRISAL,
) -> Iterator[ScoredPiece]:
    """Every character of a text with its figures, piece by piece as it arrives.

    A stream's pieces come out as they go in; of lines, those that a piece ended come together. Not
    scored are the first character of a stream, unknown characters, and lines without a known one.
    Raises VocabError.
    """
    lines, window = options.mode == "lines", options.window
    start = 0  # of a piece in the text
    state = evaluator.model.zero_state(1)
    before: Ints = np.empty(0, dtype=np.intp)  # the last character so far, then an open window's
    for text in whole_lines(pieces) if lines else pieces:
        if options.skip_unknown:
            new_ids = vocab.lookup(text)
        else:
            new_ids = vocab.encode(text, options.name, start, SKIP_HINT)
        start += len(text)
        unknown = new_ids == vocab.missing
        places, new_ids = np.flatnonzero(~unknown), new_ids[~unknown]
        if lines:
            newline = vocab.lookup("\n")
            ends = new_ids == newline
            kept = ~ends | ~np.append(True, ends)[:-1]  # no empty line
            places, ids = places[kept], np.concatenate([newline, new_ids[kept]])
            starts = np.append(1, np.flatnonzero(ends[kept]) + 2)
            new = evaluator.each(Records(ids, starts), figures)
        elif window is None:
            ids = np.concatenate([before, new_ids])
            new, state = evaluator.follow(ids, state, figures)
            before = ids[-1:]
        else:  # what a piece leaves open is scored again with the next one
            ids = np.concatenate([before, new_ids])
            starts = np.append(np.arange(1, len(ids), window), len(ids))
            new = evaluator.each(Records(ids, starts), figures)[:, max(len(before) - 1, 0) :]
            before = ids[max(len(ids) - 1, 0) // window * window :]
        found = np.full((figures.rows, len(text)), np.nan)
        found[:, places[len(places) - new.shape[1] :]] = new
        yield ScoredPiece(text, found, unknown)


def score_text(
    evaluator: Evaluator,
    vocab: Vocab,
    pieces: Iterable[str],
    mode: str,
    name: str,
    skip_unknown: bool = False,
) -> Score:
    """Score a text as `mode` says, in constant memory. Raises VocabError and CorpusError."""
    options = ReadOptions(mode, name, skip_unknown)
    return total(scored(evaluator, vocab, pieces, options), mode, name)


def total(pieces: Iterable[ScoredPiece], mode: str, name: str) -> Score:
    """The score of a whole text. Raises CorpusError when there is nothing to divide by."""
    nats, chars, unknown = 0.0, 0, 0
    for piece in pieces:
        nats += float(np.nansum(piece.nats))
        chars += int(np.count_nonzero(~np.isnan(piece.nats)))
        unknown += int(piece.unknown.sum())
    if not chars:
        least = "two characters" if mode == "stream" else "one line that is not empty"
        raise CorpusError(f"{name} is too short to score: it takes at least {least}")
    return Score(nats, chars, unknown)
