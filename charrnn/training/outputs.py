"""The files of a run: the checkpoint and the metrics.

Every save replaces them. When a write fails, the old file stays and the run continues; the next
save writes the same data again. All ranks of a run save together, and rank 0 writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from pathlib import Path

from charrnn import checkpoint
from charrnn.atomic import as_checkpoint_error, replace_file, sibling_path
from charrnn.checkpoint import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.parallel.mpi import launch
from charrnn.training.state import LossPoint
from charrnn.training.trainer import Trainer


def old_path(path: str) -> str:
    """Return the path where the checkpoint of an earlier run is kept."""
    return str(sibling_path(path, ".old.npz"))


def is_kept(path: str) -> bool:
    """Return whether a new run keeps the file at `path` as NAME.old.npz.

    A run that is not finished does not replace the one that is kept already.
    """
    if not os.path.exists(old_path(path)):
        return True
    try:
        return bool(checkpoint.load(path).training_state.get("finished"))
    except CheckpointError:
        return False


def metrics_path(checkpoint_path: str) -> Path:
    """Return the path of the metrics file that belongs to a checkpoint."""
    return sibling_path(checkpoint_path, ".jsonl")


def read_metrics(step: int, path: Path) -> list[bytes]:
    """Return the lines of a metrics file up to `step`.

    Drops lines that are no row of metrics. Returns an empty list when the file cannot be read.
    """
    lines = []
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                if json.loads(line)["step"] <= step:
                    lines.append(line.strip() + b"\n")
    return lines


class RunFiles:
    """The checkpoint of a run at `path`, and the metrics beside it."""

    def __init__(self, trainer: Trainer, path: str) -> None:
        self.trainer = trainer
        self.path = path
        self.metrics = read_metrics(trainer.step, metrics_path(path))
        self.saved_step = trainer.step or None  # of the checkpoint at `path`; None before a save
        self.failure: CheckpointError | None = None  # the error of the last save

    def log(self, point: LossPoint) -> None:
        """Add a point to the metrics, which the next save writes."""
        self.metrics.append(point.as_line())

    def save(self, point: LossPoint | None = None) -> str | None:
        """Write all files on rank 0, and return a warning when that fails.

        The checkpoint is written last: a run that is killed between two writes resumes from the
        previous checkpoint and saves again. Raises DivergedError instead of saving NaN.
        """
        if point is not None:
            self.log(point)
        snapshot = self.trainer.snapshot()
        return self.trainer.group.on_rank_zero(lambda: self._save(snapshot))

    def _save(self, snapshot: Checkpoint) -> str | None:
        """Write all files, each even if another fails; return the warning of `save`."""
        with contextlib.suppress(OSError):  # the writes below report the error
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)  # if it was removed
        self.failure = None
        for write in (self._write_metrics, lambda: self._save_checkpoint(snapshot)):
            try:
                write()
            except CheckpointError as error:
                self.failure = error  # that of the checkpoint, if any: it comes last
        if self.failure is None:
            return None
        return f"step {snapshot.step:,}: {self.failure}; the next save tries again"

    def _write_metrics(self) -> None:
        """Write the metrics."""
        path = metrics_path(self.path)
        with as_checkpoint_error(path):
            if not self.metrics:  # an earlier run's file goes when its checkpoint is replaced
                path.unlink(missing_ok=True)
                return
            with replace_file(path) as stream:
                stream.writelines(self.metrics)

    def _save_checkpoint(self, snapshot: Checkpoint) -> None:
        """Write the checkpoint; before the first one, keep that of an earlier run."""
        if self.saved_step is None and os.path.isfile(self.path) and is_kept(self.path):
            with (
                as_checkpoint_error(old_path(self.path)),
                open(self.path, "rb") as source,
                replace_file(old_path(self.path)) as target,
            ):
                shutil.copyfileobj(source, target)
        checkpoint.save(snapshot, self.path)
        self.saved_step = snapshot.step

    def raise_if_failed(self) -> None:
        """Raise CheckpointError, with what to do next, if the last save failed."""
        if self.failure is None:
            return
        step, hint = self.trainer.step, ""
        if self.saved_step == step:
            outcome = (
                f"The checkpoint of step {step:,} is saved, and its history contains the losses of "
                "every validation"
            )
        elif self.saved_step is None:
            outcome = f"Step {step:,} is not saved, and no step before it"
            hint = "Free disk space, or choose another path with --out FILE, and start again"
        else:
            outcome = f"Step {step:,} is not saved, but step {self.saved_step:,} is"
            hint = f"Free disk space, and resume from it: {self.resume_command()}"
        raise CheckpointError(f"{self.failure}. {outcome}", hint)

    def resume_command(self) -> str:
        """Return the command that resumes the run."""
        size = launch().size
        launcher = f"mpiexec -n {size} " if size > 1 else ""
        return f"{launcher}charrnn train {shlex.quote(self.path)} --resume"
