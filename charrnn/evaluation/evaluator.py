"""How well a model foretells a text: nats and bits per character, and perplexity.

A stream is scored once from its first character to its last with carried state; the first one has
nothing before it and is not scored. Lines are scored one by one, each from the zero state, each
with its closing newline.
"""

from __future__ import annotations

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
from charrnn.parallel.group import ProcessGroup, SingleProcess, StopRequested, never
from charrnn.parallel.pool import WorkerPool
from charrnn.parallel.worker_count import ROWS
from charrnn.units import bits

WINDOW = 256  # steps scored at a time; the figures do not depend on it
WARM_UP = 256  # characters that a piece of a stream reads before its own
AT_ONCE = 1 << 16  # records of a validation part that are scored together
AREA = 1 << 18  # characters, padding included, of the lines scored side by side

Check = Callable[[], None]  # called now and then, to leave a long scoring by an exception


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


class WindowPlace(NamedTuple):
    """Where the windows of a text stand that are each scored from the zero state."""

    size: int  # characters of a window
    at: int  # of them scored in the open one
    state: Floats  # after them


class Figures(NamedTuple):
    """What is read off every position of a window that `Model.forward` has just gone through."""

    rows: int  # K
    of: Callable[[Workspace], Floats]  # (K, T*B)


def _surprisals(work: Workspace) -> Floats:
    return work.nll.astype(np.float64).reshape(1, -1)


def _predictions(work: Workspace) -> Floats:
    p = work.logits.astype(np.float64)  # (T*B, V)
    of_target = p.take(work.picks).reshape(-1, 1)
    ranks = 1 + np.count_nonzero(p > of_target, axis=1)
    entropies = -(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1)
    return np.stack([work.nll, ranks, entropies, p.argmax(axis=1)])


SURPRISAL = Figures(1, _surprisals)  # -ln p of the character, in nats
# The same; its rank, 1 the likeliest; the prediction's entropy in nats; the likeliest id.
PREDICTION = Figures(4, _predictions)


def _nothing() -> None:
    """The check of a scoring that nobody interrupts."""


