"""A group of processes that mpiexec started, as in `mpiexec -n 4 charrnn train config.yaml`.

They meet through mpi4py, on one machine or on several. Without mpiexec, MPI is not imported.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from charrnn.errors import CharrnnError
from charrnn.parallel.group import PeerFailed, ProcessGroup, Result, SingleProcess, exit_code

if TYPE_CHECKING:
    from charrnn.arrays import Floats

MIN_SLEEP_S, MAX_SLEEP_S = (
    1e-4,
    1e-2,
)  # a rank sleeps between two looks whether the others are there

# The variables by which a launcher tells a process its rank and how many there are: MPICH, Intel
# MPI and MS-MPI; Open MPI; and srun with PMIx. SLURM_NTASKS alone says nothing: a batch script and
# all it starts have it too.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


class Launch(NamedTuple):
    """What the launcher says of this process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the ranks of this machine


def launch() -> Launch:
    """Read it off the environment, without MPI."""
    for of_rank, of_size in LAUNCHERS:
        size = _number(of_size)
        if size > 1:
            rank = _number(of_rank)
            local_ranks = [_number(name) for name in LOCAL_RANKS if name in os.environ]
            return Launch(rank, size, local_ranks[0] if local_ranks else rank)
    return Launch()


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isascii() and value.isdecimal() else 0


class MPIGroup(ProcessGroup):
    """The processes of an MPI communicator."""

    def __init__(self, communicator: Any) -> None:
        """Take mpi4py's COMM_WORLD."""
        self.rank, self.size = communicator.rank, communicator.size
        self._communicator = communicator
        self._all_informed = False  # of the error with which they end

    def allreduce(self, vector: Floats) -> None:
        """Let MPI add them up, in an order of its own."""
        self._communicator.Allreduce(None, vector)  # in place

    def allgather(self, value: Any) -> list[Any]:
        """Return what every rank gives, by rank."""
        self.barrier()
        values: list[Any] = self._communicator.allgather(value)
        return values

    def barrier(self) -> None:
        """Wait for the others, awake to signals, and leave the cores to those that work."""
        meeting, pause = self._communicator.Ibarrier(), MIN_SLEEP_S
        while not meeting.Test():
            time.sleep(pause)
            pause = min(2 * pause, MAX_SLEEP_S)

    # Ranks that MPI has to end leave shared memory behind. So those that can know of an error end
    # by themselves, with its exit code, and MPI waits for the last of them.

    def on_rank_zero(self, task: Callable[[], Result]) -> Result:
        """Do the task on rank 0; the others raise PeerFailed for an error of it."""
        outcome: tuple[int, Any] = (0, None)
        try:
            if self.is_rank_zero:
                outcome = 0, task()
        except BaseException as error:
            self._all_informed = True
            self.broadcast((exit_code(error), None))
            raise
        code, result = self.broadcast(outcome)
        if code:
            self._all_informed = True
            raise PeerFailed(code)
        return cast("Result", result)

    def error_for_all_ranks(self, error: CharrnnError) -> Exception:
        """Return the error on rank 0, and PeerFailed on the others."""
        self._all_informed = True
        return error if self.is_rank_zero else PeerFailed(error.exit_code)

    def abort(self, exit_code: int) -> None:
        """Let MPI end all ranks when this interpreter ends, and its message is out."""
        if not self._all_informed:
            importlib.import_module("mpi4py.run").set_abort_status(exit_code)


def world_group() -> ProcessGroup:
    """Return the group of all processes that a launcher started. Raises CharrnnError."""
    launched = launch()
    if launched.size == 1:
        return SingleProcess()
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # the error's own is enough
    started = f"{launched.size} processes were started, and "
    try:
        communicator = importlib.import_module("mpi4py.MPI").COMM_WORLD
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI for it
        message = f"{started}mpi4py, by which they meet, cannot be imported ({error})"
        hint = "Try pip install 'charrnn-numpy[mpi]', and an MPI such as mpich"
    else:
        if communicator.size == launched.size:
            return MPIGroup(communicator)
        message = (
            f"{started}mpi4py sees {communicator.size}: its MPI is not that of the mpiexec which "
            "started them"
        )
        hint = "Take the mpiexec of the MPI that mpi4py uses"
    # Before they meet, one on each machine speaks. The others leave without an error, because a
    # launcher may end all processes at the first one, before its message is out.
    raise CharrnnError(message, hint) if launched.local_rank == 0 else PeerFailed(0)
