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

from charrnn.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.model import Batch
from charrnn.params import Ints
from charrnn.randomness import Purpose, generator
from charrnn.settings import TrainConfig

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
        length = len(ids) // B
        self.T, self.B = T, B
        # (length, B): reader b walks down column b. One reader walks over the ids as they are.
        self._columns = np.ascontiguousarray(ids[: length * B].reshape(B, length).T)
        self._at = 0

    def per_epoch(self) -> int:
        return (len(self._columns) - 2) // self.T

    def next(self) -> Batch:
        at, T = self._at, self.T
        if at + T + 1 >= len(self._columns):
            self.epoch += 1
            at = 0
        self._at = at + T
        window = self._columns[at : at + T + 1].astype(np.intp)  # once, instead of at every use
        return Batch(window[:-1], window[1:], fresh=at == 0)

    def position(self) -> Position:
        return {"epoch": self.epoch, "at": self._at}

    def seek(self, position: Position) -> None:
        _check_inside(position, at=len(self._columns))
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
            f"batch_size {B} needs {(T + 2) * B:,}. {_largest(N, T, B)}"
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
        self._starts = self._shuffled()

    def per_epoch(self) -> int:
        return -(-len(self._starts) // self.B)

    def next(self) -> Batch:
        if self._index * self.B >= len(self._starts):
            self.epoch, self._index = self.epoch + 1, 0
            self._starts = self._shuffled()
        starts = self._starts[self._index * self.B :][: self.B]
        self._index += 1
        places = starts + np.arange(self.T).reshape(-1, 1)  # (T, B)
        return Batch(self._ids[places], self._ids[places + 1], fresh=True)

    def position(self) -> Position:
        return {"epoch": self.epoch, "index": self._index}

    def seek(self, position: Position) -> None:
        _check_inside(position, index=self.per_epoch())
        self.epoch, self._index = position["epoch"], position["index"]
        self._starts = self._shuffled()

    def _shuffled(self) -> Ints:
        """Where this epoch's windows begin: end to end from a random place on, then shuffled."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        count = (len(self._ids) - 1) // self.T
        spare = len(self._ids) - 1 - count * self.T
        starts: Ints = int(rng.integers(spare + 1)) + self.T * rng.permutation(count)
        return starts


class LineBatches(Batches):
    """Records of similar length, padded and masked."""

    def __init__(self, corpus: Corpus, T: int, B: int, seed: int, dtype: npt.DTypeLike) -> None:
        """Records longer than T are read in several windows with carried state."""
        assert corpus.records is not None
        if len(corpus.training) < B:
            raise CorpusError(
                f"batch_size {B} is more than the {len(corpus.training):,} training lines: "
                f"--set train.batch_size={max(1, len(corpus.training))}"
            )
        self.T, self.B = T, B
        self._training, self._seed, self._dtype = corpus.training, seed, dtype
        self._records = corpus.records
        self._lengths = corpus.records.lengths(corpus.training)
        self._order = self._shuffled()
        self._index = 0  # of the batch within the epoch
        self._at = 0  # of the window within the batch
        self._load()

    def per_epoch(self) -> int:
        longest = [int(self._lengths[batch].max()) for batch in self._order]
        return sum(-(-length // self.T) for length in longest)

    def next(self) -> Batch:
        if self._at >= len(self._ids):
            self._index, self._at = self._index + 1, 0
            if self._index == len(self._order):
                self.epoch, self._index = self.epoch + 1, 0
                self._order = self._shuffled()
            self._load()
        window = slice(self._at, self._at + self.T)
        fresh = self._at == 0
        self._at += self.T
        mask = None if self._mask is None else self._mask[window]
        return Batch(self._ids[window], self._targets[window], mask, fresh)

    def position(self) -> Position:
        return {"epoch": self.epoch, "index": self._index, "at": self._at}

    def seek(self, position: Position) -> None:
        _check_inside(position, index=len(self._order) - 1)
        self.epoch, self._index = position["epoch"], position["index"]
        self._order = self._shuffled()
        self._load()
        _check_inside(position, at=len(self._ids) + self.T)
        self._at = position["at"]

    def _shuffled(self) -> list[Ints]:
        """This epoch's batches, as places in `corpus.training`."""
        rng = generator(self._seed, Purpose.ORDER, self.epoch)
        shuffled = rng.permutation(len(self._lengths))
        batches: list[Ints] = []
        for start in range(0, len(shuffled), POOL * self.B):
            pool = shuffled[start : start + POOL * self.B]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += [pool[i : i + self.B] for i in range(0, len(pool), self.B)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _load(self) -> None:
        which = self._training[self._order[self._index]]
        self._ids, self._targets, inside = self._records.padded(which)
        self._mask = None if inside.all() else inside.astype(self._dtype)


def of(corpus: Corpus, config: TrainConfig, seed: int, dtype: npt.DTypeLike) -> Batches:
    """The batches that a corpus and a config make. Raises CorpusError."""
    B = config.batch_size
    if corpus.records is not None:
        return LineBatches(corpus, config.window("lines"), B, seed, dtype)
    if config.state == "zero":
        return ZeroBatches(corpus.training, config.window("stream"), B, seed)
    return StreamBatches(corpus.training, config.window("stream"), B)
