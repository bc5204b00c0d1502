"""A group of processes on one machine, which meet in shared memory.

    run(2, work)        work(group) in this process as rank 0 and in a new one as rank 1

New ones are made by the standard library's `multiprocessing`: forked where that is safe, else
spawned as fresh interpreters. All of them end with rank 0, however that ends, and rank 0 ends when
one of them fails.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from charrnn.arrays import Floats, Ints
from charrnn.errors import SIGNALS, CharrnnError, Interrupted
from charrnn.parallel.group import PeerFailed, ProcessGroup, SingleProcess
from charrnn.parallel.mpi import launch

if TYPE_CHECKING:  # with sockets and temporary files, 16 ms that a process on its own can save
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

logger = logging.getLogger("charrnn")

Result = TypeVar("Result")
Work = Callable[[ProcessGroup], Result]
SLOT_BYTES = 1 << 18  # bytes of a rank's part in the shared memory; longer vectors come in pieces
SPIN_S = 1e-3  # a rank looks so long for the others before it sleeps: to wake up takes 50 us
CHECK_S = 0.2  # between two looks of a sleeping one whether the others live
RANK_ZERO_GONE = b"Error: the run has ended, because its first process is gone\n"


def can_fork() -> bool:
    """Return whether this process can be forked safely.

    Not with several threads, of which only one would go on in the fork with the locks of all; not
    as a rank of MPI; not on macOS, whose system libraries do not allow it; and not where nothing
    tells how many threads there are.
    """
    if sys.platform != "linux" or launch().size > 1:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # no /proc, as in some chroots
        return False


class LocalGroup(ProcessGroup):
    """One of several processes of this machine.

    The memory is (2, size, SLOT): each rank writes into its slot of one half, all wait for each
    other, and each reads the slots of all. The other half is used the next time, so that nobody
    writes where another still reads.

    They wait by a dissemination barrier (Hensgen, Finkel and Manber 1988): in round k a rank raises
    the semaphore of the rank 2^k behind it and waits for its own. A semaphore orders the writes to
    memory of those who raise and take it, on every processor.
    """

    def __init__(self, rank: int, size: int, memory: Any, semaphores: list[list[Any]]) -> None:
        """`semaphores[r][k]` is the one that rank r waits for in round k."""
        self.rank, self.size = rank, size
        self.workers: list[BaseProcess] = []  # of rank 0: the others
        self._slots = np.frombuffer(memory, np.uint8).reshape(2, size, SLOT_BYTES)
        self._half = 0
        self._semaphores = semaphores  # they are gone when rank 0 forgets them
        self._rounds = [
            (semaphores[(rank + (1 << k)) % size][k], own) for k, own in enumerate(semaphores[rank])
        ]

    def allreduce(self, vector: Floats | Ints) -> None:
        """Let `vector` (N,) of every rank hold g[0] + g[1] + ..., the same bits for each."""
        most = SLOT_BYTES // vector.itemsize
        for start in range(0, vector.size, most):
            part = vector[start : start + most]
            numbers = self._slots[self._half].view(vector.dtype)[:, : part.size]
            numbers[self.rank] = part
            self.barrier()
            np.add(numbers[0], numbers[1], part)
            for other in numbers[2:]:
                np.add(part, other, part)
            self._half = 1 - self._half

    def allgather(self, value: Any) -> list[Any]:
        """Return what every rank gives, by rank; it is pickled.

        The pickles lie end to end in a vector of bytes, each rank's own in zeros; their sum is all.
        """
        own = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = own.size
        self.allreduce(sizes)
        ends = np.cumsum(sizes)
        pickles = np.zeros(ends[-1], np.uint8)
        pickles[ends[self.rank] - own.size : ends[self.rank]] = own
        self.allreduce(pickles)
        return [pickle.loads(pickled.data) for pickled in np.split(pickles, ends[:-1])]

    def barrier(self) -> None:
        """Wait until every rank is here. On rank 0, raises what `check` raises."""
        for theirs, own in self._rounds:
            theirs.release()
            until = time.perf_counter() + SPIN_S
            while not own.acquire(False):
                if time.perf_counter() > until:
                    while not own.acquire(True, CHECK_S):
                        self.check()
                    break
                _yield_processor()

    def check(self, *signal_and_frame: Any) -> None:
        """Raise PeerFailed for a worker that ended with a message, CharrnnError for a dead one."""
        for rank, worker in enumerate(self.workers, 1):
            code = worker.exitcode or 0
            if code > 0:
                raise PeerFailed(code)
            if code < 0:
                raise CharrnnError(
                    f"worker {rank} (process {worker.pid}) was ended by "
                    f"{signal.Signals(-code).name}, perhaps because memory ran short",
                    "Try again, or with --workers 1",
                )


_yield_processor = getattr(os, "sched_yield", lambda: time.sleep(0))


def run(size: int, work: Work[Result], method: str | None = None) -> Result:
    """Let `size` processes do `work(group)`: this one, which is rank 0, and new ones.

    Returns what rank 0 returns.

    `method` is fork or spawn, and fork where that is safe unless told; spawned ones get `work`
    pickled. Where they cannot be had, this one does it alone, after a warning. Raises what rank 0
    raises, CharrnnError when another dies, and PeerFailed when it has told an error.
    """
    if size == 1:
        return work(SingleProcess())
    import multiprocessing

    context = multiprocessing.get_context(method or ("fork" if can_fork() else "spawn"))
    with contextlib.ExitStack() as stack:
        try:
            group = _start(context, size, work, stack)
        except (OSError, ImportError) as error:  # there may be no semaphores at all
            stack.close()
            reason = error.strerror if isinstance(error, OSError) else error
            logger.warning(f"{size} processes cannot be had ({reason}): one does all the work")
            return work(SingleProcess())
        if hasattr(signal, "SIGCHLD"):  # a worker that dies is noticed at once
            before = signal.signal(signal.SIGCHLD, group.check)
            stack.callback(signal.signal, signal.SIGCHLD, before)
        result = work(group)
        for worker in group.workers:
            worker.join()
        group.check()
    return result


def _start(
    context: BaseContext, size: int, work: Work[Any], stack: contextlib.ExitStack
) -> LocalGroup:
    """The group of rank 0, with the other ranks at work until `stack` closes. Raises OSError."""
    import shutil
    import tempfile

    needed = 2 * size * SLOT_BYTES
    folders = filter(os.path.isdir, ("/dev/shm", tempfile.gettempdir()))  # where it may lie
    if all(shutil.disk_usage(folder).free < needed for folder in folders):  # else it ends by SIGBUS
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    memory = context.RawArray("b", needed)
    rounds = (size - 1).bit_length()
    semaphores = [[context.Semaphore(0) for _ in range(rounds)] for _ in range(size)]
    group = LocalGroup(0, size, memory, semaphores)
    stack.callback(_kill, group.workers)
    with contextlib.ExitStack() as signals:
        if hasattr(signal, "pthread_sigmask"):  # none may end a process before it can say so
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            signals.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        for rank in range(1, size):
            worker = context.Process(  # type: ignore[attr-defined]
                target=_run_worker, args=(rank, size, memory, semaphores, work), daemon=True
            )
            worker.start()
            group.workers.append(worker)
    return group


def _run_worker(
    rank: int, size: int, memory: Any, semaphores: list[list[Any]], work: Work[Any]
) -> None:
    """Be a worker, to the end of the process."""
    exit_with_parent(RANK_ZERO_GONE if rank == 1 else b"")
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(LocalGroup(rank, size, memory, semaphores))
    except KeyboardInterrupt:  # rank 0 has it too
        sys.exit(Interrupted.exit_code)


def exit_with_parent(message: bytes = b"") -> None:
    """From now on, leave with a message on stderr once the process that started this one ends."""
    from multiprocessing.connection import wait
    from multiprocessing.process import parent_process

    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def end() -> None:
        wait([sentinel])
        with contextlib.suppress(OSError):
            os.write(2, message)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _kill(workers: list[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()
