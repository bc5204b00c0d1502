r"""Endless sequences of batches, windows of (T, B) characters, for three kinds of training.

Stream with carried state: the text is cut into B rows of equal length. A window is the next T
characters of every row, and starts from the state at the end of the previous window. At the end of
the rows, all of them start again at their first character and from the zero state.

    text    |----------- row 0 -----------|----------- row 1 -----------|
    window   [T][T][T] ...                 [T][T][T] ...

Stream with zero state: the text is cut into windows end to end, and each starts from the zero
state.

    text    |[T][T][T][T] ...                                            |
    batch     3rd, 1st, 8th, ...  in an order shuffled every epoch

Lines: a batch is B records of similar length, padded to the longest of them, and each starts from
the zero state. The inputs of a record start with a newline and its targets end with one. The loss
masks the padding.

    ids       \n t y r o . .      targets   t y r o \n . .      mask  1 1 1 1 1 0 0
              \n a l l o s a                a l l o s a \n            1 1 1 1 1 1 1

Every epoch contains each line once. The order depends only on the seed and the epoch.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Batch, Ints
from charrnn.config.schema import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.rng import Purpose, generator

Position = dict[str, int]
MAX_EPOCH = 2**53
RESET_BLOCK = 1024  # windows whose resets are drawn together
POOL_BATCHES = 100  # batches whose lines are sorted by length together


class Batches(ABC):
    """An endless sequence of batches with a position that can be saved and restored.

    `epoch`, `index` and `offset` form the position. A subclass has the last two if it needs them.
    """

    epoch: int
    index: int  # of the batch within the epoch
    offset: int  # of the window within the text or the batch

    def __init__(self, T: int, B: int, **maximums: int) -> None:
        """Go to the first batch. `maximums` are the largest valid `index` and `offset`."""
        self.T, self.B = T, B
        self._maximums = {"epoch": MAX_EPOCH, **maximums}
        self.seek(dict.fromkeys(self._maximums, 0))

    @abstractmethod
    def per_epoch(self) -> int:
        """Return the number of windows in one epoch."""

    @abstractmethod
    def next(self) -> Batch:
        """Return the next window; its `from_zero` is True if it starts from the zero state."""

    def position(self) -> Position:
        """Return the position of the next window."""
        return {name: getattr(self, name) for name in self._maximums}

    def seek(self, position: Position) -> None:
        """Go to a position that `position` returned. Raise ValueError if it is out of range."""
        for name, limit in self._maximums.items():
            if not 0 <= position[name] <= limit:
                raise ValueError(f"{name} {position[name]} is outside the text")
            setattr(self, name, position[name])
        self._start()

    def _start(self) -> None:  # noqa: B027 - a subclass may need no preparation
        """Prepare the batches of this epoch from the current position on."""


class StreamBatches(Batches):
    """Windows of B parallel rows of a stream, with carried state.

    A share `reset` of the windows, drawn at random, starts from the zero state nevertheless.
    """

    def __init__(self, ids: Ints, T: int, B: int, seed: int = 0, reset: float = 0.0) -> None:
        """Cut `ids` (N,) into B rows. Raise CorpusError if they are too short for one window."""
        _check_length(len(ids), T, B)
        self._seed, self._reset = seed, reset
        self._resets: list[bool] = []  # of the windows of a block
        self._block = -1, -1  # its epoch and number
        self.length = len(ids) // B
        self._rows = ids[: self.length * B].reshape(B, self.length)
        super().__init__(T, B, offset=self.length)

    def per_epoch(self) -> int:
        return (self.length - 2) // self.T

    def next(self) -> Batch:
        if self.offset + self.T + 1 >= self.length:
            self.epoch, self.offset = self.epoch + 1, 0
        offset, self.offset = self.offset, self.offset + self.T
        window = self._rows[:, offset : self.offset + 1].T.astype(np.intp, order="C")  # (T + 1, B)
        return Batch(window[:-1], window[1:], from_zero=offset == 0 or self._is_reset(offset))

    def _is_reset(self, offset: int) -> bool:
        """Return whether the window at this offset of this epoch starts from the zero state."""
        block, index = divmod(offset // self.T, RESET_BLOCK)
        if self._block != (self.epoch, block):
            self._block = self.epoch, block
            rng = generator(self._seed, Purpose.RESETS, self.epoch, block)
            self._resets = (rng.random(RESET_BLOCK) < self._reset).tolist()
        return self._resets[index]


def _check_length(N: int, T: int, B: int) -> None:
    """Raise CorpusError if N characters are too few for B rows of T + 2 characters."""
    if N // B < T + 2:
        rows = max(1, N // (T + 2))
        settings = f"--set train.batch_size={rows} --set train.seq_length={min(T, N // rows - 2)}"
        raise CorpusError(
            f"the training text has {N:,} characters, but seq_length {T} with "
            f"batch_size {B} needs {(T + 2) * B:,}",
            f"Make them smaller: {settings}" if N >= 3 else "Give a longer text",
        )


class ZeroStateBatches(Batches):
    """Windows of a stream, each from the zero state, shuffled every epoch."""

    def __init__(self, ids: Ints, T: int, B: int, seed: int) -> None:
        """Cut `ids` (N,) into windows. Raise CorpusError if they are too short for one batch."""
        _check_length(len(ids), T, B)
        self._ids, self._seed = ids, seed
        self._windows = (len(ids) - 1) // T
        self._batches = -(-self._windows // B)
        super().__init__(T, B, index=self._batches)

    def per_epoch(self) -> int:
        return self._batches

    def next(self) -> Batch:
        if self.index == self._batches:
            self.epoch, self.index = self.epoch + 1, 0
            self._start()
        first = self.index * self.B
        self.index += 1
        starts = self._offset + self.T * self._order[first : first + self.B]  # (B,)
        positions = starts + np.arange(self.T).reshape(-1, 1)  # (T, B)
        return Batch(self._ids[positions], self._ids[positions + 1], from_zero=True)

    def _start(self) -> None:
        """Draw the offset of the first window of this epoch and the order of its windows."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        spare = len(self._ids) - 1 - self._windows * self.T
        self._offset = int(rng.integers(spare + 1))
        self._order = rng.permutation(self._windows)


