"""A group of processes that mpiexec started, as in `mpiexec -n 4 charrnn train config.yaml`.

They communicate through mpi4py, on one machine or on several. Without mpiexec, MPI is not imported.
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

MIN_SLEEP_S, MAX_SLEEP_S = 1e-4, 1e-2  # between two polls of a barrier

# The variables in which a launcher passes the rank and the number of processes: MPICH, Intel MPI
# and MS-MPI; Open MPI; and srun with PMIx. SLURM_NTASKS is not enough: Slurm also sets it for a
# batch script and everything that it starts.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


class Launch(NamedTuple):
    """The rank of this process and the number of processes, as the launcher set them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the ranks of this machine


def launch() -> Launch:
    """Return the launcher's numbers from the environment, without MPI."""
    for rank_variable, size_variable in LAUNCHERS:
        size = _number(size_variable)
        if size > 1:
            rank = _number(rank_variable)
            local_ranks = [_number(name) for name in LOCAL_RANKS if name in os.environ]
            return Launch(rank, size, local_ranks[0] if local_ranks else rank)
    return Launch()


def _number(variable: str) -> int:
    """Return the number in an environment variable, or 0."""
    value = os.environ.get(variable, "")
    return int(value) if value.isascii() and value.isdecimal() else 0


class MPIGroup(ProcessGroup):
    """The processes of an MPI communicator."""

    def __init__(self, communicator: Any) -> None:
        """Take mpi4py's COMM_WORLD as the communicator."""
        self.rank, self.size = communicator.rank, communicator.size
        self._communicator = communicator
        self._all_informed = False  # whether all ranks have received the error that ends them

    def allreduce(self, vector: Floats) -> None:
        """Replace `vector` (N,) on every rank by the sum; MPI chooses the order of the terms."""
        self._communicator.Allreduce(None, vector)  # in place

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""
        self.barrier()
        values: list[Any] = self._communicator.allgather(value)
        return values

    def barrier(self) -> None:
        """Wait until every rank has called this; handle signals, and leave the core free."""
        request, sleep_s = self._communicator.Ibarrier(), MIN_SLEEP_S
        while not request.Test():
            time.sleep(sleep_s)
            sleep_s = min(2 * sleep_s, MAX_SLEEP_S)

    # A rank that MPI kills does not free its shared memory. So ranks that receive an error exit by
    # themselves, with its exit code, and MPI waits for the last of them.

    def on_rank_zero(self, task: Callable[[], Result]) -> Result:
        """Run the task on rank 0; return its result, or raise PeerFailed, on the other ranks."""
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
        """Return the error on rank 0, and PeerFailed on the other ranks."""
        self._all_informed = True
        return error if self.is_rank_zero else PeerFailed(error.exit_code)

    def abort(self, exit_code: int) -> None:
        """Let MPI end all ranks when this interpreter exits, after its message is printed."""
        if not self._all_informed:
            importlib.import_module("mpi4py.run").set_abort_status(exit_code)


def world_group() -> ProcessGroup:
    """Return the group of all processes that a launcher started.

    Raises CharrnnError when they cannot communicate; where several are on one machine, the others
    there raise PeerFailed with exit code 0.
    """
    launched = launch()
    if launched.size == 1:
        return SingleProcess()
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # the error has a message
    started = f"{launched.size} processes were started, but "
    try:
        communicator = importlib.import_module("mpi4py.MPI").COMM_WORLD
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI for it
        message = f"{started}mpi4py, which connects them, cannot be imported ({error})"
        hint = "Try pip install 'charrnn-numpy[mpi]', and an MPI such as mpich"
    else:
        if communicator.size == launched.size:
            return MPIGroup(communicator)
        message = (
            f"{started}mpi4py sees {communicator.size}: its MPI is not the one whose mpiexec "
            "started them"
        )
        hint = "Use the mpiexec of the MPI that mpi4py uses"
    # Without a group, one process on each machine prints the message. The others exit with code 0,
    # because a launcher may kill all processes at the first error, before the message is printed.
    raise CharrnnError(message, hint) if launched.local_rank == 0 else PeerFailed(0)
