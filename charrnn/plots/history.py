"""The losses of a run at its validations, taken from a checkpoint's history to be drawn."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from charrnn import checkpoint
from charrnn.checkpoint import HISTORY, Checkpoint
from charrnn.config.schema import MOST
from charrnn.data.characters import visible
from charrnn.errors import CheckpointError
from charrnn.streams import name_of

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
        columns = dict(zip(HISTORY, loaded.history.T.tolist(), strict=True))
        xs = columns["step" if by == "steps" else "seconds"]
        training = columns["smooth_nats"]
        if not smooth:
            window = max(loaded.config.output.validate_every, loaded.step / SHARE)
            training = recent(columns["step"], columns["train_nats"], window)
        run = Run(name, _points(xs, training), _points(xs, columns["validation_nats"]))
        if not run.training and not run.validation:
            raise _nothing(loaded, path)
        runs.append(run)
    return runs


def recent(steps: Sequence[float], nats: Sequence[float], window: float) -> list[float]:
    """The mean of the last steps, at least `window` of them, from means of the steps between rows.

    The last validation of a run may come soon after the one before; its mean alone says little.

    >>> recent([10, 20, 22], [3.0, 2.0, 8.0], 10)
    [3.0, 2.0, 3.0]
    """
    means, sums, first = [], [0.0], 0
    ends = [0.0, *steps]
    for k, mean in enumerate(nats, 1):
        sums.append(sums[-1] + mean * (ends[k] - ends[k - 1]))
        while first + 1 < k and ends[first + 1] <= ends[k] - window:
            first += 1
        length = ends[k] - ends[first]
        means.append((sums[k] - sums[first]) / length if length > 0 else mean)
    return means


def _points(xs: Sequence[float], ys: Sequence[float]) -> list[Point]:
    """What can be drawn. A run without a validation part has NaN in place of its loss."""
    pairs = zip(xs, ys, strict=True)
    return [Point(x, y) for x, y in pairs if 0 <= x <= MOST and 0 <= y <= MOST_NATS]


def _nothing(loaded: Checkpoint, path: str) -> CheckpointError:
    name = name_of(path)
    file = (loaded.config.output.checkpoint or path) if path == "-" else path
    return CheckpointError(
        f"{name} stands at step {loaded.step:,} and holds no validation yet, so there is no loss "
        f"to draw. The first comes at step {loaded.config.output.validate_every:,}",
        f"To go on with its training: charrnn train {shlex.quote(file)} --resume",
    )


def names(paths: Sequence[str]) -> list[str]:
    """What to call each file: its name without `.npz`, with as many folders as tell it apart.

    >>> names(["runs/a.npz", "b.best.npz"])
    ['a', 'b.best']
    >>> names(["one/x/a.npz", "two/x/a.npz", "a.npz", "-"])
    ['one/x/a', 'two/x/a', 'a', 'standard input']
    >>> names(["a.npz", "a.npz"])
    ['a', 'a (2)']
    """
    places = [_parts(path) for path in paths]
    chosen = ["/".join(_shortest(parts, places)) for parts in places]
    seen: Counter[str] = Counter()
    for k, name in enumerate(chosen):
        seen[name] += 1
        chosen[k] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return ["".join(map(visible, name)) for name in chosen]


def _parts(path: str) -> tuple[str, ...]:
    if path == "-":
        return (name_of(path),)
    place = PurePath(path)
    return place.with_suffix("").parts if place.suffix == ".npz" else place.parts


def _shortest(parts: tuple[str, ...], places: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The end of a path that no other path ends in."""
    others = [place for place in places if place != parts]
    for length in range(1, len(parts)):
        end = parts[-length:]
        if all(place[-length:] != end for place in others):
            return end
    return parts


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
