"""Processes that share work whose parts do not depend on each other, such as lines to be scored."""

from __future__ import annotations

import itertools
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.parallel.local import can_fork, exit_with_parent

if TYPE_CHECKING:  # most commands need no pool
    from concurrent.futures import Future, ProcessPoolExecutor

PENDING_PER_WORKER = 2  # parts a worker that are on their way


class WorkerPool:
    """A pool of `workers` forked processes, which start when there is enough to do for them.

    They are as this process was then: what they are to do must be registered before. Where no
    process can be forked safely, this one does all the work.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._functions: list[Callable[..., Any]] = []
        self._executor: ProcessPoolExecutor | None = None

    def register(self, function: Callable[..., Any]) -> int:
        """Return the number under which `map` finds this function."""
        self._functions.append(function)
        return len(self._functions) - 1

    def map(self, number: int, parts: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what the function of this number returns for each of these arguments, in order.

        Raises what it raises, and CharrnnError when a worker dies.
        """
        parts = iter(parts)
        if self._executor is None and self.workers > 1:
            first = [*itertools.islice(parts, PENDING_PER_WORKER * self.workers)]
            if len(first) == PENDING_PER_WORKER * self.workers and can_fork():
                import multiprocessing
                from concurrent.futures import ProcessPoolExecutor

                context = multiprocessing.get_context("fork")
                args = (self._functions,)
                self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, args)
            parts = itertools.chain(first, parts)
        if self._executor is None:
            for part in parts:
                yield self._functions[number](*part)
            return
        from concurrent.futures.process import BrokenProcessPool

        pending: deque[Future[Any]] = deque()
        try:
            for part in parts:
                if len(pending) == PENDING_PER_WORKER * self.workers:
                    yield pending.popleft().result()
                pending.append(self._executor.submit(_call, number, np.geterr(), part))
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:  # at a result, or at the next part
            raise CharrnnError(
                "a process that shares the work ended early, perhaps because memory ran short",
                "Try again, or with --workers 1",
            ) from None


_registered: list[Callable[..., Any]] = []  # of a worker


def _start_worker(functions: list[Callable[..., Any]]) -> None:
    """Begin as a worker."""
    _registered[:] = functions
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the work
    exit_with_parent()


def _call(number: int, settings: Any, part: tuple[Any, ...]) -> Any:
    with np.errstate(**settings):
        return _registered[number](*part)