class Evaluator:
    """Scores text with one model; its memory is allocated once."""

    window = WINDOW

    def __init__(self, model: Model, params: Params, pool: WorkerPool | None = None) -> None:
        """What is scored side by side is shared by `pool`, with the parameters as they are now."""
        self.model = model
        self.params = params
        self.pool = pool or WorkerPool()
        self._works = Workspaces(model)
        self._number = self.pool.register(self._from_zero)

    def follow(
        self, ids: Ints, state: Floats, figures: Figures = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """The figures (K, N-1) of all of `ids` (N,) but the first, and the state after them."""
        found = np.empty((figures.rows, max(len(ids) - 1, 0)))
        column = ids.reshape(-1, 1)
        for at in range(0, found.shape[1], self.window):
            window = column[at : at + self.window + 1]
            part = slice(at, at + self.window)
            found[:, part], state = self._window(Batch(window[:-1], window[1:]), state, figures)
        return found, state

    def in_windows(
        self, ids: Ints, place: WindowPlace, figures: Figures = SURPRISAL
    ) -> tuple[Floats, WindowPlace]:
        """The figures (K, N-1) of all of `ids` (N,) but the first, in windows from the zero state.

        `place` is where the window stands that a piece before this one left open; the place after
        this one is returned. Whole windows are scored side by side.
        """
        size, (at, state) = place.size, (place.at, place.state)
        count = max(len(ids) - 1, 0)
        found = np.empty((figures.rows, count))
        head = min(count, size - at)  # the rest of the open window
        found[:, :head], state = self.follow(ids[: head + 1], state, figures)
        whole = (count - head) // size
        windows = Records(ids, 1 + head + size * np.arange(whole + 1))
        of_whole = slice(head, head + size * whole)
        found[:, of_whole] = self.each(windows, np.arange(whole), figures)
        at, done = at + head, head + size * whole
        if at == size or whole:
            at, state = 0, self.model.zero_state(1)
        rest = count - done
        if rest:
            found[:, done:], state = self.follow(ids[done:], state, figures)
            at += rest
        return found, WindowPlace(size, at, state)

    def pieces(self, ids: Ints, check: Check = _nothing, rank: int = 0, size: int = 1) -> Score:
        """Score one text in `ROWS` pieces side by side: faster, and within about 0.001 nats.

        Every piece but the first reads `WARM_UP` characters before its own, from the zero state.
        Of `size` ranks, this one scores its share of the pieces.
        """
        targets = len(ids) - 1
        rows = min(ROWS, max(1, targets // (4 * WARM_UP)))
        length = -(-targets // rows)
        own = np.arange(rows * rank // size, rows * (rank + 1) // size)
        if not len(own):
            check()
            return Score(0.0, 0)
        starts = own * length  # (B,): where each row's inputs begin
        state = self.model.zero_state(len(own))
        total, chars = 0.0, 0
        for at in range(-WARM_UP if rows > 1 else 0, length, WINDOW):
            check()
            stop = 0 if at < 0 else min(at + WINDOW, length)
            places = starts + np.arange(at, stop).reshape(-1, 1)  # (T, B)
            inside = (places >= 0) & (places < targets)
            places = places.clip(0, targets - 1)
            batch = Batch(ids[places], ids[places + 1], inside.astype(self.model.dtype))
            nats, state = self._window(batch, state)
            if at >= 0:
                total += float(nats.sum())
                chars += int(np.count_nonzero(inside))
            elif own[0] == 0:
                state[:, :, 0] = 0  # the first piece has nothing before it
        return Score(total, chars)

    def records(self, records: Records, which: Ints, check: Check = _nothing) -> Score:
        """Score these records, each from the zero state, in constant memory."""
        total, chars = 0.0, 0
        for start in range(0, len(which), AT_ONCE):
            nats = self.each(records, which[start : start + AT_ONCE], check=check)
            total, chars = total + float(nats.sum()), chars + nats.size
        return Score(total, chars)

    def each(
        self,
        records: Records,
        which: Ints,
        figures: Figures = SURPRISAL,
        check: Check = _nothing,
    ) -> Floats:
        """The figures (K, N) of these records' N characters, one record after the other."""
        lengths = records.lengths(which)
        starts = np.cumsum(lengths) - lengths  # where each record's figures begin
        found = np.empty((figures.rows, int(lengths.sum())))
        batches = [*self._batches(lengths)]
        parts = ((*records.padded(which[batch]), figures) for batch in batches)
        for batch, scored in zip(batches, self.pool.map(self._number, parts), strict=True):
            check()
            times = np.arange(scored.shape[1]).reshape(-1, 1)
            inside = times < lengths[batch]
            found[:, (starts[batch] + times)[inside]] = scored[:, inside]
        return found

    def _batches(self, lengths: Ints) -> Iterator[Ints]:
        """Numbers of records to score side by side: of similar length, fewer of the long ones."""
        ordered = np.argsort(lengths, kind="stable")
        while len(ordered):
            rows = min(ROWS, len(ordered))
            while rows > 1 and lengths[ordered[rows - 1]] * rows > AREA:
                rows -= 1
            yield ordered[:rows]
            ordered = ordered[rows:]

    def _from_zero(self, ids: Ints, targets: Ints, inside: Bools, figures: Figures) -> Floats:
        """The figures (K, T, B) of rows from the zero state; ids, targets and inside are (T, B)."""
        T, B = ids.shape
        state = self.model.zero_state(B)
        found = np.empty((figures.rows, T, B))
        for at in range(0, T, self.window):
            part = slice(at, at + self.window)
            batch = Batch(ids[part], targets[part], inside[part].astype(self.model.dtype))
            of_window, state = self._window(batch, state, figures)
            found[:, part] = of_window.reshape(figures.rows, -1, B)
        return found

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

        def check() -> None:
            if stop_requested():
                raise StopRequested

        totals = np.zeros(3)  # nats, characters, ranks that want to stop
        try:
            if corpus.records is None:
                score = self.pieces(corpus.validation, check, group.rank, group.size)
            else:
                own = corpus.validation[group.rank :: group.size]
                score = self.records(corpus.records, own, check)
            totals[:2] = score.total_nats, score.chars
        except StopRequested:
            totals[2] = 1
        group.allreduce(totals)
        nats, chars, stops = totals.tolist()
        if stops:
            raise StopRequested
        return Score(nats, int(chars))
