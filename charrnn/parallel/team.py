"""Those who share the rows of a window: this process, and helpers that work at the same time.

    team = Team(2)
    team.learn("square", [one.square, other.square])    # what each of them does when asked to
    results = team.each("square", [(3,), (4,)])         # the first here, the second by a helper

A helper is a process of its own, forked from this one: threads of one process would wait for the
interpreter's lock at every call of NumPy, and small networks are made of small calls. It is as this
process was when it was forked: both see what is written later to memory of
`parameters.shared_zeros`, and to no other; what is asked and answered goes through a pipe. Where a
process cannot be forked safely, helpers are threads, and all is as with processes but the speed.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import pickle
import signal
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from charrnn.errors import SIGNALS, CharrnnError
from charrnn.parallel.worker_count import can_fork

if TYPE_CHECKING:  # a process on its own needs none of these
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing.connection import Connection

LOOK_S = 1e-3  # more than one needs from the gradient to the next window at sizes where it counts
Task = Callable[..., Any]
Outcome = tuple[Any, Exception | None]  # the result, or the error


class Line:
    """One end of the pipe between this process and a helper.

    Who waits looks for `LOOK_S` whether the other has spoken before going to sleep, as waking up
    takes about 50 microseconds.
    """

    def __init__(self, pipe: Connection, said: mmap.mmap, end: int) -> None:
        """`said` counts, for both ends, what each has said; `end` is 0 or 1."""
        self.pipe = pipe
        self._said, self._end = said, end
        self._heard = 0

    def say(self, what: Any) -> None:
        """Raises OSError when the other end is closed, and what pickle raises."""
        message = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        self._said[self._end] = (self._said[self._end] + 1) % 256  # a long message needs a reader
        self.pipe.send_bytes(message)

    def hear(self) -> bytes:
        """What the other end says next, pickled. Raises EOFError when it is closed."""
        said, other, heard = self._said, 1 - self._end, self._heard
        until = time.perf_counter() + LOOK_S
        while said[other] == heard and time.perf_counter() < until:
            os.sched_yield()  # to the other end, should there be but one core
        self._heard = (heard + 1) % 256
        return self.pipe.recv_bytes()

    def close(self) -> None:
        """For both ends, also where a fork of this process still has the pipe open."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
        self.pipe.close()


class Helper(NamedTuple):
    """A forked process, as this one sees it."""

    pid: int
    line: Line


