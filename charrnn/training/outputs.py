"""The files of a run: the checkpoint, the best checkpoint and the metrics.

Every save replaces them. When a write fails, the old file stays and the run continues; the next
save writes the same data again. All ranks of a run save together, and rank 0 writes.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shlex
from pathlib import Path

from charrnn import checkpoint
from charrnn.atomic import as_checkpoint_error, replace_file, sibling_path
from charrnn.checkpoint import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.parallel.mpi import launch
from charrnn.training.state import ValidationReport
from charrnn.training.trainer import Trainer


def best_path(path: str) -> str:
    """Return the path of the best validation's checkpoint, which `keep: best` writes."""
    return str(sibling_path(path, ".best.npz"))


def metrics_path(checkpoint_path: str) -> Path:
    """Return the path of the metrics file that belongs to a checkpoint."""
    return sibling_path(checkpoint_path, ".jsonl")


def read_metrics(step: int, path: Path) -> list[bytes]:
    """Return the lines of a metrics file for validations up to `step`.

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
    """The checkpoint of a run at `path`, and the metrics and the best checkpoint beside it."""

    def __init__(self, trainer: Trainer, path: str) -> None:
        self.trainer = trainer
        self.path = path
        self.metrics = read_metrics(trainer.step, metrics_path(path))
        self.saved_step = (
            trainer.step or None
        )  # step of this run's checkpoint at `path`; None without one
        self.best: Checkpoint | None = None  # of the best validation, until it is written
        self.failure: CheckpointError | None = None  # the error of the last save

    def save(self, report: ValidationReport | None = None) -> str | None:
        """Write all files on rank 0, and return a warning when that fails.

        The checkpoint is written last: a run that is killed between two writes resumes from the
        previous checkpoint and saves again. Raises DivergedError instead of saving NaN.
        """
        snapshot = self.trainer.snapshot()
        return self.trainer.group.on_rank_zero(lambda: self._save(snapshot, report))

    def _save(self, snapshot: Checkpoint, report: ValidationReport | None) -> str | None:
        """Write all files, each even if another fails; return the warning of `save`."""
        if report is not None:
            self.metrics.append(report.as_line())
            if report.best and self.trainer.config.output.keep == "best":
                self.best = snapshot
        with contextlib.suppress(OSError):  # the writes below report the error
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)  # if it was removed
        self.failure = None
        for write in (self._save_best, self._write_metrics, lambda: self._save_last(snapshot)):
            try:
                write()
            except CheckpointError as error:
                self.failure = error  # that of the checkpoint, if any: it comes last
        if self.best is snapshot:  # not written yet: training changes the arrays of the snapshot
            self.best = copy.deepcopy(snapshot)
        if self.failure is None:
            return None
        return f"step {snapshot.step:,}: {self.failure}; the next save tries again"

    def _save_best(self) -> None:
        """Write the best checkpoint, unless it is written already."""
        if self.best is not None:
            checkpoint.save(self.best, best_path(self.path))
            self.best = None

    def _write_metrics(self) -> None:
        """Write the metrics of all validations."""
        path = metrics_path(self.path)
        with as_checkpoint_error(path):
            if not self.metrics:  # an earlier run's file goes when its checkpoint is replaced
                path.unlink(missing_ok=True)
                return
            with replace_file(path) as stream:
                stream.writelines(self.metrics)

    def _save_last(self, snapshot: Checkpoint) -> None:
        """Write the checkpoint of the current step."""
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
