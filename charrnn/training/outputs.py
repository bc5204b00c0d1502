"""The files of a run: the checkpoint, the best one and the metrics, written again and again.

A write that fails costs nothing but what it was to write: the old file stays, the run goes on, and
the next save makes up for it. All ranks of a run save together, and the first of them writes.
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
    """Where `keep: best` puts the best validation's checkpoint."""
    return str(sibling_path(path, ".best.npz"))


def metrics_path(checkpoint_path: str) -> Path:
    """Where the metrics of a checkpoint are."""
    return sibling_path(checkpoint_path, ".jsonl")


def read_metrics(step: int, path: Path) -> list[bytes]:
    """The lines of a metrics file that are of validations up to `step`; none without a file."""
    lines = []
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                if json.loads(line)["step"] <= step:
                    lines.append(line.strip() + b"\n")
    return lines


class RunFiles:
    """What a run leaves at `path` and beside it."""

    def __init__(self, trainer: Trainer, path: str) -> None:
        self.trainer = trainer
        self.path = path
        self.metrics = read_metrics(trainer.step, metrics_path(path))
        self.saved_at = trainer.step or None  # the step of the checkpoint at `path`, if it is ours
        self.best: Checkpoint | None = None  # the best validation's, while it is to be written
        self.failure: CheckpointError | None = None  # of the last save

    def save(self, report: ValidationReport | None = None) -> str | None:
        """Write all there is to write, and say what was wrong, if anything was.

        Rank 0 writes. The checkpoint comes last: a run that is killed in between goes on from the
        one before, and comes here again. Raises DivergedError rather than save NaN.
        """
        saved = self.trainer.snapshot()
        return self.trainer.group.on_rank_zero(lambda: self._save(saved, report))

    def _save(self, saved: Checkpoint, report: ValidationReport | None) -> str | None:
        if report is not None:
            self.metrics.append(report.as_line())
            if report.best and self.trainer.config.output.keep == "best":
                self.best = saved
        with contextlib.suppress(OSError):  # the writes tell what is wrong
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)  # if somebody has removed it
        self.failure = None
        for write in (self._save_best, self._write_metrics, lambda: self._save_last(saved)):
            try:
                write()
            except CheckpointError as error:
                self.failure = error  # the checkpoint's counts most, and comes last
        if self.best is saved:  # still to be written, while the run's own arrays go on changing
            self.best = copy.deepcopy(saved)
        if self.failure is None:
            return None
        return f"step {saved.step:,}: {self.failure}; the next save tries again"

    def _save_best(self) -> None:
        if self.best is not None:
            checkpoint.save(self.best, best_path(self.path))
            self.best = None

    def _write_metrics(self) -> None:
        path = metrics_path(self.path)
        with as_checkpoint_error(path):
            if not self.metrics:  # those of an earlier run go with its checkpoint
                path.unlink(missing_ok=True)
                return
            with replace_file(path) as stream:
                stream.writelines(self.metrics)

    def _save_last(self, saved: Checkpoint) -> None:
        checkpoint.save(saved, self.path)
        self.saved_at = saved.step

    def check(self) -> None:
        """Raise CheckpointError, which tells how to go on, when the last save failed."""
        if self.failure is None:
            return
        now, saved_at = self.trainer.step, self.saved_at
        hint = ""
        if saved_at == now:
            state = (
                f"The checkpoint of step {now:,} is saved, and its history holds the losses of "
                "every validation"
            )
        elif saved_at is None:
            state = f"Step {now:,} is not saved, nor is any before it"
            hint = "Make room, or choose another place with --out FILE, and start again"
        else:
            state = f"Step {now:,} is not saved, but step {saved_at:,} is"
            hint = f"Make room there, and go on from it: {self.resume_command()}"
        raise CheckpointError(f"{self.failure}. {state}", hint)

    def resume_command(self) -> str:
        """What to type to continue the run."""
        size = launch().size
        launcher = f"mpiexec -n {size} " if size > 1 else ""
        return f"{launcher}charrnn train {shlex.quote(self.path)} --resume"
