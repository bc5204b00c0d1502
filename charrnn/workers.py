"""Threads of one process that share the rows of every window, or this rank's part of them.

Each runs forward and backward on its own rows, with its own memory and its own gradient:

    loss     = sum over the threads of (its rows / all rows) x its loss
    gradient = g[0] + g[1] + ..., always in this order

NumPy lets go of the interpreter's lock inside its loops and products, so they run side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from charrnn.model import Batch, Model, Workspace, Workspaces
from charrnn.params import Floats, Params
from charrnn.randomness import Purpose, generator
from charrnn.ranks import Ranks

Result = TypeVar("Result")


class Team:
    """Some threads, the caller's being the first of them, that do the same for different rows."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1) if size > 1 else None

    def cut(self, B: int, start: int = 0) -> list[slice]:
        """The rows of each thread: B of them, from `start`, in equal parts, and no part empty."""
        count = min(self.size, B)
        ends = [start + B * k // count for k in range(count + 1)] if count else []
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def each(self, task: Callable[[int], Result], count: int) -> list[Result]:
        """What `task(0)` to `task(count - 1)` return, run side by side; an error is raised here."""
        if self._pool is None or count <= 1:
            return [task(k) for k in range(count)]
        settings = np.geterr()  # what overflows are to do holds for one thread

        def alike(k: int) -> Result:
            with np.errstate(**settings):
                return task(k)

        others = [self._pool.submit(alike, k) for k in range(1, count)]
        try:
            first = task(0)
        finally:
            errors = [other.exception() for other in others]  # all are at their end
        for error in errors:
            if error is not None:
                raise error
        return [first, *(other.result() for other in others)]


class Workers:
    """Forward and backward of a model, the rows of each window shared by ranks and a team."""

    def __init__(
        self, model: Model, params: Params, team: Team, seed: int, ranks: Ranks | None = None
    ) -> None:
        self.model = model
        self.params = params
        self.team = team
        self.seed = seed  # of dropout
        self.ranks = ranks or Ranks()
        self._works = [Workspaces(model) for _ in range(team.size)]
        self._grads = [params.zeros_like() for _ in range(team.size - 1)]
        self._shares: list[tuple[Batch, Workspace]] = []  # what `forward` left to `backward`
        self._B = 0  # rows of that window
        self._parts: dict[int, list[slice]] = {}  # rows of each thread, of so many

    def forward(self, batch: Batch, state: Floats, step: int) -> tuple[float, Floats]:
        """As `Model.forward`, for the rows of this rank: its part of the loss, its rows' new state.

        Dropout is that of this step, and of the first row of each thread.
        """
        B = self._B = batch.ids.shape[1]
        parts = self._cut(B)
        if parts == [slice(0, B)]:  # as with one thread: nothing is cut and put together
            self._shares = [(batch, self._works[0].get(*batch.ids.shape))]
            return self._run(0, 0, state, step)
        shares = [batch.rows(rows) for rows in parts]
        self._shares = [
            (share, works.get(*share.ids.shape))
            for share, works in zip(shares, self._works, strict=False)
        ]
        new_state = np.zeros_like(state)  # rows of other ranks stay finite

        def run(k: int) -> float:
            rows = parts[k]
            loss, new_state[:, :, rows] = self._run(k, rows.start, state[:, :, rows], step)
            return float(loss * (rows.stop - rows.start) / B)

        return sum(self.team.each(run, len(parts)), 0.0), new_state

    def _cut(self, B: int) -> list[slice]:
        """The rows of each thread of this rank."""
        if B not in self._parts:
            mine = self.ranks.rows(B)
            self._parts[B] = self.team.cut(mine.stop - mine.start, mine.start)
        return self._parts[B]

    def _run(self, k: int, first: int, state: Floats, step: int) -> tuple[float, Floats]:
        """Forward of one share, whose first row this is."""
        share, work = self._shares[k]
        if self.model.drops:
            rng = generator(self.seed, Purpose.DROPOUT, step, first)
            self.model.draw_dropout(work, rng)
        return self.model.forward(self.params, share, state, work)

    def backward(self, grads: Params, scale: float = 1.0) -> None:
        """Fill `grads` with the gradient of `scale` times the loss that `forward` returned."""
        if not self._shares:
            grads.flat.fill(0)
        filled = [grads, *self._grads]

        def run(k: int) -> None:
            share, work = self._shares[k]
            self.model.backward(self.params, share, work, filled[k], scale * work.B / self._B)

        self.team.each(run, len(self._shares))
        for other in filled[1 : len(self._shares)]:
            np.add(grads.flat, other.flat, grads.flat)
