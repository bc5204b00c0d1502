r"""Windows of (T, B) characters, one after another, for ever.

A stream with carried state: B readers walk through the text side by side, each through its own
B-th of it, and the state at the end of a window is where the next one starts. At the end of the
text all of them go back to their beginnings and to the zero state.

    text    |----------- row 0 -----------|----------- row 1 -----------|
    window   [T][T][T] ...                 [T][T][T] ...

A stream with zero state: the windows lie end to end, and each is read on its own.

    text    |[T][T][T][T] ...                                            |
    batch     3rd, 1st, 8th, ...  in an order shuffled every epoch

Lines: a batch is B records of similar length, padded to the longest of them, all from the zero
state. A record is read after a newline and ends with one; padding is masked out of the loss.

    ids       \n t y r o . .      targets   t y r o \n . .      mask  1 1 1 1 1 0 0
              \n a l l o s a                a l l o s a \n            1 1 1 1 1 1 1

Every epoch sees each line once, in an order that only the seed and the epoch decide.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Batch, Ints
from charrnn.config.schema import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.rng import Purpose, generator

Position = dict[str, int]
MAX_EPOCH = 2**53
POOL = 100  # batches whose lines are sorted by length together


class Batches(ABC):
    """An endless row of batches that can tell and take its position."""

    epoch = 0

    @abstractmethod
    def per_epoch(self) -> int:
        """Windows that one pass over the training text takes."""

    @abstractmethod
    def next(self) -> Batch:
        """The next window; `fresh` says that it starts from the zero state."""

    @abstractmethod
    def position(self) -> Position:
        """Where the next window is, as plain numbers."""

    @abstractmethod
    def seek(self, position: Position) -> None:
        """Go to a position that `position` once told."""


class StreamBatches(Batches):
    """B parallel readers with carried state."""

    def __init__(self, ids: Ints, T: int, B: int) -> None:
        """`ids` (N,). Raises CorpusError when the text is too short for one window."""
        _check_length(len(ids), T, B)
        self.T, self.B = T, B
        self.length = len(ids) // B
        self._rows = ids[: self.length * B].reshape(B, self.length)  # reader b walks along row b
        self._at = 0

    def per_epoch(self) -> int:
        return (self.length - 2) // self.T

    def next(self) -> Batch:
        at, T = self._at, self.T
        if at + T + 1 >= self.length:
            self.epoch += 1
            at = 0
        self._at = at + T
        window = self._rows[:, at : at + T + 1].T.astype(np.intp, order="C")  # (T + 1, B)
        return Batch(window[:-1], window[1:], fresh=at == 0)

    def position(self) -> Position:
        return {"epoch": self.epoch, "at": self._at}

    def seek(self, position: Position) -> None:
        _check_inside(position, at=self.length)
        self.epoch, self._at = position["epoch"], position["at"]


def _check_inside(position: Position, **limits: int) -> None:
    """Raise ValueError for a position that no run can have had."""
    for name, limit in {"epoch": MAX_EPOCH, **limits}.items():
        if not 0 <= position[name] <= limit:
            raise ValueError(f"{name} {position[name]} is outside the text")


def _check_length(N: int, T: int, B: int) -> None:
    if N // B < T + 2:
        raise CorpusError(
            f"the training text has {N:,} characters, but seq_length {T} with "
            f"batch_size {B} needs {(T + 2) * B:,}",
            _largest(N, T, B),
        )


def _largest(N: int, T: int, B: int) -> str:
    """The setting that would make a text of N characters fit."""
    if N // B >= 3:
        return f"Shorten the windows: --set train.seq_length={N // B - 2}"
    if N >= 3:
        rows = max(1, N // (T + 2))
        length = min(T, N // rows - 2)
        return f"Use fewer rows: --set train.batch_size={rows} --set train.seq_length={length}"
    return "Give a longer text"


class ZeroBatches(Batches):
    """Windows of a stream, each from the zero state, in an order shuffled every epoch."""

    def __init__(self, ids: Ints, T: int, B: int, seed: int) -> None:
        """`ids` (N,). Raises CorpusError when the text is too short for one batch."""
        _check_length(len(ids), T, B)
        self.T, self.B = T, B
        self._ids, self._seed = ids, seed
        self._index = 0  # of the batch within the epoch
        self._shuffle()

    def per_epoch(self) -> int:
        return -(-len(self._order) // self.B)

    def next(self) -> Batch:
        first = self._index * self.B
        if first >= len(self._order):
            self.epoch, self._index, first = self.epoch + 1, 0, 0
            self._shuffle()
        which = self._order[first : first + self.B]
        self._index += 1
        places = self._first + self.T * which + np.arange(self.T).reshape(-1, 1)  # (T, B)
        return Batch(self._ids[places], self._ids[places + 1], fresh=True)

    def position(self) -> Position:
        return {"epoch": self.epoch, "index": self._index}

    def seek(self, position: Position) -> None:
        _check_inside(position, index=self.per_epoch())
        self.epoch, self._index = position["epoch"], position["index"]
        self._shuffle()

    def _shuffle(self) -> None:
        """This epoch's windows lie end to end from a random place on, and have an order."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        count = (len(self._ids) - 1) // self.T
        spare = len(self._ids) - 1 - count * self.T
        self._first = int(rng.integers(spare + 1))
        self._order = rng.permutation(count)


