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
from charrnn.config.schema import shown
from charrnn.data.characters import with_number
from charrnn.errors import CharrnnError, CorpusError, VocabError
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.evaluation.line_scores import lines
from charrnn.evaluation.text_scoring import ReadOptions, ScoredPiece, scored
from charrnn.parallel.pool import WorkerPool
from charrnn.units import LN2

BLOCK = 200  # characters
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
    shared = _Shared(pieces, this, other, name, skip_unknown)
    mode, pool = this.config.corpus.mode, WorkerPool(workers)
    read_by_this, read_by_other = (
        scored(evaluator, model.vocab, text, ReadOptions(mode, name, window=window))
        for evaluator, model, text in zip(
            [Evaluator(model.model, model.params, pool) for model in (this, other)],
            (this, other),
            itertools.tee(shared),
            strict=True,
        )
    )
    cut = _by_line if mode == "lines" else _by_block
    blocks = np.array([*cut(read_by_this, read_by_other)]).reshape(-1, 3)
    nats_this, nats_other, chars = blocks.sum(axis=0).tolist()
    if not chars:
        raise CorpusError(f"{name} is too short to compare: nothing of it can be scored")
    return Comparison(
        Score(nats_this, int(chars), shared.unknown),
        Score(nats_other, int(chars), shared.unknown),
        len(blocks),
        bootstrap((blocks[:, 0] - blocks[:, 1]) / LN2, blocks[:, 2]) if len(blocks) > 1 else None,
    )


def bootstrap(bits: Floats, chars: Floats) -> tuple[float, float]:
    """The 95 % interval of sum(bits) / sum(chars), from blocks (N,) of each."""
    rng = np.random.default_rng(SEED)
    resampled = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn = rng.integers(len(bits), size=len(bits))
        resampled[k] = bits[drawn].sum() / chars[drawn].sum()
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    return low, high


Block = tuple[float, float, int]  # nats of this model and of the other, and characters
Read = Iterator[ScoredPiece]


def _by_line(this: Read, other: Read) -> Iterator[Block]:
    for some_this, some_other in zip(lines(this), lines(other), strict=True):
        for a, b in zip(some_this, some_other, strict=True):
            yield a.bits * LN2, b.bits * LN2, a.chars


def _by_block(this: Read, other: Read) -> Iterator[Block]:
    held = np.empty((2, 0))  # nats of characters that do not fill a block yet
    for a, b in zip(this, other, strict=True):
        both = np.stack([a.nats, b.nats])
        held = np.concatenate([held, both[:, ~np.isnan(a.nats)]], axis=1)
        while held.shape[1] >= BLOCK:
            yield *held[:, :BLOCK].sum(axis=1).tolist(), BLOCK
            held = held[:, BLOCK:]
    if held.shape[1]:
        yield *held.sum(axis=1).tolist(), held.shape[1]


def _check_alike(this: Checkpoint, other: Checkpoint) -> None:
    """Raise CharrnnError where the two models would not read the same characters."""
    for setting, of_this, of_other in (
        ("corpus.mode", this.config.corpus.mode, other.config.corpus.mode),
        ("corpus.lowercase", this.config.corpus.lowercase, other.config.corpus.lowercase),
    ):
        if of_this != of_other:
            raise CharrnnError(
                f"the models cannot be compared: {setting} is {shown(of_this)} in this one and "
                f"{shown(of_other)} in the other, so they do not read the same characters of a text"
            )


class _Shared:
    """Pieces of a text without the characters that one of the models does not know."""

    def __init__(
        self,
        pieces: Iterable[str],
        this: Checkpoint,
        other: Checkpoint,
        name: str,
        skip_unknown: bool,
    ) -> None:
        self.pieces = pieces
        self.models = {"this model": this.vocab, "the other model": other.vocab}
        self.name = name
        self.skip_unknown = skip_unknown
        self.unknown = 0

    def __iter__(self) -> Iterator[str]:
        known = frozenset(self.models["this model"].chars) & frozenset(
            self.models["the other model"].chars
        )
        position = 0
        for piece in self.pieces:
            shared = "".join(char for char in piece if char in known)
            if len(shared) < len(piece) and not self.skip_unknown:
                index, char = next((i, c) for i, c in enumerate(piece) if c not in known)
                without = next(whose for whose, vocab in self.models.items() if char not in vocab)
                raise VocabError(
                    f"{self.name} has {with_number(char)} at character "
                    f"{position + index + 1:,}, which the training text of {without} did not have",
                    "To leave such characters out for both: --unknown skip",
                )
            self.unknown += len(piece) - len(shared)
            position += len(piece)
            yield shared
