"""The processes that train one model: each is a rank and has all weights.

All ranks read the same windows, and each computes the gradient of its part of the rows:

    gradient = g[0] + g[1] + ...        one allreduce a step, with the loss and the stop requests

So all ranks make the same update and have the same weights. Only rank 0 prints, samples and writes.
A single process is a group of size 1, in which these operations do nothing.

An error ends all ranks. When one rank raises it, the group ends the others. When all ranks detect
it at the same step, such as a loss that is not finite, only rank 0 raises it, and the others wait
until they are ended.
"""

from __future__ import annotations

import contextlib
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from charrnn.errors import CharrnnError, Interrupted

if TYPE_CHECKING:  # NumPy must not be imported before `blas` limits its threads
    from charrnn.arrays import Floats

Result = TypeVar("Result")

EXTRA_SUMS = 2  # numbers after the gradient in an allreduce: loss, number of stop requests


class StopRequested(Exception):
    """A rank has received a request to stop, and all ranks end the run at this step."""


def never_stop() -> bool:
    """Return False: the default callback, where no source can request a stop."""
    return False


class PeerFailed(Exception):
    """Another rank ended with an error and printed it; this rank exits with the same code."""

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
        """Return this rank's part of B rows: equal parts, to one row; empty ones if B < size."""
        return slice(B * self.rank // self.size, B * (self.rank + 1) // self.size)

    @abstractmethod
    def allreduce(self, vector: Floats) -> None:
        """Replace `vector` (N,) on every rank by the sum over the ranks, with the same bits."""

    @abstractmethod
    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until every rank has called this."""

    def abort(self, exit_code: int) -> None:  # noqa: B027
        """Let the other ranks end with this exit code after this rank has ended.

        Does nothing where they detect the end by themselves, or where there are no others.
        """

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self.allgather(value if self.is_rank_zero else None)[0]

    def on_rank_zero(self, task: Callable[[], Result]) -> Result:
        """Run the task on rank 0, and return its result on every rank."""
        result: Result = self.broadcast(task() if self.is_rank_zero else None)
        return result

    def rank_zero_first(self, task: Callable[[], Result]) -> Result:
        """Run the task on rank 0, then on the other ranks; return this rank's result."""
        results: list[Result] = []
        self.on_rank_zero(lambda: results.append(task()))
        return results[0] if results else task()

    def check_equal(self, facts: Mapping[str, str]) -> None:
        """Raise CharrnnError on rank 0 unless the facts are the same on all ranks."""
        for rank, (machine, theirs) in enumerate(self.allgather((platform.node(), facts))):
            different = [name for name in facts if facts[name] != theirs[name]]
            if different and self.is_rank_zero:
                raise CharrnnError(
                    f"rank {rank}, on {machine}, has a different {' and '.join(different)} "
                    "than rank 0: all machines need the same"
                )

    def error_for_all_ranks(self, error: CharrnnError) -> Exception:
        """Return the exception to raise for an error that every rank detects at the same step.

        On rank 0 it is the error. The other ranks wait here, and rank 0 ends them.
        """
        if not self.is_rank_zero:
            self.barrier()
        return error

    @contextlib.contextmanager
    def abort_on_error(self) -> Iterator[None]:
        """End the other ranks too when the block raises; add the rank to a CharrnnError."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, CharrnnError) and not self.is_rank_zero:
                rank = f"rank {self.rank} of {self.size}, on {platform.node()}"
                error.args = (f"{rank}: {error}",)
            self.abort(exit_code(error))
            raise


class SingleProcess(ProcessGroup):
    """A group of one process."""

    rank = 0
    size = 1

    def allreduce(self, vector: Floats) -> None:
        """Leave `vector` as it is: the sum has one term."""

    def allgather(self, value: Any) -> list[Any]:
        """Return a list of this value alone."""
        return [value]

    def barrier(self) -> None:
        """Return at once: there are no other ranks."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of the program after this error."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.exit_code
    return int(getattr(error, "exit_code", 1))  # Click's errors have one too
