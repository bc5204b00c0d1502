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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ints
from charrnn.config.schema import CorpusConfig
from charrnn.data.cache import Part
from charrnn.data.ids import Encoded, Text
from charrnn.data.store import BLOCK, Row, Writer
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError
from charrnn.rng import Purpose, generator, mix

AT_ONCE = 4 * BLOCK  # lines whose ranks are held in memory


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

    What is large of it is on disk and mapped (see `ids`).
    """

    vocab: Vocab
    training: Ints
    validation: Ints
    sha256: str
    records: Records | None = None  # of a corpus of lines
    notices: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()  # all that may be mapped

    def in_memory(self) -> Corpus:
        """The same, all of it in memory: for a process that has not got its files."""
        return replace(self, rows=())


def read(
    config: CorpusConfig,
    seed: int,
    vocab: Vocab | None = None,
    known_sha256: str | None = None,
    extend: bool = False,
) -> Corpus:
    """Read, encode and split the text of a config.

    `vocab` is that of an earlier run on this text, and `known_sha256` what its bytes hashed to
    then; with `extend`, the vocabulary is that one and whatever else the text has. Raises
    CorpusError.
    """
    with closing(Text(config)) as text:
        if config.sha256 is not None and text.sha256 != config.sha256:
            raise CorpusError(
                f"{text.names} has sha256 {text.sha256}, but corpus.sha256 asks for "
                f"{config.sha256}. Take the setting out if this is the text you mean"
            )
        if known_sha256 is not None and text.sha256 != known_sha256:
            raise CorpusError(
                f"{text.names} has changed since the model was trained on it, so it no longer "
                "tells what the model has seen"
            )
        encoded = text.encode(vocab, extend)
        cut = _cut_stream if config.mode == "stream" else _cut_lines
        return cut(text, encoded, config, seed)


def _cut_stream(text: Text, encoded: Encoded, config: CorpusConfig, seed: int) -> Corpus:
    ids, share = encoded.ids.numbers, config.validation
    cut = int(len(ids) * (1 - share))  # as peers cut: tinyshakespeare's end is 111,540
    if len(ids) - cut == 1:
        raise CorpusError(
            f"{text.names} has {len(ids):,} characters, so its validation part of "
            f"{share:g} is a single one, and two are needed to score anything",
            "Give a longer text, or none for validation: --set corpus.validation=0",
        )
    return Corpus(
        encoded.vocab,
        ids[:cut],
        ids[cut:],
        text.sha256,
        notices=tuple(text.notices()),
        rows=(encoded.ids,),
    )


def _cut_lines(text: Text, encoded: Encoded, config: CorpusConfig, seed: int) -> Corpus:
    assert encoded.starts is not None
    assert encoded.sums is not None
    sums, share, together = encoded.sums, config.validation, config.copies == "together"
    lines, notices = len(sums.numbers), text.notices()
    if encoded.ids.mapping is None:
        parts = split(sums, share, seed, None, together)
    else:
        with closing(Part()) as part:
            parts = split(sums, share, seed, part.path, together)
    training, validation, different = parts
    if encoded.blank:
        notices.append(f"{text.names} has {encoded.blank:,} empty lines; they are left out")
    if different < lines:  # never where copies may part: their ranks differ
        notices.append(
            f"{text.names} has {lines - different:,} repeated lines; "
            "all copies of a line are kept on the same side of the split"
        )
    if round(lines * share) and not (len(training.numbers) and len(validation.numbers)):
        raise CorpusError(
            f"{text.names} has {different:,} different lines, too few to hold out "
            f"{share:g} of them",
            "Give more lines, or none for validation: --set corpus.validation=0",
        )
    return Corpus(
        encoded.vocab,
        training.numbers,
        validation.numbers,
        text.sha256,
        Records(encoded.ids.numbers, encoded.starts.numbers),
        tuple(notices),
        (encoded.ids, encoded.starts, training, validation),
    )


class Split(NamedTuple):
    """The numbers of the lines of each part, in the order of the text."""

    training: Row
    validation: Row
    different: int  # lines, copies not counted


def split(sums: Row, share: float, seed: int, place: Path | None, together: bool = True) -> Split:
    """Hold out `share` of the lines with these hashes; the parts are kept in `place`, if given."""
    lines = len(sums.numbers)
    key = generator(seed, Purpose.SPLIT).integers(0, 2**63, dtype=np.uint64)
    room = round(lines * share)
    different = 0
    taken: list[Ints] = [np.empty(0, dtype=np.uint64)]
    for ranks in _in_order(sums, key, together):
        groups, sizes = np.unique(ranks, return_counts=True)
        different += len(groups)
        while room and len(groups):
            fitting = sizes <= room
            groups, sizes = groups[fitting], sizes[fitting]
            count = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
            taken.append(groups[:count])
            room -= int(sizes[:count].sum())
            groups, sizes = groups[count:], sizes[count:]
    held_out = np.sort(np.concatenate(taken))
    parts = [Writer(place and place / name, np.int64) for name in ("training", "validation")]
    start = 0
    for ranks in _ranks(sums, key, together):
        inside = np.zeros(len(ranks), dtype=bool)
        if len(held_out):
            inside = held_out.take(np.searchsorted(held_out, ranks), mode="clip") == ranks
        for part, side in zip(parts, (~inside, inside), strict=True):
            part.add(np.flatnonzero(side) + start)
        start += len(ranks)
    return Split(parts[0].row(), parts[1].row(), different)


def _ranks(sums: Row, key: np.uint64, together: bool) -> Iterator[Ints]:
    start = 0
    for block in sums.blocks():
        of_line: Ints = block ^ key
        if not together:
            of_line = of_line + mix(np.arange(start, start + len(block), dtype=np.uint64))
        start += len(block)
        yield mix(of_line)


def _in_order(sums: Row, key: np.uint64, together: bool) -> Iterator[Ints]:
    """All ranks, those of one range after those of another, a few million at a time."""
    parts = -(-len(sums.numbers) // AT_ONCE)
    for part in range(parts):
        low, high = (np.uint64(((1 << 64) - 1) * n // parts) for n in (part, part + 1))
        some = [
            ranks if parts == 1 else ranks[(ranks >= low) & ((ranks < high) | (part == parts - 1))]
            for ranks in _ranks(sums, key, together)
        ]
        yield np.concatenate(some)
