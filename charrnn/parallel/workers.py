"""Forward and backward of a window whose rows are shared by this process and its helpers.

Each works on its own rows, with its own memory and its own gradient:

    loss     = sum over all of them of (its rows / all rows) x its loss
    gradient = g[0] + g[1] + ..., always in this order
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Batch, Floats
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace, Workspaces
from charrnn.parallel.mpi import Ranks
from charrnn.parallel.team import Team
from charrnn.rng import Purpose, jumping


class Share:
    """One of those who share the rows."""

    def __init__(self, model: Model, params: Params, seed: int, grads: Params | None) -> None:
        """`grads` is where its gradient goes, if it is not told each time."""
        self.model = model
        self.params = params
        self.seed = seed
        self.grads = grads
        self._works = Workspaces(model)
        self._open: tuple[Batch, Workspace] | None = None  # what `forward` left to `backward`

    def forward(self, batch: Batch, state: Floats, step: int, first: int) -> tuple[float, Floats]:
        """`Model.forward` of these rows, the first of which is number `first` of the window."""
        work = self._works.get(*batch.ids.shape)
        self._open = batch, work
        if self.model.drops:
            source = jumping(self.seed, Purpose.DROPOUT, step)
            self.model.draw_dropout(work, source, first)
        return self.model.forward(self.params, batch, state, work)

    def backward(self, scale: float, grads: Params | None = None) -> None:
        """`Model.backward` of the same rows."""
        grads = self.grads if grads is None else grads
        assert grads is not None
        assert self._open is not None
        self.model.backward(self.params, *self._open, grads, scale)


class Workers:
    """Forward and backward of a model, the rows of each window shared by ranks and a team."""

    def __init__(
        self, model: Model, params: Params, team: Team, seed: int, ranks: Ranks | None = None
    ) -> None:
        """`seed` is that of dropout. With helpers, `params` must be `shared`."""
        assert team.size == 1 or params.shared
        self.team = team
        self.ranks = ranks or Ranks()
        self._grads = [params.zeros_like() for _ in range(team.size - 1)]  # of the helpers
        self._shares = [Share(model, params, seed, grads) for grads in (None, *self._grads)]
        team.learn("forward", [share.forward for share in self._shares])
        team.learn("backward", [share.backward for share in self._shares])
        self._parts: dict[int, list[slice]] = {}  # the rows of each, of so many
        self._B = 0  # rows of the last window

    def forward(self, batch: Batch, state: Floats, step: int) -> tuple[float, Floats]:
        """As `Model.forward`, for the rows of this rank: its part of the loss, its rows' new state.

        Dropout depends on the step and the row alone.
        """
        B = self._B = batch.ids.shape[1]
        parts = self._cut(B)
        if parts == [slice(0, B)]:  # as with one: nothing is cut and put together
            return self._shares[0].forward(batch, state, step, 0)
        new_state = np.zeros_like(state)  # rows of other ranks stay finite
        work = [(batch.rows(rows), state[:, :, rows], step, rows.start) for rows in parts]
        loss = 0.0
        for rows, found in zip(parts, self.team.each("forward", work), strict=True):
            part, new_state[:, :, rows] = found
            loss += part * (rows.stop - rows.start) / B
        return loss, new_state

    def _cut(self, B: int) -> list[slice]:
        """The rows of each of this rank."""
        if B not in self._parts:
            mine = self.ranks.rows(B)
            self._parts[B] = self.team.cut(mine.stop - mine.start, mine.start)
        return self._parts[B]

    def backward(self, grads: Params, scale: float = 1.0) -> None:
        """Fill `grads` with the gradient of `scale` times the loss that `forward` returned."""
        parts = self._cut(self._B)
        if not parts:
            grads.flat.fill(0)
            return
        first, *others = (scale * (rows.stop - rows.start) / self._B for rows in parts)
        self.team.each("backward", [(first, grads), *((share,) for share in others)])
        for other in self._grads[: len(others)]:
            np.add(grads.flat, other.flat, grads.flat)
