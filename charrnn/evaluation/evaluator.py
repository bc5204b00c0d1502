"""How well a model foretells a text: nats and bits per character, and perplexity.

A stream is scored once from its first character to its last with carried state; the first one has
nothing before it and is not scored. Lines are scored one by one, each from the zero state, each
with its closing newline.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Batch, Bools, Floats, Ints
from charrnn.data.corpus import SCATTERED, Corpus, Records
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace, Workspaces
from charrnn.parallel.team import Team
from charrnn.parallel.worker_count import FEW, ROWS

WINDOW = 256  # steps scored at a time; the figures do not depend on it
WARM_UP = 256  # characters that a piece of a stream reads before its own
AT_ONCE = 1 << 16  # records that are sorted by length together
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
        return self.nats / math.log(2)

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

    def __init__(self, model: Model, params: Params, team: Team | None = None) -> None:
        """The rows of a window are shared by `team`; a stream with carried state has but one.

        If the parameters will change, those who help must see it: they are `shared` then.
        """
        self.model = model
        self.params = params
        self.team = team or Team()
        self.rows = ROWS * self.team.size  # of a window of lines, or of windows side by side
        self._works = [Workspaces(model) for _ in range(self.team.size)]
        self.team.learn("score", [functools.partial(self._score, one) for one in self._works])

    def stream(self, pieces: Iterable[Ints]) -> Score:
        """Score consecutive pieces of one text with carried state, in constant memory."""
        state = self.model.zero_state(1)
        before = np.empty(0, dtype=np.intp)  # the last character so far
        total, chars = 0.0, 0
        for piece in pieces:
            ids = np.concatenate([before, piece])
            figures, state = self.follow(ids, state)
            total, chars = total + float(figures.sum()), chars + figures.size
            before = ids[-1:]
        return Score(total, chars)

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
        for start in range(0, whole, self.rows):
            rows = min(self.rows, whole - start)
            begins = head + size * np.arange(start, start + rows)  # (B,)
            states = self.model.zero_state(rows)
            for first in range(0, size, self.window):
                times = np.arange(first, min(first + self.window, size)).reshape(-1, 1)
                places = begins + times  # (T, B)
                batch = Batch(ids[places], ids[places + 1])
                found_here, states = self._window(batch, states, figures)
                found[:, places] = found_here.reshape(figures.rows, *places.shape)
        at, done = at + head, head + size * whole
        if at == size or whole:
            at, state = 0, self.model.zero_state(1)
        rest = count - done
        if rest:
            found[:, done:], state = self.follow(ids[done:], state, figures)
            at += rest
        return found, WindowPlace(size, at, state)

    def pieces(self, ids: Ints, check: Check = _nothing) -> Score:
        """Score one text in `ROWS` pieces side by side: faster, and within about 0.001 nats.

        Every piece but the first reads `WARM_UP` characters before its own, from the zero state.
        """
        targets = len(ids) - 1
        rows = min(ROWS, max(1, targets // (4 * WARM_UP)))
        length = -(-targets // rows)
        starts = np.arange(rows) * length  # (B,): where each row's inputs begin
        state = self.model.zero_state(rows)
        total = 0.0
        for at in range(-WARM_UP if rows > 1 else 0, length, WINDOW):
            check()
            stop = 0 if at < 0 else min(at + WINDOW, length)
            places = starts + np.arange(at, stop).reshape(-1, 1)  # (T, B)
            mask = ((places >= 0) & (places < targets)).astype(self.model.dtype)
            places = places.clip(0, targets - 1)
            nats, state = self._window(Batch(ids[places], ids[places + 1], mask), state)
            if at < 0:
                state[:, :, 0] = 0  # the first piece has nothing before it
            else:
                total += float(nats.sum())
        return Score(total, targets)

    def records(self, records: Records, which: Ints, check: Check = _nothing) -> Score:
        """Score these records, each from the zero state; similar lengths side by side."""
        total, chars = 0.0, 0
        for start in range(0, len(which), AT_ONCE):
            some = which[start : start + AT_ONCE]
            for nats, inside, _, _ in self._side_by_side(records, some, SURPRISAL, check):
                total += float(nats.sum())  # 0 where a row is padded
                chars += int(np.count_nonzero(inside))
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
        for of_window, inside, numbers, at in self._side_by_side(records, which, figures, check):
            places = starts[numbers] + at + np.arange(len(inside)).reshape(-1, 1)
            found[:, places[inside]] = of_window[:, inside.reshape(-1)]
        return found

    def _side_by_side(
        self, records: Records, which: Ints, figures: Figures, check: Check
    ) -> Iterator[tuple[Floats, Bools, Ints, int]]:
        """Window by window: its figures (K, T*B), which of it are inside a record (T, B).

        Then the places in `which` of its records (B,), and the step it begins at.
        """
        lengths = np.empty(len(which), dtype=np.intp)
        for start in range(0, len(which), SCATTERED):
            check()
            lengths[start : start + SCATTERED] = records.lengths(which[start : start + SCATTERED])
        for numbers in self._batches(lengths):
            check()
            state = self.model.zero_state(len(numbers))
            for at in range(0, int(lengths[numbers].max()), self.window):
                ids, targets, inside = records.padded(which[numbers], at, self.window)
                batch = Batch(ids, targets, inside.astype(self.model.dtype))
                of_window, state = self._window(batch, state, figures)
                yield of_window, inside, numbers, at

    def _batches(self, lengths: Ints) -> Iterator[Ints]:
        """Records to score side by side: of similar length, and fewer of the long ones."""
        ordered = np.argsort(lengths, kind="stable")
        while len(ordered):
            rows = min(self.rows, len(ordered))
            while rows > 1 and lengths[ordered[rows - 1]] * rows > AREA:
                rows -= 1
            yield ordered[:rows]
            ordered = ordered[rows:]

    def _window(
        self, batch: Batch, state: Floats, figures: Figures = SURPRISAL
    ) -> tuple[Floats, Floats]:
        """The figures (K, T*B) of one window, and the state after it."""
        T, B = batch.ids.shape
        parts = self.team.cut(B) if FEW * self.team.size <= B else [slice(B)]
        work = [(batch.rows(rows), state[:, :, rows], figures) for rows in parts]
        shares: list[tuple[Floats, Floats]] = self.team.each("score", work)
        if len(shares) == 1:
            return shares[0]
        found, new_state = np.empty((figures.rows, T, B)), np.empty_like(state)
        for rows, (figures_there, state_there) in zip(parts, shares, strict=True):
            found[:, :, rows] = figures_there.reshape(figures.rows, T, -1)
            new_state[:, :, rows] = state_there
        return found.reshape(figures.rows, T * B), new_state

    def _score(
        self, works: Workspaces, batch: Batch, state: Floats, figures: Figures
    ) -> tuple[Floats, Floats]:
        """The same of one share of the rows, in one's own memory."""
        work = works.get(*batch.ids.shape)
        _, new_state = self.model.forward(self.params, batch, state, work)
        return figures.of(work), new_state

    def validation(self, corpus: Corpus, check: Check = _nothing) -> Score | None:
        """Score the validation part as training does, or None when there is none."""
        if not len(corpus.validation):
            return None
        if corpus.records is None:
            return self.pieces(corpus.validation, check)
        return self.records(corpus.records, corpus.validation, check)
