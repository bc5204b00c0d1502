"""The loss curves of a run, read from the history in its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from charrnn import checkpoint
from charrnn.arrays import Floats
from charrnn.checkpoint import HISTORY_COLUMNS
from charrnn.config.kinds import MAX_INT
from charrnn.data.characters import escape_unprintable
from charrnn.errors import CheckpointError
from charrnn.streams import display_name

MAX_NATS = 1e6  # a larger loss is not drawn
MIN_RANGE_NATS = 0.01  # from the lower edge to the upper one
FEW_POINTS = 20  # of a training curve, up to which the first one is always in the picture


class Point(NamedTuple):
    """A loss, and when it was measured."""

    x: float  # steps or seconds
    nats: float  # per character


@dataclass(frozen=True)
class Run:
    """The two loss curves of one checkpoint."""

    name: str  # for the legend: without control characters
    training: list[Point]
    validation: list[Point]

    @property
    def best(self) -> Point | None:
        """The lowest validation loss, the first if several are equal."""
        return min(self.validation, key=lambda point: point.nats, default=None)


def read(paths: Sequence[str], by: str) -> tuple[list[Run], bool]:
    """Return the runs of checkpoints, against `by`, which is `steps` or `seconds`.

    Also returns whether all runs are finished. A point of the training loss is the mean of all
    updates since the point before. Raises CheckpointError when a checkpoint is invalid or contains
    no loss.
    """
    runs, finished = [], True
    for path, name in zip(paths, names(paths), strict=True):
        loaded = checkpoint.load(path)
        rows = dict(zip(HISTORY_COLUMNS, loaded.history.T, strict=True))
        xs = rows["step" if by == "steps" else "seconds"]
        run = Run(name, _points(xs, rows["train_nats"]), _points(xs, rows["validation_nats"]))
        if not run.training and not run.validation:
            raise CheckpointError(
                f"{display_name(path)} is at step {loaded.step:,} and contains no loss to draw yet",
                f"To resume its training: {loaded.resume_command(path)}",
            )
        runs.append(run)
        finished = finished and bool(loaded.training_state.get("finished"))
    return runs, finished


def _points(xs: Floats, ys: Floats) -> list[Point]:
    """Return the points that can be drawn; a run without a validation part has NaN as its loss."""
    valid = (xs >= 0) & (xs <= MAX_INT) & (ys >= 0) & (ys <= MAX_NATS)
    return [Point(x, y) for x, y in np.stack([xs, ys], axis=1)[valid].tolist()]


def y_range(runs: Sequence[Run]) -> tuple[float, float]:
    """Return the lower and the upper edge of the y axis: the lowest and the highest loss.

    The first of more than FEW_POINTS training losses may be above: it could flatten the rest.
    """
    low = min(point.nats for run in runs for point in run.training + run.validation)
    later = [run.training[len(run.training) > FEW_POINTS :] + run.validation for run in runs]
    return low, max(low + MIN_RANGE_NATS, *(point.nats for points in later for point in points))


def names(paths: Sequence[str]) -> list[str]:
    """Return a name for each file, without `.npz` and with as many folders as make it unique.

    >>> names(["runs/a.npz", "b.old.npz"])
    ['a', 'b.old']
    >>> names(["one/x/a.npz", "two/x/a.npz", "a.npz", "-"])
    ['one/x/a', 'two/x/a', 'a', 'standard input']
    >>> names(["a.npz", "a.npz"])
    ['a', 'a (2)']
    """
    all_parts = [PurePath(display_name(path).removesuffix(".npz")).parts for path in paths]
    unique_names: list[str] = []
    for parts in all_parts:
        rest = [p for p in all_parts if p != parts]
        lengths = (n for n in range(1, len(parts)) if all(parts[-n:] != p[-n:] for p in rest))
        name = "".join(map(escape_unprintable, "/".join(parts[-next(lengths, len(parts)) :])))
        earlier = all_parts[: len(unique_names)].count(parts)
        unique_names.append(f"{name} ({earlier + 1})" if earlier else name)
    return unique_names


def shorten(name: str, max_chars: int) -> str:
    """Return the name, or its end with three dots if it is longer than `max_chars`.

    >>> shorten("runs/dinos", 8)
    '...dinos'
    """
    return name if len(name) <= max_chars else "..." + name[3 - max_chars :]


def format_x(x: float, by: str) -> str:
    """Return the step or the time of a point, in words.

    >>> format_x(2025, "steps"), format_x(6.83166, "seconds")
    ('at step 2,025', 'after 6.8 s')
    """
    return f"at step {x:,.0f}" if by == "steps" else f"after {x:,.1f} s"
