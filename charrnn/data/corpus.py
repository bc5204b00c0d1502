"""Encodes a text and splits it into a training and a validation part.

`stream` is running text; its end is the validation part. `lines` is one record per line; random
lines are the validation part. The inputs of a record are a newline and its characters, its targets
are its characters and the closing newline.

The rank of a line is a hash of the seed and the line, so copies of a line have equal ranks. Groups
of equal lines go to the validation part in the order of their ranks. A group that is too large for
the rest of that part stays in training. With `corpus.duplicates: independent` the rank also depends
on the line number, so copies can go to different parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ints
from charrnn.config.schema import CorpusConfig
from charrnn.data.ids import CorpusText
from charrnn.data.line_hashes import BLOCK, line_hashes, line_starts
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError
from charrnn.rng import Purpose, generator, mix


@dataclass(frozen=True)
class Records:
    """Lines of unequal length in one array of ids: a newline, then each line and its newline.

    Record r is `ids[starts[r] : starts[r+1]]`, with its closing newline. The newline that opens it
    is at `starts[r] - 1`.
    """

    ids: Ints  # (N,)
    starts: Ints  # (R + 1,)

    @classmethod
    def of(cls, lines: Sequence[str], encode: Callable[[str], Ints]) -> Records:
        """Return the records of these lines, which must not be empty or contain newlines."""
        starts = np.cumsum([1, *(len(line) + 1 for line in lines)])
        return cls(encode("\n" + "\n".join(lines) + "\n"), starts)

    def lengths(self, record_ids: Ints) -> Ints:
        """Return the number of characters of each record, with its closing newline."""
        lengths: Ints = self.starts[record_ids + 1] - self.starts[record_ids]
        return lengths

    def padded(
        self, record_ids: Ints, offset: int = 0, steps: int | None = None
    ) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Return inputs, targets and mask of these B records, each (T, B).

        T is the length of the longest record. With `steps`, return only that many time steps from
        `offset` on.
        """
        lengths = self.lengths(record_ids)
        stop = int(lengths.max()) if steps is None else min(offset + steps, int(lengths.max()))
        times = np.arange(offset, stop).reshape(-1, 1)  # (T, 1)
        mask = times < lengths  # (T, B)
        positions = np.where(mask, self.starts[record_ids] + times, 1)
        return self.ids[positions - 1], self.ids[positions], mask


@dataclass(frozen=True)
class Corpus:
    """An encoded text and its two parts: ids of a stream, or indices of `records`.

    The ids of a large text are memory-mapped (see `ids.py`); after unpickling they are in memory.
    """

    vocab: Vocab
    training: Ints
    validation: Ints
    sha256: str
    records: Records | None = None  # only in mode `lines`
    notices: tuple[str, ...] = ()

    def chars(self) -> tuple[int, int]:
        """Return the number of characters of the training and of the validation part."""
        parts = self.training, self.validation
        if self.records is None:
            return len(parts[0]), len(parts[1])
        training, validation = (int(self.records.lengths(part).sum()) for part in parts)
        return training, validation


def read_corpus(
    config: CorpusConfig,
    seed: int,
    vocab: Vocab | None = None,
    expected_sha256: str | None = None,
    extend: bool = False,
) -> Corpus:
    """Read, encode and split the text of a config.

    `vocab` is the vocabulary of an earlier run; with `extend`, new characters of the text are added
    to it. `expected_sha256` is the checksum of the text in that run. Raise CorpusError if the text
    cannot be read or split or has another checksum, and VocabError if `vocab` lacks a character.
    """
    with closing(CorpusText(config)) as text:
        text.read()
        if config.sha256 is not None and text.sha256 != config.sha256:
            raise CorpusError(
                f"{text.name} has sha256 {text.sha256}, but corpus.sha256 is "
                f"{config.sha256}. To use this text, remove that setting from the config"
            )
        if expected_sha256 is not None and text.sha256 != expected_sha256:
            raise CorpusError(
                f"{text.name} has changed since the model was trained on it, so it is no longer "
                "the model's training text"
            )
        vocab, ids = text.encode(vocab, extend)
        if config.mode == "stream":
            return _cut_stream(text, vocab, ids)
        return _cut_lines(text, vocab, ids, seed)


