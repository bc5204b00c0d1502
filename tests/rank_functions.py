"""Functions and code that ranks run in tests; a spawned process imports them by name."""

import os
import sys
from pathlib import Path

import numpy as np

CHARRNN = [sys.executable, "-m", "charrnn"]

# Code to execute before the program: it sets the start method of the other ranks.
START_METHOD_CODE = {
    method: f"import charrnn.parallel.local as local; local.can_fork = lambda: {method == 'fork'}"
    for method in ("fork", "spawn")
}
# Code to execute before the program: it makes the update of rank 1 fail at step 15.
FAILING_CODE = """
import charrnn.errors, charrnn.training.trainer
update = charrnn.training.trainer.Trainer.update
def failing_update(run, *arguments):
    if run.step == 15 and run.group.rank == 1:
        raise charrnn.errors.DivergedError("enough")
    return update(run, *arguments)
charrnn.training.trainer.Trainer.update = failing_update
"""


def expected_exchange(rank, size):
    """Return the expected element number `rank` of the result of `exchange` with `size` ranks."""
    return ["x" * (2_000_000 * sender) for sender in range(size)], "from 0"


def exchange(group):
    """Gather a string of 2 MB times the rank, and broadcast a short one.

    Return the two results of every rank, by rank.
    """
    gathered = group.allgather("x" * (2_000_000 * group.rank))
    return group.allgather((gathered, group.broadcast(f"from {group.rank}")))


def exit_on_rank_one(group):
    """Exit with code 7 on rank 1; the other ranks wait at a barrier."""
    if group.rank == 1:
        sys.exit(7)
    group.barrier()


def group_size(group):
    """Return the number of ranks."""
    return group.size


class FailOnRankZero:
    """A task in which rank 0 fails after every rank has written its process id to a file.

    The file is named after the rank. Rank 1 then waits at a barrier, and rank 2 computes for ever.
    """

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
