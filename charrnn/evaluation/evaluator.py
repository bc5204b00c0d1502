"""How well a model foretells a text: nats and bits per character, and perplexity.

A stream is scored once from its first character to its last with carried state; the first one has
nothing before it and is not scored. Lines are scored one by one, each from the zero state, each
with its closing newline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Batch, Floats, Ints
from charrnn.data.corpus import Corpus, Records
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace, Workspaces
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested, never
from charrnn.parallel.pool import WorkerPool
from charrnn.parallel.worker_count import ROWS
from charrnn.units import bits

WINDOW = 256  # steps scored at a time; the figures do not depend on it
WARM_UP = 256  # characters that a piece of a stream reads before its own; also its window
AREA = 1 << 18  # characters, padding included, of the lines scored side by side


@dataclass(frozen=True)
class Score:
    """The surprise of a model at a text."""

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
        """e to the nats: as uncertain as between so many equally likely characters."""
        return math.exp(min(self.nats, 700.0))  # exp(710) is more than a float holds


class Figures(NamedTuple):
    """What is read off every position of a window that `Model.forward` has just gone through."""

    rows: int  # K
    of: Callable[[Workspace], Floats]  # (K, T*B)


def _surprisals(work: Workspace) -> Floats:
    return work.nll.astype(np.float64).reshape(1, -1)


def _predictions(work: Workspace) -> Floats:
    p = work.logits.astype(np.float64)  # (T*B, V)
    of_target = p.take(work.target_indices).reshape(-1, 1)
    ranks = 1 + np.count_nonzero(p > of_target, axis=1)
    entropies = -(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1)
    return np.stack([work.nll, ranks, entropies, p.argmax(axis=1)])


SURPRISAL = Figures(1, _surprisals)  # -ln p of the character, in nats
# The same; its rank, 1 the likeliest; the prediction's entropy in nats; the likeliest id.
PREDICTION = Figures(4, _predictions)


class Evaluator:
    """Scores text with one model; its memory is allocated once."""

    window = WINDOW

    def __init__(self, model: Model, params: Params, pool: WorkerPool | None = None) -> None:
        """What is scored side by side is shared by `pool`, with the parameters as they are now."""
        self.model = model
        self.params = params
        self.pool = pool or WorkerPool()
        self._works = Workspaces(model)
        self._number = self.pool.register(self._run)

    def follow(
        self, ids: Ints, state: Floats, figures: Figures = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """The figures (K, N-1) of all of `ids` (N,) but the first, and the state after them."""
        column = ids.reshape(-1, 1)
        found, state = self._run(column[:-1], column[1:], figures, state)
        return found[:, :, 0], state

    def each(self, records: Records, figures: Figures = SURPRISAL) -> Floats:
        """The figures (K, N) of the records' N characters, each record from the zero state."""
        found = np.empty((figures.rows, int(records.starts[-1] - records.starts[0])))
        which = np.arange(len(records.starts) - 1)
        for places, of_batch in self._side_by_side(records, which, figures):
            found[:, places] = of_batch
        return found

    def _side_by_side(
        self, records: Records, which: Ints, figures: Figures = SURPRISAL
    ) -> Iterator[tuple[Ints, Floats]]:
        """The figures (K, n) of one batch of records after the other, each from the zero state.

        With them come the places (n,) of their characters among all characters of these records.
        """
        lengths = records.lengths(which)
        starts = np.cumsum(lengths) - lengths
        batches = [*self._batches(lengths)]
        parts = ((*records.padded(which[batch])[:2], figures) for batch in batches)
        for batch, (found, _) in zip(batches, self.pool.map(self._number, parts), strict=True):
            times = np.arange(found.shape[1]).reshape(-1, 1)
            inside = times < lengths[batch]
            yield (starts[batch] + times)[inside], found[:, inside]

    def _batches(self, lengths: Ints) -> Iterator[Ints]:
        """Numbers of records to score side by side: of similar length, fewer of the long ones."""
        ordered = np.argsort(lengths, kind="stable")
        while len(ordered):
            longest = lengths[ordered[:ROWS]]  # of the first 1, 2, 3, ... rows
            rows = max(1, np.count_nonzero(longest * np.arange(1, len(longest) + 1) <= AREA))
            yield ordered[:rows]
            ordered = ordered[rows:]

    def _run(
        self, ids: Ints, targets: Ints, figures: Figures, state: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """The figures (K, T, B) of rows of any length, and the state after them.

        `ids` and `targets` are (T, B); without a `state` they begin from the zero state.
        """
        T, B = ids.shape
        state = self.model.zero_state(B) if state is None else state
        found = np.empty((figures.rows, T, B))
        for at in range(0, T, self.window):
            part = slice(at, at + self.window)
            of_window, state = self._window(Batch(ids[part], targets[part]), state, figures)
            found[:, part] = of_window.reshape(figures.rows, -1, B)
        return found, state

    def _window(
        self, batch: Batch, state: Floats, figures: Figures = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """The figures (K, T*B) of one window, and the state after it."""
        work = self._works.get(*batch.ids.shape)
        _, new_state = self.model.forward(self.params, batch, state, work)
        return figures.of(work), new_state

    def validation(
        self,
        corpus: Corpus,
        group: ProcessGroup | None = None,
        stop_requested: Callable[[], bool] = never,
    ) -> Score | None:
        """Score the validation part as training does, or return None when there is none.

        Each rank of a group scores its share. Raises StopRequested on all of them when any is asked
        to stop.
        """
        if not len(corpus.validation):
            return None
        group = group or SingleProcess()
        parts = self._pieces(corpus.validation, group)
        if corpus.records is not None:
            own = corpus.validation[group.rank :: group.size]
            parts = (nats for _, nats in self._side_by_side(corpus.records, own))
        totals = np.zeros(3)  # nats, characters, ranks that want to stop
        for nats in itertools.chain([np.empty(0)], parts):  # it is asked also without a share
            if stop_requested():
                totals[2] = 1
                break
            totals[:2] += float(nats.sum()), nats.size
        group.allreduce(totals)
        total_nats, chars, stops = totals.tolist()
        if stops:
            raise StopRequested
        return Score(total_nats, int(chars))

    def _pieces(self, ids: Ints, group: ProcessGroup) -> Iterator[Floats]:
        """The nats of one text, of which `ROWS` pieces are scored side by side, window by window.

        That is faster, and the sum is within about 0.001 nats per character. Every piece but the
        first reads `WARM_UP` characters before its own, from the zero state. Each rank of a group
        scores its share of the pieces.
        """
        targets = len(ids) - 1
        rows = min(ROWS, max(1, targets // (4 * WARM_UP)))
        length = -(-targets // rows)
        starts = length * np.arange(rows)[group.rows(rows)]  # (B,): where each row's inputs begin
        if not len(starts):
            return
        state = self.model.zero_state(len(starts))
        for at in range(-WARM_UP, length, WARM_UP):
            places = starts + np.arange(at, min(at + WARM_UP, length)).reshape(-1, 1)  # (T, B)
            inside = (places < targets) & (at >= 0)  # what is read to warm up does not count
            places = places.clip(0, targets - 1)
            nats, state = self._window(Batch(ids[places], ids[places + 1]), state)
            if at < 0 and starts[0] == 0:
                state[:, :, 0] = 0  # the first piece has nothing before it
            yield nats[:, inside.reshape(-1)]