def _cut_stream(text: CorpusText, vocab: Vocab, ids: Ints) -> Corpus:
    """Split a stream: its end is the validation part. Raise CorpusError if that is too short."""
    share = text.config.validation
    # The cut of other programs: they hold out the last 111,540 characters of tinyshakespeare.
    cut = int(len(ids) * (1 - share))
    if len(ids) - cut == 1:
        raise CorpusError(
            f"{text.name} has {len(ids):,} characters, so its validation part of "
            f"{share:g} is a single character, but scoring needs at least two",
            "Give a longer text, or hold out nothing: --set corpus.validation=0",
        )
    return Corpus(vocab, ids[:cut], ids[cut:], text.sha256, notices=tuple(text.notices))


def _cut_lines(text: CorpusText, vocab: Vocab, ids: Ints, seed: int) -> Corpus:
    """Split lines at random. Raise CorpusError if either part is empty but should not be."""
    share, together = text.config.validation, text.config.duplicates == "together"
    starts = line_starts(ids, vocab.chars.index("\n"))
    lines, notices = len(starts) - 1, [*text.notices]
    training, validation, distinct = split(line_hashes(ids, starts, vocab), share, seed, together)
    if distinct < lines:  # only if together: otherwise all ranks differ
        notices.append(
            f"{text.name} has {lines - distinct:,} repeated lines; "
            "all copies of a line are kept on the same side of the split"
        )
    if round(lines * share) and not (len(training) and len(validation)):
        raise CorpusError(
            f"{text.name} has {distinct:,} distinct lines, too few to hold out {share:g} of them",
            "Give more lines, or hold out nothing: --set corpus.validation=0",
        )
    records = Records(ids, starts)
    return Corpus(vocab, training, validation, text.sha256, records, tuple(notices))


class Split(NamedTuple):
    """The line indices of each part, in the order of the text."""

    training: Ints
    validation: Ints
    distinct: int  # number of distinct ranks


def split(hashes: Ints, share: float, seed: int, together: bool = True) -> Split:
    """Hold out `share` of the lines with these hashes (R,).

    With `together`, all copies of a line go to the same part.
    """
    key = generator(seed, Purpose.SPLIT).integers(0, 2**63, dtype=np.uint64)
    ranks = np.empty_like(hashes)
    for start in range(0, len(ranks), BLOCK):
        keyed = hashes[start : start + BLOCK] ^ key
        if not together:
            keyed += mix(np.arange(start, start + len(keyed), dtype=np.uint64))
        ranks[start : start + BLOCK] = mix(keyed)
    remaining = round(len(ranks) * share)  # lines still to hold out
    distinct = 0
    taken: list[Ints] = [np.array([2**64 - 1], dtype=np.uint64)]  # ends every search below
    for groups, sizes in _groups(ranks):
        distinct += len(groups)
        while len(groups):
            fitting = sizes <= remaining
            groups, sizes = groups[fitting], sizes[fitting]
            count = int(np.searchsorted(np.cumsum(sizes), remaining, side="right"))
            taken.append(groups[:count])
            remaining -= int(sizes[:count].sum())
            groups, sizes = groups[count:], sizes[count:]
    held_out = np.concatenate(taken)
    held_out.sort()
    mask = np.zeros(len(ranks), dtype=bool)  # True for the lines of the validation part
    for start in range(0, len(ranks), BLOCK):
        block = ranks[start : start + BLOCK]
        mask[start : start + BLOCK] = held_out[np.searchsorted(held_out, block)] == block
    return Split(np.flatnonzero(~mask), np.flatnonzero(mask), distinct)


def _groups(ranks: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield the distinct ranks in ascending order and their counts, about `BLOCK` at a time."""
    ordered = np.sort(ranks)
    while len(ordered):
        stop = int(np.searchsorted(ordered, ordered[:BLOCK][-1], side="right"))
        yield np.unique(ordered[:stop], return_counts=True)
        ordered = ordered[stop:]
