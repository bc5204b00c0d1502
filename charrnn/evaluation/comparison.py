"""Two models on one text: which foretells it better, and whether that may be chance.

The interval is a block bootstrap (Künsch 1989): neighbouring characters are alike, so whole blocks
of them are drawn, with replacement, as many as the text has, and the difference is computed anew.
The blocks are whole lines of a list, and `BLOCK` consecutive characters of a stream. The interval
runs from the 2.5th to the 97.5th percentile of `RESAMPLES` such differences, drawn with a fixed
seed, so that the same text gives the same interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Floats
from charrnn.checkpoint import Checkpoint
from charrnn.config.schema import format_value
from charrnn.data.vocabulary import code_points
from charrnn.errors import CharrnnError, CorpusError
from charrnn.evaluation.dynamic_evaluation import windows
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.evaluation.text_scoring import (
    SKIP_UNKNOWN_HINT,
    ReadOptions,
    ScoredPiece,
    score_pieces,
)
from charrnn.parallel.pool import WorkerPool
from charrnn.units import bits

BLOCK = 200  # characters
AT_ONCE = 100  # blocks of a stream that are scored together
RESAMPLES = 2000
SEED = 1


@dataclass(frozen=True)
class Comparison:
    """The scores of two models, and what lies between them."""

    this: Score
    other: Score
    blocks: int
    interval_bits: tuple[float, float] | None  # 95 % of the resamples; None of a single block

    @property
    def difference_bits(self) -> float:
        """Bits per character, this minus other: below 0 where this one is better."""
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

    `workers` share what is scored side by side; `window` is as in `ReadOptions`. A character that
    either does not know is an error, or skipped for both. Raises CharrnnError where the two do not
    read the same text, VocabError, and CorpusError where it is too short.
    """
    _check_alike(this, other)
    unknown = 0

    def shared() -> Iterator[str]:
        """Each piece without the characters that one of the models does not know."""
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
    text = shared() if mode == "lines" else windows(shared(), AT_ONCE * BLOCK)
    options = ReadOptions(mode, name, window=window)
    by_this, by_other = (
        score_pieces(Evaluator(model.model, model.params, pool), model.vocab, copy, options)
        for model, copy in zip((this, other), itertools.tee(text), strict=True)
    )
    blocks = np.concatenate([np.empty((3, 0)), *_blocks(by_this, by_other, mode)], axis=1)
    nats_this, nats_other, chars = blocks.sum(axis=1).tolist()
    if not chars:
        raise CorpusError(f"{name} is too short to compare: nothing of it can be scored")
    return Comparison(
        Score(nats_this, int(chars), unknown),
        Score(nats_other, int(chars), unknown),
        blocks.shape[1],
        bootstrap(bits(blocks[0] - blocks[1]), blocks[2]) if blocks.shape[1] > 1 else None,
    )


def bootstrap(differences: Floats, chars: Floats) -> tuple[float, float]:
    """The 95 % interval of sum(differences) / sum(chars), from blocks (N,) of each."""
    rng = np.random.default_rng(SEED)
    draws = (rng.integers(len(chars), size=len(chars)) for _ in range(RESAMPLES))
    resampled = [differences[drawn].sum() / chars[drawn].sum() for drawn in draws]
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    return low, high


def _blocks(
    this: Iterable[ScoredPiece], other: Iterable[ScoredPiece], mode: str
) -> Iterator[Floats]:
    """The blocks (3, n) of each piece: nats of this model and of the other, and characters."""
    for a, b in zip(this, other, strict=True):
        inside = ~np.isnan(a.nats)
        if mode == "lines":
            ends = np.flatnonzero(code_points(a.text)[inside] == ord("\n"))
            starts = np.append(0, ends + 1)[:-1]
        else:
            starts = np.arange(0, np.count_nonzero(inside), BLOCK)
        yield np.add.reduceat(np.stack([a.nats, b.nats, inside])[:, inside], starts, axis=1)


def _check_alike(this: Checkpoint, other: Checkpoint) -> None:
    """Raise CharrnnError where the two models would not read the same characters."""
    for setting in ("mode", "lowercase"):
        values = [getattr(model.config.corpus, setting) for model in (this, other)]
        if values[0] != values[1]:
            mine, theirs = map(format_value, values)
            raise CharrnnError(
                f"the models cannot be compared: corpus.{setting} is {mine} in this one "
                f"and {theirs} in the other, so they do not read the same characters of a text"
            )