class LineBatches(Batches):
    """Batches of records of similar length, padded and masked."""

    def __init__(self, corpus: Corpus, T: int, B: int, seed: int, dtype: npt.DTypeLike) -> None:
        """Use the training records; one longer than T takes several windows with carried state.

        Raise CorpusError if there are fewer than B.
        """
        assert corpus.records is not None
        if len(corpus.training) < B:
            raise CorpusError(
                f"batch_size {B} is more than the {len(corpus.training):,} training lines",
                f"Use fewer rows: --set train.batch_size={max(1, len(corpus.training))}",
            )
        self._training, self._seed, self._dtype = corpus.training, seed, dtype
        self._records = corpus.records
        self._batches = -(-len(corpus.training) // B)
        max_length = int(np.diff(corpus.records.starts).max())  # of all records
        self._windowed = max_length > T
        super().__init__(T, B, index=self._batches - 1, offset=max_length + T)

    def per_epoch(self) -> int:
        if not self._windowed:
            return self._batches
        return sum(-(-self._length_of(record_ids) // self.T) for record_ids in self._shuffled())

    def next(self) -> Batch:
        if self.offset >= self._length:
            self.index, self.offset = self.index + 1, 0
            if self.index == self._batches:
                self.epoch, self.index = self.epoch + 1, 0
                self._start()
            else:
                self._load()
        from_zero = self.offset == 0
        ids, targets, mask = self._records.padded(self._record_ids, self.offset, self.T)
        self.offset += self.T
        return Batch(ids, targets, None if mask.all() else mask.astype(self._dtype), from_zero)

    def _start(self) -> None:
        """Shuffle the lines of this epoch and load the batch at `index`."""
        pool, skipped = divmod(self.index, POOL_BATCHES)
        self._upcoming = itertools.islice(self._shuffled(pool), skipped, None)
        self._load()

    def _load(self) -> None:
        """Load the next batch of this epoch."""
        self._record_ids = next(self._upcoming)
        self._length = self._length_of(self._record_ids)

    def _length_of(self, record_ids: Ints) -> int:
        """Return the length of the longest of these records."""
        return int(self._records.lengths(record_ids).max())

    def _shuffled(self, first_pool: int = 0) -> Iterator[Ints]:
        """Yield the record ids (B,) of every batch of this epoch, from a pool on.

        The lines of a pool are sorted by length and cut into batches, which are shuffled.
        """
        order = generator(self._seed, Purpose.ORDER, self.epoch).permutation(self._training)
        size = POOL_BATCHES * self.B
        for pool in range(first_pool, -(-self._batches // POOL_BATCHES)):
            record_ids = order[pool * size : (pool + 1) * size]
            record_ids = record_ids[np.argsort(self._records.lengths(record_ids), kind="stable")]
            batches = [record_ids[i : i + self.B] for i in range(0, len(record_ids), self.B)]
            rng = generator(self._seed, Purpose.ORDER, self.epoch, pool)
            yield from (batches[i] for i in rng.permutation(len(batches)))


def make_batches(corpus: Corpus, config: TrainConfig, seed: int, dtype: npt.DTypeLike) -> Batches:
    """Return the batches for this corpus and config. Raise CorpusError if it is too short."""
    B = config.batch_size
    if corpus.records is not None:
        return LineBatches(corpus, config.window("lines"), B, seed, dtype)
    if config.state == "zero":
        return ZeroStateBatches(corpus.training, config.window("stream"), B, seed)
    return StreamBatches(corpus.training, config.window("stream"), B, seed, config.state_reset)
