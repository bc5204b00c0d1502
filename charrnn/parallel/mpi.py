"""One of several processes that train one model, as in `mpiexec -n 4 charrnn train config.yaml`.

Each of them, a rank, has the whole network and goes through the same windows, but works on rows of
its own:

    gradient = g[0] + g[1] + ...        one Allreduce a step, with the loss and any wish to stop

So all make the same update and stay alike. What is to happen once, such as a validation or a file,
rank 0 does, and tells the others what came of it. Without mpiexec there is one rank, for which all
of this is nothing, and MPI is not imported.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from charrnn.errors import CharrnnError, Interrupted

if TYPE_CHECKING:  # NumPy must not be imported before its threads are told
    from charrnn.arrays import Floats

Result = TypeVar("Result")
Check = Callable[[], None]

EXTRA = 2  # numbers that travel behind a gradient: the loss, and how many ranks want to stop
SHORTEST_S, LONGEST_S = 1e-4, 1e-2  # a rank sleeps between two looks whether the others are there

# The variables by which a launcher tells a process its rank and how many there are: MPICH, Intel
# MPI and MS-MPI; Open MPI; and srun with PMIx. SLURM_NTASKS alone says nothing: a batch script and
# all it starts have it too.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


class StopAsked(Exception):
    """Somebody wants the run to end here."""


class Elsewhere(Exception):
    """Another rank has an error and tells it; this one has only to leave with the same code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Launch(NamedTuple):
    """What the launcher says of this process."""

    rank: int = 0
    size: int = 1
    local: int = 1  # ranks on this machine
    place: int = 0  # of this one among them


def launch() -> Launch:
    """Read off the environment, without MPI."""
    for of_rank, of_size in LAUNCHERS:
        size = _number(of_size)
        if size > 1:
            local = next(filter(None, map(_number, LOCAL_SIZES)), size)
            rank = _number(of_rank)
            places = [_number(variable) for variable in LOCAL_RANKS if variable in os.environ]
            return Launch(rank, size, min(local, size), places[0] if places else rank)
    return Launch()


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isascii() and value.isdecimal() else 0


