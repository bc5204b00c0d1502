"""The losses of a run at its validations, taken from a checkpoint's history to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from charrnn import checkpoint
from charrnn.arrays import Floats
from charrnn.checkpoint import HISTORY_COLUMNS
from charrnn.config.schema import MAX_INT
from charrnn.data.characters import escape_unprintable
from charrnn.errors import CheckpointError
from charrnn.streams import display_name

MOST_NATS = 1e6  # a larger loss is no run's
SHARE = 50  # training is smoothed over so small a part of the run, which delays it by half of that


class Point(NamedTuple):
    """A loss, and when it was found."""

    x: float  # steps or seconds
    nats: float  # per character


@dataclass(frozen=True)
class Run:
    """The two curves of one checkpoint."""

    name: str  # as a legend shows it: no control characters
    training: list[Point]
    validation: list[Point]

    @property
    def best(self) -> Point | None:
        """The first of the lowest validations."""
        return min(self.validation, key=lambda point: point.nats, default=None)


def read(paths: Sequence[str], by: str, smooth: bool) -> list[Run]:
    """The runs of some checkpoints, against `by`, which is `steps` or `seconds`.

    Training is smoothed by `recent`, or with `smooth` as in Karpathy's gist. Raises
    CheckpointError when a checkpoint is not sound, or holds no validation.
    """
    runs = []
    for path, name in zip(paths, names(paths), strict=True):
        loaded = checkpoint.load(path)
        rows = dict(zip(HISTORY_COLUMNS, loaded.history.T, strict=True))
        xs = rows["step" if by == "steps" else "seconds"]
        every = loaded.config.output.validate_every
        training = rows["smooth_nats"]
        if not smooth:
            training = recent(rows["step"], rows["train_nats"], max(every, loaded.step / SHARE))
        run = Run(name, _points(xs, training), _points(xs, rows["validation_nats"]))
        if not run.training and not run.validation:
            raise CheckpointError(
                f"{display_name(path)} is at step {loaded.step:,} and holds no validation yet, so "
                f"there is no loss to draw. The first comes at step {every:,}",
                f"To resume its training: {loaded.resume_command(path)}",
            )
        runs.append(run)
    return runs


def recent(steps: Floats, nats: Floats, window: float) -> Floats:
    """The mean (N,) of the last steps, at least `window` of them, from means between rows (N,).

    The last validation of a run may come soon after the one before; its mean alone says little.

    >>> recent(np.array([10, 20, 22]), np.array([3.0, 2.0, 8.0]), 10)
    array([3., 2., 3.])
    """
    ends = np.append(0.0, steps)
    firsts = np.searchsorted(ends, steps - window, "right") - 1
    firsts = firsts.clip(0, np.arange(len(steps)))
    with np.errstate(all="ignore"):  # the file may hold any number
        sums = np.append(0.0, (nats * np.diff(ends)).cumsum())
        means: Floats = (sums[1:] - sums[firsts]) / (steps - ends[firsts])
    return means


def _points(xs: Floats, ys: Floats) -> list[Point]:
    """What can be drawn. A run without a validation part has NaN in place of its loss."""
    kept = (xs >= 0) & (xs <= MAX_INT) & (ys >= 0) & (ys <= MOST_NATS)
    return [Point(x, y) for x, y in np.stack([xs, ys], axis=1)[kept].tolist()]


def names(paths: Sequence[str]) -> list[str]:
    """What to call each file: its name without `.npz`, with as many folders as tell it apart.

    >>> names(["runs/a.npz", "b.best.npz"])
    ['a', 'b.best']
    >>> names(["one/x/a.npz", "two/x/a.npz", "a.npz", "-"])
    ['one/x/a', 'two/x/a', 'a', 'standard input']
    >>> names(["a.npz", "a.npz"])
    ['a', 'a (2)']
    """
    parts = [PurePath(display_name(path).removesuffix(".npz")).parts for path in paths]
    chosen: list[str] = []
    for mine in parts:
        others = [theirs for theirs in parts if theirs != mine]
        unique = (n for n in range(1, len(mine)) if all(mine[-n:] != o[-n:] for o in others))
        name = "".join(map(escape_unprintable, "/".join(mine[-next(unique, len(mine)) :])))
        again = sum(mine == earlier for earlier in parts[: len(chosen)])
        chosen.append(f"{name} ({again + 1})" if again else name)
    return chosen


def shortened(name: str, most: int) -> str:
    """The name, or as much of its end as `most` characters hold.

    >>> shortened("runs/dinos", 8)
    '...dinos'
    """
    return name if len(name) <= most else "..." + name[3 - most :]


def when(x: float, by: str) -> str:
    """The place of a point, in words.

    >>> when(2025, "steps"), when(6.83166, "seconds")
    ('at step 2,025', 'after 6.8 s')
    """
    return f"at step {x:,.0f}" if by == "steps" else f"after {x:,.1f} s"
