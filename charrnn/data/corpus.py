"""A corpus is a text turned into ids, cut into a training and a validation part.

`stream` is running text; its validation part is the last piece. `lines` is one record a line; its
validation part is random lines, with all copies of a line on the same side. A record is read after
a newline and ends with one: its inputs are that newline and its characters, its targets its
characters and its own newline.

Each line has a rank, a hash of the seed and of the line, so copies have the same. Groups of equal
lines are taken in the order of their ranks, as long as they fit; one that is too large is left to
training. Where copies may part, the line's number is a part of its rank.
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
    """Lines of unequal length in one row of ids: a newline, then each line with its newline.

    Record r is `ids[starts[r] : starts[r+1]]`, closing newline included; before it stands the
    newline that opens it.
    """

    ids: Ints  # (N,)
    starts: Ints  # (R + 1,)

    @classmethod
    def of(cls, lines: Sequence[str], encode: Callable[[str], Ints]) -> Records:
        """The records of these lines, none of them empty or with a newline of its own."""
        starts = np.cumsum([1, *(len(line) + 1 for line in lines)])
        return cls(encode("\n" + "\n".join(lines) + "\n"), starts)

    def lengths(self, which: Ints) -> Ints:
        """Characters of each of these records, its closing newline included."""
        lengths: Ints = self.starts[which + 1] - self.starts[which]
        return lengths

    def padded(
        self, which: Ints, at: int = 0, steps: int | None = None
    ) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Inputs, targets and mask, each (T, B), of these B records; T is the longest.

        Or only `steps` of them, from `at` on.
        """
        lengths = self.lengths(which)
        stop = int(lengths.max()) if steps is None else min(at + steps, int(lengths.max()))
        times = np.arange(at, stop).reshape(-1, 1)  # (T, 1)
        inside = times < lengths  # (T, B)
        places = np.where(inside, self.starts[which] + times, 1)
        return self.ids[places - 1], self.ids[places], inside


@dataclass(frozen=True)
class Corpus:
    """An encoded text and its two parts: ids of a stream, or numbers of `records`.

    The ids of a large text are in a mapped file (see `ids`); pickled, they are all in memory.
    """

    vocab: Vocab
    training: Ints
    validation: Ints
    sha256: str
    records: Records | None = None  # of a corpus of lines
    notices: tuple[str, ...] = ()


def read_corpus(
    config: CorpusConfig,
    seed: int,
    vocab: Vocab | None = None,
    expected_sha256: str | None = None,
    extend: bool = False,
) -> Corpus:
    """Read, encode and split the text of a config.

    `vocab` is that of an earlier run on this text, and `expected_sha256` what its bytes hashed to
    then; with `extend`, the vocabulary is that one and whatever else the text has. Raises
    CorpusError.
    """
    with closing(CorpusText(config)) as text:
        text.read()
        if config.sha256 is not None and text.sha256 != config.sha256:
            raise CorpusError(
                f"{text.name} has sha256 {text.sha256}, but corpus.sha256 asks for "
                f"{config.sha256}. Take the setting out if this is the text you mean"
            )
        if expected_sha256 is not None and text.sha256 != expected_sha256:
            raise CorpusError(
                f"{text.name} has changed since the model was trained on it, so it no longer "
                "tells what the model has seen"
            )
        vocab, ids = text.encode(vocab, extend)
        if config.mode == "stream":
            return _cut_stream(text, vocab, ids)
        return _cut_lines(text, vocab, ids, seed)


def _cut_stream(text: CorpusText, vocab: Vocab, ids: Ints) -> Corpus:
    share = text.config.validation
    cut = int(len(ids) * (1 - share))  # as peers cut: tinyshakespeare's end is 111,540
    if len(ids) - cut == 1:
        raise CorpusError(
            f"{text.name} has {len(ids):,} characters, so its validation part of "
            f"{share:g} is a single one, and two are needed to score anything",
            "Give a longer text, or none for validation: --set corpus.validation=0",
        )
    return Corpus(vocab, ids[:cut], ids[cut:], text.sha256, notices=tuple(text.notices))


def _cut_lines(text: CorpusText, vocab: Vocab, ids: Ints, seed: int) -> Corpus:
    share, together = text.config.validation, text.config.duplicates == "together"
    starts = line_starts(ids, vocab.chars.index("\n"))
    lines, notices = len(starts) - 1, [*text.notices]
    training, validation, different = split(line_hashes(ids, starts, vocab), share, seed, together)
    if different < lines:  # never where copies may part: their ranks differ
        notices.append(
            f"{text.name} has {lines - different:,} repeated lines; "
            "all copies of a line are kept on the same side of the split"
        )
    if round(lines * share) and not (len(training) and len(validation)):
        raise CorpusError(
            f"{text.name} has {different:,} different lines, too few to hold out {share:g} of them",
            "Give more lines, or none for validation: --set corpus.validation=0",
        )
    records = Records(ids, starts)
    return Corpus(vocab, training, validation, text.sha256, records, tuple(notices))


class Split(NamedTuple):
    """The numbers of the lines of each part, in the order of the text."""

    training: Ints
    validation: Ints
    different: int  # lines, copies not counted


def split(hashes: Ints, share: float, seed: int, together: bool = True) -> Split:
    """Hold out `share` of the lines with these hashes (R,)."""
    key = generator(seed, Purpose.SPLIT).integers(0, 2**63, dtype=np.uint64)
    ranks = np.empty_like(hashes)
    for at in range(0, len(ranks), BLOCK):
        of_line = hashes[at : at + BLOCK] ^ key
        if not together:
            of_line += mix(np.arange(at, at + len(of_line), dtype=np.uint64))
        ranks[at : at + BLOCK] = mix(of_line)
    room = round(len(ranks) * share)
    different = 0
    taken: list[Ints] = [np.array([2**64 - 1], dtype=np.uint64)]  # where a search ends at last
    for groups, sizes in _groups(ranks):
        different += len(groups)
        while len(groups):
            fitting = sizes <= room
            groups, sizes = groups[fitting], sizes[fitting]
            count = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
            taken.append(groups[:count])
            room -= int(sizes[:count].sum())
            groups, sizes = groups[count:], sizes[count:]
    held_out = np.concatenate(taken)
    held_out.sort()
    inside = np.zeros(len(ranks), dtype=bool)
    for at in range(0, len(ranks), BLOCK):
        block = ranks[at : at + BLOCK]
        inside[at : at + BLOCK] = held_out[np.searchsorted(held_out, block)] == block
    return Split(np.flatnonzero(~inside), np.flatnonzero(inside), different)


def _groups(ranks: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The different ranks in order, and how often each is there, about a million at a time."""
    ordered = np.sort(ranks)
    while len(ordered):
        stop = int(np.searchsorted(ordered, ordered[:BLOCK][-1], side="right"))
        yield np.unique(ordered[:stop], return_counts=True)
        ordered = ordered[stop:]