class Team:
    """This process and its helpers, which are there from the first common task on."""

    def __init__(self, size: int = 1, processes: bool | None = None) -> None:
        """`size` counts this process too. `processes`: whether to fork, else where it is safe."""
        self.size = size
        self._tasks: dict[str, Sequence[Task]] = {}
        self._processes = processes
        self._helpers: list[Helper] = []
        self._farewell: Callable[[], Any] | None = None
        self._owner = os.getpid()
        self._threads: ThreadPoolExecutor | None = None

    def cut(self, B: int, start: int = 0) -> list[slice]:
        """The rows of each of them: B, from `start`, in equal parts, and no part empty."""
        count = min(self.size, B)
        ends = [start + B * k // count for k in range(count + 1)] if count else []
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def learn(self, name: str, tasks: Sequence[Task]) -> None:
        """From now on, `each(name, ...)` lets the k-th of the team call `tasks[k]`."""
        assert name not in self._tasks
        self.dismiss()  # helpers know what was known when they were forked
        self._tasks[name] = tasks

    def dismiss(self) -> None:
        """Let the helpers go. The next common task finds new ones."""
        farewell, self._farewell = self._farewell, None
        self._helpers, self._threads = [], None
        if farewell is not None:
            farewell()

    def each(self, name: str, work: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the k-th task of this name returns for `work[k]`, all at the same time.

        Raises what any of them raises, once all are at their end.
        """
        tasks = self._tasks[name]
        if len(work) <= 1:
            return [task(*one) for task, one in zip(tasks, work, strict=False)]
        self._start()
        settings = np.geterr()  # what overflows are to do; each thread and process has its own
        if self._threads is not None:
            outcomes = self._by_threads(self._threads, settings, tasks, work)
        else:
            outcomes = self._by_processes(name, settings, work)
        for _, error in outcomes:
            if error is not None:
                raise error
        return [result for result, _ in outcomes]

    def _start(self) -> None:
        """See to it that the helpers are there: processes if it can be, else threads."""
        if self._owner != os.getpid():  # a fork of the process whose helpers these are
            self._owner, self._helpers, self._farewell = os.getpid(), [], None
        if self._helpers or self._threads is not None:
            return
        if can_fork() if self._processes is None else self._processes:
            helpers: list[Helper] = []
            self._farewell = weakref.finalize(self, _dismiss, self._owner, helpers)
            try:
                for k in range(1, self.size):
                    helpers.append(_fork({name: of[k] for name, of in self._tasks.items()}))
                self._helpers = helpers
                return
            except OSError:  # there may be no more processes
                self.dismiss()
            except BaseException:
                self.dismiss()
                raise
        from concurrent.futures import ThreadPoolExecutor

        self._threads = ThreadPoolExecutor(self.size - 1)

    def _by_threads(
        self,
        pool: ThreadPoolExecutor,
        settings: Any,
        tasks: Sequence[Task],
        work: Sequence[tuple[Any, ...]],
    ) -> list[Outcome]:
        from concurrent.futures import wait

        others = [
            pool.submit(_outcome, settings, task, one)
            for task, one in zip(tasks[1:], work[1:], strict=False)
        ]
        try:
            first = _outcome(settings, tasks[0], work[0])
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]

    def _by_processes(
        self, name: str, settings: Any, work: Sequence[tuple[Any, ...]]
    ) -> list[Outcome]:
        asked = self._helpers[: len(work) - 1]
        try:
            for helper, one in zip(asked, work[1:], strict=True):
                helper.line.say((name, settings, one))
            outcomes = [_outcome(settings, self._tasks[name][0], work[0])]
            outcomes += [pickle.loads(helper.line.hear()) for helper in asked]
        except (EOFError, OSError):
            pids = ", ".join(str(helper.pid) for helper in asked)
            self.dismiss()
            raise CharrnnError(
                f"a process that shares the work ended early (process {pids}), perhaps because "
                "memory ran short",
                "Try again, or with --threads 1",
            ) from None
        except BaseException:  # nobody will hear these answers: the next must not be one of them
            self.dismiss()
            raise
        return outcomes


def _outcome(settings: Any, task: Task, one: tuple[Any, ...]) -> Outcome:
    try:
        with np.errstate(**settings):
            return task(*one), None
    except Exception as error:
        return None, error


def _fork(tasks: dict[str, Task]) -> Helper:
    """A new process that does these tasks until its pipe is closed, be it by our sudden end.

    It hears no signal that is meant for the run: the first process tells when it is over. Raises
    OSError.
    """
    from multiprocessing import Pipe

    here, there = Pipe()
    said = mmap.mmap(-1, 2)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a helper's stay blocked
    try:
        pid = os.fork()
        if pid == 0:
            _serve(Line(there, said, 1), tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return Helper(pid, Line(here, said, 0))


def _serve(line: Line, tasks: dict[str, Task]) -> NoReturn:
    """Be a helper, to the end of the process."""
    try:
        # Locks, pipes and the other helpers' lines belong to the first process alone.
        for name in os.listdir("/proc/self/fd"):
            if int(name) != line.pipe.fileno():
                with contextlib.suppress(OSError):
                    os.close(int(name))
        while True:
            message = line.hear()
            try:
                name, settings, one = pickle.loads(message)
                line.say(_outcome(settings, tasks[name], one))
            except OSError:
                raise
            except Exception as unsaid:  # what cannot be pickled
                line.say((None, unsaid))
    finally:
        os._exit(0)


def _dismiss(owner: int, helpers: list[Helper]) -> None:
    """Close their lines, upon which they leave, and wait for that."""
    if os.getpid() != owner:
        return
    for helper in helpers:
        helper.line.close()
    for helper in helpers:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(helper.pid, 0)
