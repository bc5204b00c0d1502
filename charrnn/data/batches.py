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
POOL_BATCHES = 100  # batches whose lines are sorted by length together


class Batches(ABC):
    """An endless row of batches that can tell and take its position.

    `epoch`, `index` and `offset` are the numbers of a position; a kind of batches has the last two
    where it needs them.
    """

    epoch: int
    index: int  # of the batch within the epoch
    offset: int  # of the window within the text or the batch

    def __init__(self, T: int, B: int, **limits: int) -> None:
        """Go to the beginning. `limits` are the largest `index` and `offset` of a position."""
        self.T, self.B = T, B
        self._limits = {"epoch": MAX_EPOCH, **limits}
        self.seek(dict.fromkeys(self._limits, 0))

    @abstractmethod
    def per_epoch(self) -> int:
        """Windows that one pass over the training text takes."""

    @abstractmethod
    def next(self) -> Batch:
        """The next window; `from_zero` says that it starts from the zero state."""

    def position(self) -> Position:
        """Where the next window is, as plain numbers."""
        return {name: getattr(self, name) for name in self._limits}

    def seek(self, position: Position) -> None:
        """Go to a position that `position` once told. Raises ValueError for one it cannot tell."""
        for name, limit in self._limits.items():
            if not 0 <= position[name] <= limit:
                raise ValueError(f"{name} {position[name]} is outside the text")
            setattr(self, name, position[name])
        self._start()

    def _start(self) -> None:  # noqa: B027 - most have something to do
        """Make ready to go on in this epoch."""


class StreamBatches(Batches):
    """B parallel readers with carried state."""

    def __init__(self, ids: Ints, T: int, B: int) -> None:
        """`ids` (N,). Raises CorpusError when the text is too short for one window."""
        _check_length(len(ids), T, B)
        self.length = len(ids) // B
        self._rows = ids[: self.length * B].reshape(B, self.length)  # reader b walks along row b
        super().__init__(T, B, offset=self.length)

    def per_epoch(self) -> int:
        return (self.length - 2) // self.T

    def next(self) -> Batch:
        if self.offset + self.T + 1 >= self.length:
            self.epoch, self.offset = self.epoch + 1, 0
        offset, self.offset = self.offset, self.offset + self.T
        window = self._rows[:, offset : self.offset + 1].T.astype(np.intp, order="C")  # (T + 1, B)
        return Batch(window[:-1], window[1:], from_zero=offset == 0)


def _check_length(N: int, T: int, B: int) -> None:
    if N // B < T + 2:
        rows = max(1, N // (T + 2))
        smaller = f"--set train.batch_size={rows} --set train.seq_length={min(T, N // rows - 2)}"
        raise CorpusError(
            f"the training text has {N:,} characters, but seq_length {T} with "
            f"batch_size {B} needs {(T + 2) * B:,}",
            f"Make them smaller: {smaller}" if N >= 3 else "Give a longer text",
        )


class ZeroStateBatches(Batches):
    """Windows of a stream, each from the zero state, in an order shuffled every epoch."""

    def __init__(self, ids: Ints, T: int, B: int, seed: int) -> None:
        """`ids` (N,). Raises CorpusError when the text is too short for one batch."""
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
        places = starts + np.arange(self.T).reshape(-1, 1)  # (T, B)
        return Batch(self._ids[places], self._ids[places + 1], from_zero=True)

    def _start(self) -> None:
        """Let this epoch's windows lie end to end from a random place on, and have an order."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        spare = len(self._ids) - 1 - self._windows * self.T
        self._offset = int(rng.integers(spare + 1))
        self._order = rng.permutation(self._windows)


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
        self._training, self._seed, self._dtype = corpus.training, seed, dtype
        self._records = corpus.records
        self._batches = -(-len(corpus.training) // B)
        longest = int(np.diff(corpus.records.starts).max())  # of any record
        self._cut = longest > T
        super().__init__(T, B, index=self._batches - 1, offset=longest + T)

    def per_epoch(self) -> int:
        if not self._cut:
            return self._batches
        return sum(-(-self._longest_of(which) // self.T) for which in self._shuffled())

    def next(self) -> Batch:
        if self.offset >= self._longest:
            self.index, self.offset = self.index + 1, 0
            if self.index == self._batches:
                self.epoch, self.index = self.epoch + 1, 0
                self._start()
            else:
                self._load()
        from_zero = self.offset == 0
        ids, targets, inside = self._records.padded(self._which, self.offset, self.T)
        self.offset += self.T
        return Batch(ids, targets, None if inside.all() else inside.astype(self._dtype), from_zero)

    def _start(self) -> None:
        """Shuffle this epoch's lines, and load the batch at `index`."""
        pool, skipped = divmod(self.index, POOL_BATCHES)
        self._coming = itertools.islice(self._shuffled(pool), skipped, None)
        self._load()

    def _load(self) -> None:
        self._which = next(self._coming)
        self._longest = self._longest_of(self._which)

    def _longest_of(self, which: Ints) -> int:
        return int(self._records.lengths(which).max())

    def _shuffled(self, pool: int = 0) -> Iterator[Ints]:
        """This epoch's batches from a pool on: its lines sorted by length, cut, and shuffled."""
        order = generator(self._seed, Purpose.ORDER, self.epoch).permutation(self._training)
        size = POOL_BATCHES * self.B
        for number in range(pool, -(-self._batches // POOL_BATCHES)):
            records = order[number * size : (number + 1) * size]
            records = records[np.argsort(self._records.lengths(records), kind="stable")]
            batches = [records[i : i + self.B] for i in range(0, len(records), self.B)]
            rng = generator(self._seed, Purpose.ORDER, self.epoch, number)
            yield from (batches[i] for i in rng.permutation(len(batches)))


def make_batches(corpus: Corpus, config: TrainConfig, seed: int, dtype: npt.DTypeLike) -> Batches:
    """The batches that a corpus and a config make. Raises CorpusError."""
    B = config.batch_size
    if corpus.records is not None:
        return LineBatches(corpus, config.window("lines"), B, seed, dtype)
    if config.state == "zero":
        return ZeroStateBatches(corpus.training, config.window("stream"), B, seed)
    return StreamBatches(corpus.training, config.window("stream"), B)
