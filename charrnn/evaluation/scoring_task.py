"""What `eval` is asked about: a model, and a text from a file, a pipe or the corpus."""

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
from charrnn.evaluation.text_scoring import ReadOptions, ScoredPiece, score_pieces, total_score
from charrnn.find_corpus import reload_corpus
from charrnn.parallel.pool import WorkerPool
from charrnn.streams import display_name

logger = logging.getLogger("charrnn")


class ScoringTask:
    """A text to be scored, and the model that scores it."""

    def __init__(
        self,
        loaded: Checkpoint,
        path: str | None,
        skip_unknown: bool,
        window: int | None = None,
        workers: int = 1,
    ) -> None:
        """`path` is a file, - for stdin, or None for the validation part of the model's corpus.

        `window` as in `ReadOptions`; `workers` share what is scored side by side.
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
            self.corpus  # noqa: B018 - whatever is wrong with it is told at once
        else:
            self.name = display_name(path)
            self.reader = open_text(path, self.settings.encoding)

    def __enter__(self) -> ScoringTask:
        return self

    def __exit__(self, *error: object) -> None:
        if self.reader is not None:
            self.reader.stream.close()

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The corpus of the model, split as it was. Raises CorpusError."""
        try:
            corpus = reload_corpus(self.loaded)
        except CorpusError as error:
            raise CorpusError(f"{error}: name a text to score") from None
        if not len(corpus.validation):
            raise CorpusError(
                "the model was trained without a validation part (corpus.validation: 0): "
                "name a text to score"
            )
        return corpus

    def pieces(self) -> Iterator[str]:
        """The text as it arrives, in its own case."""
        if self.reader is None:
            yield from validation_text(self.corpus)
            return
        with self.reader.stream:
            yield from split_long_pieces(self.reader)
        for notice in self.reader.notices():
            logger.info(notice)

    def text(self) -> Iterable[str]:
        """The text as it arrives, as the model reads it."""
        return self._folded(self.pieces())

    def _folded(self, pieces: Iterable[str]) -> Iterable[str]:
        return map(to_lowercase, pieces) if self.settings.lowercase else pieces

    def score_pieces(
        self,
        text: Iterable[str],
        readout: Readout = SURPRISAL,
        evaluator: Evaluator | None = None,
    ) -> Iterator[ScoredPiece]:
        """The figures of every character of a text, by the model or another evaluator."""
        options = ReadOptions(self.settings.mode, self.name, self.skip_unknown, self.window)
        return score_pieces(evaluator or self.evaluator, self.loaded.vocab, text, options, readout)

    def rows(
        self, per: str, pieces: Iterable[str] | None = None
    ) -> Iterator[list[LineScore]] | Iterator[list[CharScore]]:
        """The scores of each line or char of a text, by default this one, as it arrives."""
        pieces = self.pieces() if pieces is None else pieces
        if per == "char":
            return char_scores(
                self.score_pieces(self._folded(pieces), PREDICTION), self.loaded.vocab
            )
        read, shown = itertools.tee(pieces)
        originals = (line for some in whole_lines(shown) for line in some[:-1].split("\n"))
        return line_scores(self.score_pieces(self._folded(read)), originals)

    def percentile(self, per: str, share: float) -> tuple[float, int]:
        """The bits per character that `share` percent of the validation rows do not exceed.

        Also tells how many rows those are.
        """
        validation = self.rows(per, validation_text(self.corpus))
        bits = [row.bits_per_char for rows in validation for row in rows]
        return float(np.percentile(bits, share)), len(bits)

    def total_score(self, pieces: Iterable[ScoredPiece]) -> Score:
        """The score of the whole text. Raises CorpusError when it is too short for one."""
        return total_score(pieces, self.settings.mode, self.name)
