"""What several ranks do in tests, where a spawned process must find it by its name."""

import os
import sys
from pathlib import Path

import numpy as np

COMMAND = [sys.executable, "-m", "charrnn"]

# Executed before the program: how the other ranks are made.
BY = {
    method: f"import charrnn.parallel.local as local; local.can_fork = lambda: {method == 'fork'}"
    for method in ("fork", "spawn")
}
FAILING = """
import charrnn.errors, charrnn.training.trainer
update = charrnn.training.trainer.Trainer.update
def failing(run, *given):
    if run.step == 15 and run.group.rank == 1:
        raise charrnn.errors.DivergedError("enough")
    return update(run, *given)
charrnn.training.trainer.Trainer.update = failing
"""


def exchange_of(rank, size):
    """What `exchange` gives on each rank, by rank."""
    return ["x" * (2_000_000 * other) for other in range(size)], "from 0"


def exchange(group):
    """Values of very different sizes."""
    of_all = group.allgather("x" * (2_000_000 * group.rank))
    return group.allgather((of_all, group.broadcast(f"from {group.rank}")))


def exits(group):
    """Rank 1 leaves with a code of its own."""
    if group.rank == 1:
        sys.exit(7)
    group.barrier()


def size_of(group):
    """How many there are."""
    return group.size


class Fails:
    """Rank 0 fails when all have written who they are; one waits for it, one works on."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, group):
        Path(self.folder, str(group.rank)).write_text(str(os.getpid()), encoding="ascii")
        group.barrier()
        if group.rank == 0:
            raise ZeroDivisionError
        while group.rank == 2:
            np.ones(1000).sum()
        group.barrier()
