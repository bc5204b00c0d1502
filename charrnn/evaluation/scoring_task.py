"""A model and the text that it scores: a file, stdin, or the validation part of its corpus."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.data.corpus import Corpus
from charrnn.data.reader import TextReader, open_text, to_lowercase, whole_lines
from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import PREDICTION, SURPRISAL, Evaluator, Readout, Score
from charrnn.evaluation.line_scores import (
    CharScore,
    LineScore,
    char_scores,
    line_scores,
    split_long_pieces,
    validation_text,
)
from charrnn.evaluation.text_scoring import (
    ReadOptions,
    ScoredPiece,
    require_scores,
    score_pieces,
    total_score,
)
from charrnn.find_corpus import reload_corpus
from charrnn.parallel.pool import WorkerPool
from charrnn.streams import display_name

logger = logging.getLogger("charrnn")


class ScoringTask:
    """A text to score, and the model that scores it."""

    def __init__(
        self,
        loaded: Checkpoint,
        path: str | None,
        skip_unknown: bool,
        window: int | None = None,
        workers: int = 1,
    ) -> None:
        """Open the text: `path` is a file, - for stdin, or None for the validation part.

        `window` is as in `ReadOptions`; `workers` is the number of processes that share the
        batches. Raises CorpusError.
        """
        self.loaded = loaded
        self.evaluator = Evaluator(loaded.model, loaded.params, WorkerPool(workers))
        self.window = window
        self.settings = loaded.config.corpus
        self.skip_unknown = skip_unknown
        self.is_validation_part = path is None
        if path is None:
            self.name = "the validation part"
            self.reader: TextReader | None = None
            self.corpus  # noqa: B018 - raises CorpusError here, before any output
        else:
            self.name = display_name(path)
            self.reader = open_text(path, self.settings.encoding)

    def __enter__(self) -> ScoringTask:
        """Return the task."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the text."""
        if self.reader is not None:
            self.reader.stream.close()

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The corpus of the model, split as in training. Raises CorpusError."""
        without = "name a text to score" if self.is_validation_part else "leave --percentile out"
        corpus = reload_corpus(self.loaded, without)
        if not len(corpus.validation):
            raise CorpusError(
                "the model was trained without a validation part (corpus.validation: 0)",
                f"Train with one, or {without}",
            )
        return corpus

    def pieces(self) -> Iterator[str]:
        """Yield the text as it arrives, in its original case."""
        if self.reader is None:
            yield from validation_text(self.corpus)
            return
        with self.reader.stream:
            yield from split_long_pieces(self.reader)
        for notice in self.reader.notices():
            logger.info(notice)

    def text(self) -> Iterable[str]:
        """Return the pieces of the text as the model reads them."""
        return self._fold_case(self.pieces())

    def _fold_case(self, pieces: Iterable[str]) -> Iterable[str]:
        """Return the pieces, in lower case if the model was trained so."""
        return map(to_lowercase, pieces) if self.settings.lowercase else pieces

    def score_pieces(
        self,
        text: Iterable[str],
        readout: Readout = SURPRISAL,
        evaluator: Evaluator | None = None,
    ) -> Iterator[ScoredPiece]:
        """Yield the pieces of a text with their readout, by the model or another evaluator."""
        options = ReadOptions(self.settings.mode, self.name, self.skip_unknown, self.window)
        return score_pieces(evaluator or self.evaluator, self.loaded.vocab, text, options, readout)

    def rows(
        self, per: str, pieces: Iterable[str] | None = None
    ) -> Iterator[list[LineScore]] | Iterator[list[CharScore]]:
        """Return the scores of each line or char of a text, by default this one, as it arrives.

        Iterating raises CorpusError at the end if no character was scored.
        """
        pieces = self.pieces() if pieces is None else pieces
        if per == "char":
            return char_scores(self._scored(pieces, PREDICTION), self.loaded.vocab)
        pieces, copy = itertools.tee(pieces)
        originals = (line for lines in whole_lines(copy) for line in lines[:-1].split("\n"))
        return line_scores(self._scored(pieces, SURPRISAL), originals)

    def _scored(self, pieces: Iterable[str], readout: Readout) -> Iterator[ScoredPiece]:
        """Yield pieces of a text with their readout. Raises CorpusError if nothing is scored."""
        scored = self.score_pieces(self._fold_case(pieces), readout)
        return require_scores(scored, self.settings.mode, self.name)

    def percentile(self, per: str, percent: float) -> tuple[float, int]:
        """Return a percentile of the bits per character of the validation rows.

        Also returns the number of rows.
        """
        validation = self.rows(per, validation_text(self.corpus))
        bits = [row.bits_per_char for rows in validation for row in rows]
        return float(np.percentile(bits, percent)), len(bits)

    def total_score(self, pieces: Iterable[ScoredPiece]) -> Score:
        """Return the score of all pieces. Raises CorpusError if the text is too short."""
        return total_score(pieces, self.settings.mode, self.name)
