"""Compares two models on one text: which predicts it better, and whether that may be chance.

The interval is a block bootstrap (Künsch 1989). The scores of neighbouring characters are
correlated, so each resample draws whole blocks of them with replacement, as many as the text has,
and computes the difference from these. A block is one line of a list, or `BLOCK` consecutive
characters of a stream. The interval runs from the 2.5th to the 97.5th percentile of `RESAMPLES`
such differences. The seed is fixed, so the same text gives the same interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Floats
from charrnn.checkpoint import Checkpoint
from charrnn.config.kinds import format_value
from charrnn.data.vocabulary import code_points
from charrnn.errors import CharrnnError
from charrnn.evaluation.dynamic_evaluation import windows
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.evaluation.text_scoring import (
    SKIP_UNKNOWN_HINT,
    ReadOptions,
    ScoredPiece,
    score_pieces,
    too_short,
)
from charrnn.parallel.pool import WorkerPool
from charrnn.units import bits

BLOCK = 200  # characters
PIECE_BLOCKS = 100  # blocks of a stream that are scored together
RESAMPLES = 2000
SEED = 1


@dataclass(frozen=True)
class Comparison:
    """The scores of two models, and the interval of their difference."""

    this: Score
    other: Score
    blocks: int
    interval_bits: tuple[float, float] | None  # 95 % of the resamples; None for one block

    @property
    def difference_bits(self) -> float:
        """Bits per character, this minus other; below 0 if this model is better."""
        return self.this.bits - self.other.bits


def compare(
    this: Checkpoint,
    other: Checkpoint,
    pieces: Iterable[str],
    name: str,
    skip_unknown: bool = False,
    workers: int = 1,
    window: int | None = None,
) -> Comparison:
    """Score the same characters with both models.

    `workers` is the number of processes that share the batches; `window` is as in `ReadOptions`.
    Raises CharrnnError if the models read a text differently, VocabError for a character that
    either vocabulary lacks, unless `skip_unknown` leaves it out for both, and CorpusError if the
    text is too short.
    """
    _check_same_reading(this, other)
    unknown = 0

    def known_text() -> Iterator[str]:
        """Yield each piece without the characters that either vocabulary lacks."""
        nonlocal unknown
        start = 0
        for piece in pieces:
            known = piece
            for model, vocab in (("the model", this.vocab), ("the other model", other.vocab)):
                if skip_unknown:
                    ids = vocab.lookup(known)
                    known = vocab.decode(ids[ids != vocab.missing].tolist())
                else:
                    vocab.encode(piece, name, start, SKIP_UNKNOWN_HINT, model)
            start, unknown = start + len(piece), unknown + len(piece) - len(known)
            yield known

    mode, pool = this.config.corpus.mode, WorkerPool(workers)
    text = known_text() if mode == "lines" else windows(known_text(), PIECE_BLOCKS * BLOCK)
    options = ReadOptions(mode, name, window=window)
    this_pieces, other_pieces = (
        score_pieces(Evaluator(loaded.model, loaded.params, pool), loaded.vocab, copy, options)
        for loaded, copy in zip((this, other), itertools.tee(text), strict=True)
    )
    blocks = np.concatenate([np.empty((3, 0)), *_blocks(this_pieces, other_pieces, mode)], axis=1)
    nats_this, nats_other, chars = blocks.sum(axis=1).tolist()
    if not chars:
        raise too_short(mode, name)
    return Comparison(
        Score(nats_this, int(chars), unknown),
        Score(nats_other, int(chars), unknown),
        blocks.shape[1],
        bootstrap(bits(blocks[0] - blocks[1]), blocks[2]) if blocks.shape[1] > 1 else None,
    )


def bootstrap(differences: Floats, chars: Floats) -> tuple[float, float]:
    """Return the 95 % interval of sum(differences) / sum(chars), from N blocks (N,) of each."""
    rng = np.random.default_rng(SEED)
    draws = (rng.integers(len(chars), size=len(chars)) for _ in range(RESAMPLES))
    resampled = [differences[blocks].sum() / chars[blocks].sum() for blocks in draws]
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    return low, high


def _blocks(
    this_pieces: Iterable[ScoredPiece], other_pieces: Iterable[ScoredPiece], mode: str
) -> Iterator[Floats]:
    """Yield the n blocks (3, n) of each piece: the nats of both models, and the characters."""
    for a, b in zip(this_pieces, other_pieces, strict=True):
        inside = ~np.isnan(a.nats)
        if mode == "lines":
            ends = np.flatnonzero(code_points(a.text)[inside] == ord("\n"))
            starts = np.append(0, ends + 1)[:-1]
        else:
            starts = np.arange(0, np.count_nonzero(inside), BLOCK)
        yield np.add.reduceat(np.stack([a.nats, b.nats, inside])[:, inside], starts, axis=1)


def _check_same_reading(this: Checkpoint, other: Checkpoint) -> None:
    """Raise CharrnnError if the models would not score the same characters of a text."""
    for key in ("mode", "lowercase"):
        values = [format_value(getattr(loaded.config.corpus, key)) for loaded in (this, other)]
        if values[0] != values[1]:
            raise CharrnnError(
                f"the models cannot be compared: corpus.{key} is {values[0]} in this one and "
                f"{values[1]} in the other, so they do not score the same characters of a text"
            )
