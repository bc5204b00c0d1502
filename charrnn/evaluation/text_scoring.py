"""Scores a text piece by piece as it arrives, and adds up the total."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Bools, Floats, Ints
from charrnn.data.corpus import Records
from charrnn.data.reader import whole_lines
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import SURPRISAL, Evaluator, Readout, Score


class ScoredPiece(NamedTuple):
    """A piece of a text, with the readout of each of its characters."""

    text: str  # N characters; a missing last newline of a list is added
    values: Floats  # (K, N): the readout; NaN for a character that is not scored
    unknown: Bools  # (N,)

    @property
    def nats(self) -> Floats:
        """The surprisal (N,) of each character, in nats; NaN if it is not scored."""
        nats: Floats = self.values[0]
        return nats


SKIP_UNKNOWN_HINT = "To leave such characters out and count them: --unknown skip"


class ReadOptions(NamedTuple):
    """How a text is read and scored."""

    mode: str  # stream or lines
    name: str  # in messages
    skip_unknown: bool = False
    window: int | None = None  # characters of a stream between zero states; None: all of them


def score_pieces(
    evaluator: Evaluator,
    vocab: Vocab,
    pieces: Iterable[str],
    options: ReadOptions,
    readout: Readout = SURPRISAL,
) -> Iterator[ScoredPiece]:
    """Yield the pieces of a text, as they arrive, with the readout of each character.

    The pieces of a stream stay the same; in a list, each piece is cut after its last newline. The
    first character of a stream, unknown characters, and lines of unknown characters alone are not
    scored. Raises VocabError for an unknown character unless they are skipped.
    """
    lines, window = options.mode == "lines", options.window
    start = 0  # offset of a piece in the text
    state = evaluator.model.zero_state(1)
    previous: Ints = np.empty(0, dtype=np.intp)  # the last id, or the ids of an unfinished window
    for text in whole_lines(pieces) if lines else pieces:
        if options.skip_unknown:
            new_ids = vocab.lookup(text)
        else:
            new_ids = vocab.encode(text, options.name, start, SKIP_UNKNOWN_HINT)
        start += len(text)
        unknown = new_ids == vocab.missing
        positions, new_ids = np.flatnonzero(~unknown), new_ids[~unknown]
        if lines:
            newline = vocab.lookup("\n")
            ends = new_ids == newline
            inside = ~ends | ~np.append(True, ends)[:-1]  # False at the newline of an empty line
            positions, ids = positions[inside], np.concatenate([newline, new_ids[inside]])
            starts = np.append(1, np.flatnonzero(ends[inside]) + 2)
            scored = evaluator.score_records(Records(ids, starts), readout)
        elif window is None:
            ids = np.concatenate([previous, new_ids])
            scored, state = evaluator.score_sequence(ids, state, readout)
            previous = ids[-1:]
        else:  # an unfinished window is scored again with the next piece
            ids = np.concatenate([previous, new_ids])
            starts = np.append(np.arange(1, len(ids), window), len(ids))
            scored = evaluator.score_records(Records(ids, starts), readout)
            scored = scored[:, max(len(previous) - 1, 0) :]
            previous = ids[max(len(ids) - 1, 0) // window * window :]
        values = np.full((readout.rows, len(text)), np.nan)
        values[:, positions[len(positions) - scored.shape[1] :]] = scored
        yield ScoredPiece(text, values, unknown)


def score_text(
    evaluator: Evaluator,
    vocab: Vocab,
    pieces: Iterable[str],
    mode: str,
    name: str,
    skip_unknown: bool = False,
) -> Score:
    """Score a text in this mode, in constant memory. Raises VocabError and CorpusError."""
    options = ReadOptions(mode, name, skip_unknown)
    return total_score(score_pieces(evaluator, vocab, pieces, options), mode, name)


def total_score(pieces: Iterable[ScoredPiece], mode: str, name: str) -> Score:
    """Return the score of all pieces. Raises CorpusError if no character is scored."""
    nats, chars, unknown = 0.0, 0, 0
    for piece in require_scores(pieces, mode, name):
        nats += float(np.nansum(piece.nats))
        chars += int(np.count_nonzero(~np.isnan(piece.nats)))
        unknown += int(piece.unknown.sum())
    return Score(nats, chars, unknown)


def require_scores(pieces: Iterable[ScoredPiece], mode: str, name: str) -> Iterator[ScoredPiece]:
    """Yield the pieces. Raises CorpusError at the end if no character is scored."""
    has_scores = False
    for piece in pieces:
        has_scores = has_scores or not np.isnan(piece.nats).all()
        yield piece
    if not has_scores:
        raise too_short(mode, name)


def too_short(mode: str, name: str) -> CorpusError:
    """Return the error for a text without a character that can be scored."""
    minimum = "two characters" if mode == "stream" else "one line with a character"
    return CorpusError(
        f"{name} is too short to score: it takes at least {minimum} that the model knows"
    )