class Ranks:
    """A process on its own, which shares with nobody and waits for nobody."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prints, writes and validates."""
        return self.rank == 0

    def rows(self, B: int) -> slice:
        """The rows of this rank, of B: equal parts, and empty ones where B is less than `size`."""
        return slice(B * self.rank // self.size, B * (self.rank + 1) // self.size)

    def add_up(self, vector: Floats, loss: float) -> float:
        """Let `vector` (P + EXTRA,) hold in its first P numbers the sum of those of all ranks.

        Returns the sum of their losses.
        """
        return loss

    def agreed(self, check: Check) -> Check:
        """A check that raises StopAsked in all ranks after the same `add_up`.

        That is the first one after `check` would have raised it in any of them.
        """
        return check

    def first(self, task: Callable[[], Result]) -> Result:
        """What rank 0 returns or raises; the others raise Elsewhere for an error of it."""
        return task()

    def in_turn(self, task: Callable[[], Result]) -> Result:
        """What each rank returns itself, the others after rank 0 is through."""
        return task()

    def collect(self, state: Floats) -> None:
        """Let the state (L, S, B, H) of rank 0 have every rank's rows."""

    def spread(self, vector: Floats) -> None:
        """Give every rank the numbers of rank 0."""

    def check_alike(self, facts: Mapping[str, str]) -> None:
        """Raise CharrnnError when these are not the same for all ranks."""

    def for_all(self, error: CharrnnError) -> Exception:
        """What to raise for an error that every rank comes upon by itself, at the same step."""
        return error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """An error in the block that the other ranks do not know of ends them too."""
        yield


class Several(Ranks):
    """One of several processes, which meet in `comm`, an MPI communicator."""

    def __init__(self, comm: Any) -> None:
        self.rank, self.size = comm.rank, comm.size
        self._comm = comm
        self._ask: Check = lambda: None
        self._stops = False  # all ranks do, and know it
        self._known = False  # the others know why this one ends

    def add_up(self, vector: Floats, loss: float) -> float:
        try:
            self._ask()
            asked = 0
        except StopAsked:
            asked = 1
        vector[-2:] = loss, asked
        self._comm.Allreduce(None, vector)  # in place, and every rank gets the same bits
        self._stops = bool(vector[-1] > 0)
        return float(vector[-2])

    def agreed(self, check: Check) -> Check:
        self._ask = check

        def stop() -> None:
            if self._stops:
                raise StopAsked

        return stop

    def first(self, task: Callable[[], Result]) -> Result:
        if not self.is_first:
            heard: Result = self._hear()
            return heard
        try:
            result = task()
        except StopAsked:
            self._tell(StopAsked())
            raise
        except BaseException as error:
            self._tell(Elsewhere(exit_code(error)))
            self._known = True
            raise
        self._tell(None, result)
        return result

    def _tell(self, error: Exception | None, result: object = None) -> None:
        self._meet()
        self._comm.bcast((error, result), 0)

    def _hear(self) -> Any:
        self._meet()
        error, result = self._comm.bcast(None, 0)
        if error is not None:
            self._known = isinstance(error, Elsewhere)
            raise error
        return result

    def _meet(self) -> None:
        """Wait for the others, awake to signals, and leave the cores to those that work."""
        meeting, pause = self._comm.Ibarrier(), SHORTEST_S
        while not meeting.Test():
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_S)

    def in_turn(self, task: Callable[[], Result]) -> Result:
        results: list[Result] = []
        self.first(lambda: results.append(task()))
        return results[0] if results else task()

    def collect(self, state: Floats) -> None:
        B = state.shape[2]
        parts = self._comm.gather((self.rows(B), state[:, :, self.rows(B)]), 0)
        for rows, part in parts or ():
            state[:, :, rows] = part

    def spread(self, vector: Floats) -> None:
        self._meet()
        self._comm.Bcast(vector, 0)

    def check_alike(self, facts: Mapping[str, str]) -> None:
        self._meet()
        for rank, (machine, theirs) in enumerate(self._comm.allgather((platform.node(), facts))):
            if rank == 0:
                ours = theirs
            different = [what for what in ours if ours[what] != theirs[what]]
            if different:
                raise self.for_all(
                    CharrnnError(
                        f"rank {rank}, on {machine}, has another {' and another '.join(different)} "
                        "than rank 0: all machines need the same"
                    )
                )

    def for_all(self, error: CharrnnError) -> Exception:
        self._known = True
        return error if self.is_first else Elsewhere(error.exit_code)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not self._known:
                if isinstance(error, CharrnnError) and not self.is_first:
                    where = f"rank {self.rank} of {self.size}, on {platform.node()}"
                    error.args = (f"{where}: {error}",)
                # When the interpreter ends, and the message is out, MPI ends the other ranks too.
                importlib.import_module("mpi4py.run").set_abort_status(exit_code(error))
            raise


def exit_code(error: BaseException) -> int:
    """What the program ends with after this error."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.exit_code
    return int(getattr(error, "exit_code", 1))  # of Click's errors too


def world() -> Ranks:
    """All processes that the launcher started, or this one alone. Raises CharrnnError."""
    launched = launch()
    if launched.size == 1:
        return Ranks()
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # the error's own is enough
    started = f"{launched.size} processes were started, and "
    try:
        comm = importlib.import_module("mpi4py.MPI").COMM_WORLD
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI for it
        message = f"{started}mpi4py, by which they meet, cannot be imported ({error})"
        hint = "Try pip install 'charrnn-numpy[mpi]', and an MPI such as mpich"
    else:
        if comm.size == launched.size:
            return Several(comm)
        message = (
            f"{started}mpi4py sees {comm.size}: its MPI is not that of the mpiexec which started "
            "them"
        )
        hint = "Take the mpiexec of the MPI that mpi4py uses"
    # Before they meet, one on each machine speaks. The others leave without an error, because a
    # launcher may end all processes at the first one, before its message is out.
    raise CharrnnError(message, hint) if launched.place == 0 else Elsewhere(0)