class LineBatches(Batches):
    """Records of similar length, padded and masked."""

    def __init__(self, corpus: Corpus, T: int, B: int, seed: int, dtype: npt.DTypeLike) -> None:
        """Records longer than T are read in several windows with carried state."""
        assert corpus.records is not None
        if len(corpus.training) < B:
            raise CorpusError(
                f"batch_size {B} is more than the {len(corpus.training):,} training lines",
                f"Use fewer rows: --set train.batch_size={max(1, len(corpus.training))}",
            )
        self.T, self.B = T, B
        self._training, self._seed, self._dtype = corpus.training, seed, dtype
        self._records = corpus.records
        self._count = -(-len(corpus.training) // B)  # batches an epoch
        self._cut = int(np.diff(corpus.records.starts).max()) > T  # of any record
        self._index = 0  # of the batch within the epoch
        self._at = 0  # of the window within the batch
        self._shuffle()

    def per_epoch(self) -> int:
        if not self._cut:
            return self._count
        lengths = (
            int(self._records.lengths(batch).max())
            for number in range(-(-self._count // POOL))
            for batch in self._pool(number)
        )
        return sum(-(-length // self.T) for length in lengths)

    def next(self) -> Batch:
        if self._at >= self._longest:
            self._index, self._at = self._index + 1, 0
            if self._index == self._count:
                self.epoch, self._index = self.epoch + 1, 0
                self._shuffle()
            else:
                self._load()
        fresh = self._at == 0
        ids, targets, inside = self._records.padded(self._which, self._at, self.T)
        self._at += self.T
        return Batch(ids, targets, None if inside.all() else inside.astype(self._dtype), fresh)

    def position(self) -> Position:
        return {"epoch": self.epoch, "index": self._index, "at": self._at}

    def seek(self, position: Position) -> None:
        _check_inside(position, index=self._count - 1)
        self.epoch, self._index = position["epoch"], position["index"]
        self._shuffle()
        _check_inside(position, at=self._longest + self.T)
        self._at = position["at"]

    def _shuffle(self) -> None:
        """Give this epoch's lines an order."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        self._order = rng.permutation(self._training)
        self._loaded = -1
        self._load()

    def _load(self) -> None:
        """Look up the records of the batch that `_index` tells."""
        number, place = divmod(self._index, POOL)
        if number != self._loaded:
            self._loaded, self._batches = number, self._pool(number)
        self._which = self._batches[place]
        self._longest = int(self._records.lengths(self._which).max())

    def _pool(self, number: int) -> list[Ints]:
        """The batches of a pool: its lines sorted by length, cut, and the pieces shuffled."""
        size = POOL * self.B
        records = self._order[number * size : (number + 1) * size]
        records = records[np.argsort(self._records.lengths(records), kind="stable")]
        batches = [records[i : i + self.B] for i in range(0, len(records), self.B)]
        rng = generator(self._seed, Purpose.ORDER, self.epoch, number)
        return [batches[i] for i in rng.permutation(len(batches))]


def of(corpus: Corpus, config: TrainConfig, seed: int, dtype: npt.DTypeLike) -> Batches:
    """The batches that a corpus and a config make. Raises CorpusError."""
    B = config.batch_size
    if corpus.records is not None:
        return LineBatches(corpus, config.window("lines"), B, seed, dtype)
    if config.state == "zero":
        return ZeroBatches(corpus.training, config.window("stream"), B, seed)
    return StreamBatches(corpus.training, config.window("stream"), B)
