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
from charrnn.config.schema import MAX_INT
from charrnn.data.characters import escape_unprintable
from charrnn.errors import CheckpointError
from charrnn.streams import display_name

MAX_NATS = 1e6  # a larger loss is not drawn
WINDOWS = 50  # of a run; a training loss is the mean of one, which delays it by half of it


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


def read(paths: Sequence[str], by: str, smooth: bool) -> list[Run]:
    """Return the runs of checkpoints, against `by`, which is `steps` or `seconds`.

    The training loss is smoothed by `recent`, or with `smooth` as in Karpathy's gist. Raises
    CheckpointError when a checkpoint is invalid or contains no validation.
    """
    runs = []
    for path, name in zip(paths, names(paths), strict=True):
        loaded = checkpoint.load(path)
        rows = dict(zip(HISTORY_COLUMNS, loaded.history.T, strict=True))
        xs = rows["step" if by == "steps" else "seconds"]
        every = loaded.config.output.validate_every
        training = rows["smooth_nats"]
        if not smooth:
            training = recent(rows["step"], rows["train_nats"], max(every, loaded.step / WINDOWS))
        run = Run(name, _points(xs, training), _points(xs, rows["validation_nats"]))
        if not run.training and not run.validation:
            raise CheckpointError(
                f"{display_name(path)} is at step {loaded.step:,} and contains no validation yet, "
                f"so there is no loss to draw. The first validation is at step {every:,}",
                f"To resume its training: {loaded.resume_command(path)}",
            )
        runs.append(run)
    return runs


def recent(steps: Floats, nats: Floats, window: float) -> Floats:
    """Return the mean (N,) of at least the last `window` steps, up to the step of each row (N,).

    `nats` (N,) are the means of the steps since the row before. The last row of a run may have few
    steps, so that their mean alone would be noisy.

    >>> recent(np.array([10, 20, 22]), np.array([3.0, 2.0, 8.0]), 10)
    array([3., 2., 3.])
    """
    ends = np.append(0.0, steps)
    starts = np.searchsorted(ends, steps - window, "right") - 1
    starts = starts.clip(0, np.arange(len(steps)))
    with np.errstate(all="ignore"):  # the file may contain any number
        sums = np.append(0.0, (nats * np.diff(ends)).cumsum())
        means: Floats = (sums[1:] - sums[starts]) / (steps - ends[starts])
    return means


def _points(xs: Floats, ys: Floats) -> list[Point]:
    """Return the points that can be drawn; a run without a validation part has NaN as its loss."""
    valid = (xs >= 0) & (xs <= MAX_INT) & (ys >= 0) & (ys <= MAX_NATS)
    return [Point(x, y) for x, y in np.stack([xs, ys], axis=1)[valid].tolist()]


def names(paths: Sequence[str]) -> list[str]:
    """Return a name for each file, without `.npz` and with as many folders as make it unique.

    >>> names(["runs/a.npz", "b.best.npz"])
    ['a', 'b.best']
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
