"""A worker pool: processes that work on independent parts, such as lines to be scored."""

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

PENDING_PER_WORKER = 2  # parts submitted and not yet done, per worker


class WorkerPool:
    """A pool of `workers` forked processes, which start when there are enough parts for all.

    A function must be registered before the workers start, because they are forks of this process.
    Where no process can be forked safely, this process does all the work.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._functions: list[Callable[..., Any]] = []
        self._executor: ProcessPoolExecutor | None = None

    def register(self, function: Callable[..., Any]) -> int:
        """Register a function and return its number, for `map`."""
        self._functions.append(function)
        return len(self._functions) - 1

    def map(self, number: int, parts: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the results of a registered function, in the order of the parts.

        A part is the tuple of its arguments. Raises what the function raises, and CharrnnError when
        a worker is killed.
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
        except BrokenProcessPool:  # raised by `result` or by `submit`
            raise CharrnnError(
                "a worker of the pool ended early, perhaps because memory ran out",
                "Try again, or use --workers 1",
            ) from None


_registered: list[Callable[..., Any]] = []  # in a worker


def _start_worker(functions: list[Callable[..., Any]]) -> None:
    """Set the functions of a new worker, ignore Ctrl-C, and exit when the first process ends."""
    _registered[:] = functions
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles it
    exit_with_parent()


def _call(number: int, settings: Any, part: tuple[Any, ...]) -> Any:
    """Return the result of a registered function, with NumPy's error `settings`."""
    with np.errstate(**settings):
        return _registered[number](*part)
