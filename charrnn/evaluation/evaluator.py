"""How well a model predicts a text: nats and bits per character, and perplexity.

A stream is scored from its first character to its last with carried state, from the zero state; the
first character is not scored, as nothing predicts it. Lines are scored one by one, each from the
zero state, each with its closing newline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Batch, Bools, Floats, Ints
from charrnn.data.corpus import Corpus, Records
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace, Workspaces
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested, never_stop
from charrnn.parallel.pool import WorkerPool
from charrnn.parallel.worker_count import SCORING_ROWS
from charrnn.units import bits

WINDOW = 256  # steps scored at a time; the scores do not depend on it
WARM_UP = 256  # characters run before each piece of a stream; also the steps run at a time
PIECE_CHARS = 1 << 13  # of a stream scored between two stop requests
CHECK_CHARS = 2000  # held-out characters that show early whether a model learns
NOISE_NATS = 0.2  # per character: the first windows of two equally good states differ by less
# Of the first windows, per character. Later ones may differ more: an rnn whose first windows differ
# by 0.005 scored 2.600 by pieces and 2.575 from the start.
MAX_DIFFERENCE_NATS = 0.002
MAX_BATCH_CHARS = 1 << 18  # characters, padding included, of lines scored in a batch


@dataclass(frozen=True)
class Score:
    """The surprisal of a text under a model."""

    total_nats: float  # -ln p, summed over the characters
    chars: int  # characters scored
    unknown: int = 0  # characters left out because the vocabulary lacks them

    @property
    def nats(self) -> float:
        """Nats per character."""
        return self.total_nats / self.chars

    @property
    def bits(self) -> float:
        """Bits per character."""
        return bits(self.nats)

    @property
    def perplexity(self) -> float:
        """e to the nats: the number of equally likely characters that would be as uncertain."""
        return math.exp(min(self.nats, 700.0))  # exp(710) is more than a float holds


class Readout(NamedTuple):
    """A function that reads K numbers per character from the workspace after `Model.forward`."""

    rows: int  # K
    extract: Callable[[Workspace], Floats]  # (K, T*B)


def _read_surprisals(work: Workspace) -> Floats:
    """Return the `SURPRISAL` (1, T*B)."""
    return work.nll.astype(np.float64).reshape(1, -1)


def _read_predictions(work: Workspace) -> Floats:
    """Return the `PREDICTION` (4, T*B)."""
    p = work.logits.astype(np.float64)  # (T*B, V)
    target_p = p.take(work.flat_indices).reshape(-1, 1)
    ranks = 1 + np.count_nonzero(p > target_p, axis=1)
    entropies = -(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1)
    return np.stack([work.nll, ranks, entropies, p.argmax(axis=1)])


SURPRISAL = Readout(1, _read_surprisals)  # -ln p of the character, in nats
# -ln p, the rank of the character (1: likeliest), the entropy in nats, the likeliest id.
PREDICTION = Readout(4, _read_predictions)


class Evaluator:
    """Scores text with one model, in memory that is allocated once."""

    window = WINDOW

    def __init__(self, model: Model, params: Params, pool: WorkerPool | None = None) -> None:
        """Use this model; the workers of `pool` score batches with the present parameters."""
        self.model = model
        self.params = params
        self.pool = pool or WorkerPool()
        self._workspaces = Workspaces(model)
        self._run_id = self.pool.register(self._run)

    def score_sequence(
        self, ids: Ints, state: Floats, readout: Readout = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """Return the readout (K, N-1) of `ids` (N,) except the first, and the state after them."""
        column = ids.reshape(-1, 1)
        values, state = self._run(column[:-1], column[1:], readout, state)
        return values[:, :, 0], state

    def score_records(self, records: Records, readout: Readout = SURPRISAL) -> Floats:
        """Return the readout (K, N) of N characters in records, each from the zero state."""
        values = np.empty((readout.rows, int(records.starts[-1] - records.starts[0])))
        record_ids = np.arange(len(records.starts) - 1)
        for positions, batch_values in self._score_batches(records, record_ids, readout):
            values[:, positions] = batch_values
        return values

    def _score_batches(
        self, records: Records, record_ids: Ints, readout: Readout = SURPRISAL
    ) -> Iterator[tuple[Ints, Floats]]:
        """Yield positions (n,) and readout (K, n) of the n characters of each batch of records.

        Positions count all characters of these records. Each record starts from the zero state.
        """
        lengths = records.lengths(record_ids)
        starts = np.cumsum(lengths) - lengths
        batches = [*self._batches(lengths)]
        tasks = ((*records.padded(record_ids[batch])[:2], readout) for batch in batches)
        for batch, (values, _) in zip(batches, self.pool.map(self._run_id, tasks), strict=True):
            times = np.arange(values.shape[1]).reshape(-1, 1)
            inside = times < lengths[batch]
            yield (starts[batch] + times)[inside], values[:, inside]

    def _batches(self, lengths: Ints) -> Iterator[Ints]:
        """Yield the indices of each batch: records of similar length, fewer if they are long."""
        ordered = np.argsort(lengths, kind="stable")
        while len(ordered):
            longest = lengths[ordered[:SCORING_ROWS]]  # of the first 1, 2, 3, ... rows
            sizes = longest * np.arange(1, len(longest) + 1)
            rows = max(1, np.count_nonzero(sizes <= MAX_BATCH_CHARS))
            yield ordered[:rows]
            ordered = ordered[rows:]

    def _run(
        self, ids: Ints, targets: Ints, readout: Readout, state: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return the readout (K, T, B) of rows of any length, and the state after them.

        `ids` and `targets` are (T, B); `state` None is the zero state.
        """
        T, B = ids.shape
        state = self.model.zero_state(B) if state is None else state
        values = np.empty((readout.rows, T, B))
        for start in range(0, T, self.window):
            part = slice(start, start + self.window)
            window_values, state = self._window(Batch(ids[part], targets[part]), state, readout)
            values[:, part] = window_values.reshape(readout.rows, -1, B)
        return values, state

    def _window(
        self, batch: Batch, state: Floats, readout: Readout = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """Return the readout (K, T*B) of one window, and the state after it."""
        work = self._workspaces.get(*batch.ids.shape)
        _, new_state = self.model.forward(self.params, batch, state, work)
        return readout.extract(work), new_state

    def validation(
        self,
        corpus: Corpus,
        group: ProcessGroup | None = None,
        stop_requested: Callable[[], bool] = never_stop,
    ) -> Score | None:
        """Return the score of the validation part as training computes it; None without one.

        Each rank of a group scores its share. A stream whose pieces differ from the text as a whole
        is scored again from its start, on rank 0. Raises StopRequested on every rank if
        `stop_requested` returns True on a rank that scores.
        """
        if not len(corpus.validation):
            return None
        group = group or SingleProcess()
        totals = np.zeros(3 + 2 * SCORING_ROWS)  # nats, characters, ranks with a stop request
        first, after = totals[3:].reshape(2, SCORING_ROWS)  # nats of windows, by piece
        batches = self._stream_pieces(corpus.validation, group, first, after)
        if corpus.records is not None:
            record_ids = corpus.validation[group.rank :: group.size]
            batches = (nats for _, nats in self._score_batches(corpus.records, record_ids))
        for nats in itertools.chain([np.empty(0)], batches):  # checks once even without batches
            if stop_requested():
                totals[2] = 1
                break
            totals[:2] += float(nats.sum()), nats.size
        group.allreduce(totals)
        total_nats, chars, stops = totals[:3].tolist()
        if not stops and corpus.records is None and _pieces_differ(first, after):
            ids = corpus.validation
            total_nats, stops = group.on_rank_zero(lambda: self._stream_nats(ids, stop_requested))
        if stops:
            raise StopRequested
        return Score(total_nats, int(chars))

    def _stream_nats(self, ids: Ints, stop_requested: Callable[[], bool]) -> tuple[float, bool]:
        """Return the nats of a text from its first character to its last, and a stop request."""
        state, nats = self.model.zero_state(1), 0.0
        for start in range(0, len(ids) - 1, PIECE_CHARS):
            if stop_requested():
                return nats, True
            values, state = self.score_sequence(ids[start : start + PIECE_CHARS + 1], state)
            nats += float(values.sum())
        return nats, False

    def first_nats(self, corpus: Corpus, ids: Ints) -> float:
        """Return the nats per character of the first `CHECK_CHARS` characters of a part.

        `ids` is the training or the validation part; it is scored from the zero state, as `eval`
        does.
        """
        if corpus.records is None:
            ids = ids[: CHECK_CHARS + 1]
            return float(self.score_sequence(ids, self.model.zero_state(1))[0].mean())
        lengths = corpus.records.lengths(ids[:CHECK_CHARS])
        count = 1 + int(np.searchsorted(lengths.cumsum(), CHECK_CHARS))
        batches = self._score_batches(corpus.records, ids[:count])
        return float(np.concatenate([nats[0] for _, nats in batches]).mean())

    def _stream_pieces(
        self, ids: Ints, group: ProcessGroup, first: Floats, after: Floats
    ) -> Iterator[Floats]:
        """Yield the nats of one text, cut into `SCORING_ROWS` pieces that are scored as one batch.

        This is faster, and the sum is within about 0.001 nats per character. Every piece except the
        first starts from the zero state `WARM_UP` characters earlier. Each rank of a group scores
        its share of the pieces.

        Writes the nats per character of the first window of each piece into `first`, and of the
        window after each piece, which is the first of the next one, into `after`.
        """
        targets = len(ids) - 1
        rows = min(SCORING_ROWS, max(1, targets // (4 * WARM_UP)))
        length = -(-targets // rows)
        pieces = np.arange(rows)[group.rows(rows)]  # (B,)
        starts = length * pieces  # of each row's inputs
        if not len(starts):
            return

        def read(start: int, stop: int, state: Floats) -> tuple[Floats, Bools, Floats]:
            positions = starts + np.arange(start, stop).reshape(-1, 1)  # (T, B)
            clipped = positions.clip(0, targets - 1)
            nats, state = self._window(Batch(ids[clipped], ids[clipped + 1]), state)
            return nats.reshape(positions.shape), positions < targets, state

        _, _, state = read(-WARM_UP, 0, self.model.zero_state(len(starts)))
        if starts[0] == 0:
            state[:, :, 0] = 0  # no text precedes the first piece
        yield np.empty(0)  # for a stop request
        for offset in range(0, length, WARM_UP):
            nats, inside, state = read(offset, min(offset + WARM_UP, length), state)
            if offset == 0:
                first[pieces] = nats.mean(axis=0)
            yield nats[inside]
        if rows > 1:
            after[pieces] = read(length, length + WARM_UP, state)[0].mean(axis=0)


def _pieces_differ(first: Floats, after: Floats) -> bool:
    """Return whether the pieces of a text lose what the text before them has set.

    `first` and `after` are the nats per character that `_stream_pieces` writes, 0 for no piece.
    """
    differences = (after[:-1] - first[1:])[first[1:] > 0]
    large = differences[abs(differences) > NOISE_NATS]
    total = max(abs(differences.sum()), abs(large).sum())  # small ones may cancel
    return bool(total > MAX_DIFFERENCE_NATS * len(differences))
