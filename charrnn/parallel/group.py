"""The processes that train one model, each of them a rank with the whole network.

All of them read the same windows, and each works on rows of its own:

    gradient = g[0] + g[1] + ...        one allreduce a step, with the loss and any wish to stop

So all make the same update and stay alike. Rank 0 alone prints, samples and writes. A process on
its own is a group of one, for which all of this is nothing.

An error ends all ranks. One that a rank comes upon by itself ends the others through the group;
one that all come upon alike, such as a loss that is not finite, is raised by rank 0 only, and the
others wait for their end.
"""

from __future__ import annotations

import contextlib
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from charrnn.errors import CharrnnError, Interrupted

if TYPE_CHECKING:  # NumPy must not be imported before its threads are told
    from charrnn.arrays import Floats

Result = TypeVar("Result")

EXTRA_SUMS = 2  # numbers that travel behind a gradient: the loss, and how many ranks want to stop


class StopRequested(Exception):
    """Somebody wants the run to end here."""


def never_stop() -> bool:
    """Return whether somebody does, where nobody can."""
    return False


class PeerFailed(Exception):
    """Another rank has ended with an error and told it; this one leaves with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class ProcessGroup(ABC):
    """One of `size` processes that train together."""

    rank: int
    size: int

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is rank 0, which prints, samples and writes."""
        return self.rank == 0

    def rows(self, B: int) -> slice:
        """Return the rows of this rank, of B: equal parts, empty ones where B is below `size`."""
        return slice(B * self.rank // self.size, B * (self.rank + 1) // self.size)

    @abstractmethod
    def allreduce(self, vector: Floats) -> None:
        """Let `vector` (N,) of every rank hold the sum of all of them, the same bits for each."""

    @abstractmethod
    def allgather(self, value: Any) -> list[Any]:
        """Return what every rank gives, by rank."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until every rank is here."""

    def abort(self, exit_code: int) -> None:  # noqa: B027
        """Let the other ranks end, with this exit code, when this one has.

        Nothing to do where they notice that by themselves, or where there are none.
        """

    def broadcast(self, value: Any) -> Any:
        """Return what rank 0 gives."""
        return self.allgather(value if self.is_rank_zero else None)[0]

    def on_rank_zero(self, task: Callable[[], Result]) -> Result:
        """Do the task on rank 0, and return its result on every rank."""
        result: Result = self.broadcast(task() if self.is_rank_zero else None)
        return result

    def rank_zero_first(self, task: Callable[[], Result]) -> Result:
        """Do the task on rank 0 and then on every other, and return each one's own result."""
        results: list[Result] = []
        self.on_rank_zero(lambda: results.append(task()))
        return results[0] if results else task()

    def check_equal(self, facts: Mapping[str, str]) -> None:
        """Raise CharrnnError on rank 0 when these are not the same for all ranks."""
        for rank, (machine, theirs) in enumerate(self.allgather((platform.node(), facts))):
            different = [what for what in facts if facts[what] != theirs[what]]
            if different and self.is_rank_zero:
                raise CharrnnError(
                    f"rank {rank}, on {machine}, has another {' and another '.join(different)} "
                    "than rank 0: all machines need the same"
                )

    def error_for_all_ranks(self, error: CharrnnError) -> Exception:
        """Return what to raise for an error that every rank comes upon at the same step.

        That is the error on rank 0. The others wait here, and end with it.
        """
        if not self.is_rank_zero:
            self.barrier()
        return error

    @contextlib.contextmanager
    def abort_on_error(self) -> Iterator[None]:
        """Let an error in the block end the other ranks too. Its message tells whose it is."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, CharrnnError) and not self.is_rank_zero:
                where = f"rank {self.rank} of {self.size}, on {platform.node()}"
                error.args = (f"{where}: {error}",)
            self.abort(exit_code(error))
            raise


class SingleProcess(ProcessGroup):
    """A process on its own."""

    rank = 0
    size = 1

    def allreduce(self, vector: Floats) -> None:
        """Do nothing: the sum of one."""

    def allgather(self, value: Any) -> list[Any]:
        """Return the one value."""
        return [value]

    def barrier(self) -> None:
        """Do nothing: everybody is here."""


def exit_code(error: BaseException) -> int:
    """Return what the program ends with after this error."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.exit_code
    return int(getattr(error, "exit_code", 1))  # of Click's errors too
