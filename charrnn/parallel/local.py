"""A group of processes on one machine, which exchange data through shared memory.

    run(2, work)        work(group) in this process as rank 0 and in a new process as rank 1

The standard library's `multiprocessing` starts the new processes, the workers: it forks them where
that is safe, and otherwise spawns new interpreters. All workers end with rank 0, however it ends,
and rank 0 ends when a worker fails.
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

if TYPE_CHECKING:  # they import sockets and temporary files: 16 ms, needless for one process
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

logger = logging.getLogger("charrnn")

Result = TypeVar("Result")
Work = Callable[[ProcessGroup], Result]
SLOT_BYTES = 1 << 18  # shared memory of one rank; longer vectors are summed in pieces
SPIN_S = 1e-3  # a rank polls a semaphore for this time before it sleeps: waking up takes 50 us
CHECK_S = 0.2  # a sleeping rank checks the workers at this interval
RANK_ZERO_GONE = b"Error: the run ended because its first process ended\n"


def can_fork() -> bool:
    """Return whether this process can be forked safely.

    It is not safe with several threads, because only one of them runs in the fork, and the locks of
    the others stay locked there; nor in a rank of MPI; nor on macOS, whose system libraries do not
    allow it. Where the number of threads is not known, the result is False.
    """
    if sys.platform != "linux" or launch().size > 1:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # no /proc, as in some chroots
        return False


class LocalGroup(ProcessGroup):
    """One of several processes of this machine.

    The memory is (2, size, SLOT_BYTES): each rank writes into its slot of one half, all ranks wait
    at a barrier, and each reads the slots of all. The next sum uses the other half, so that no rank
    writes where another still reads.

    The barrier is a dissemination barrier (Hensgen, Finkel and Manber 1988): in round k a rank
    releases a semaphore of the rank that is 2^k after it, and acquires its own for that round.
    Writes before a release are visible after the acquire, on every processor.
    """

    def __init__(self, rank: int, size: int, memory: Any, semaphores: list[list[Any]]) -> None:
        """Take the shared memory; rank r acquires `semaphores[r][k]` in round k."""
        self.rank, self.size = rank, size
        self.workers: list[BaseProcess] = []  # on rank 0: the processes of the other ranks
        self._slots = np.frombuffer(memory, np.uint8).reshape(2, size, SLOT_BYTES)
        self._half = 0
        self._semaphores = semaphores  # a reference: the system frees them when rank 0 drops it
        self._rounds = [
            (semaphores[(rank + (1 << k)) % size][k], sem) for k, sem in enumerate(semaphores[rank])
        ]

    def allreduce(self, vector: Floats | Ints) -> None:
        """Replace `vector` (N,) on every rank by g[0] + g[1] + ..., with the same bits."""
        length = SLOT_BYTES // vector.itemsize
        for start in range(0, vector.size, length):
            part = vector[start : start + length]
            parts = self._slots[self._half].view(vector.dtype)[:, : part.size]  # of all ranks
            parts[self.rank] = part
            self.barrier()
            np.add(parts[0], parts[1], part)
            for term in parts[2:]:
                np.add(part, term, part)
            self._half = 1 - self._half

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank. They are pickled.

        The pickles lie end to end in a vector of bytes. Each rank writes its pickle into zeros, and
        the sum of these vectors has the pickles of all.
        """
        pickled = np.frombuffer(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = pickled.size
        self.allreduce(sizes)
        ends = np.cumsum(sizes)
        pickles = np.zeros(ends[-1], np.uint8)
        pickles[ends[self.rank] - pickled.size : ends[self.rank]] = pickled
        self.allreduce(pickles)
        return [pickle.loads(part.data) for part in np.split(pickles, ends[:-1])]

    def barrier(self) -> None:
        """Wait until every rank has called this. Raises what `check` raises, on rank 0."""
        for theirs, mine in self._rounds:
            theirs.release()
            deadline = time.perf_counter() + SPIN_S
            while not mine.acquire(False):
                if time.perf_counter() > deadline:
                    while not mine.acquire(True, CHECK_S):
                        self.check()
                    break
                _yield_processor()

    def check(self, *signal_and_frame: Any) -> None:
        """Raise PeerFailed if a worker exited with an error, CharrnnError if a signal ended one."""
        for rank, worker in enumerate(self.workers, 1):
            code = worker.exitcode or 0
            if code > 0:
                raise PeerFailed(code)
            if code < 0:
                raise CharrnnError(
                    f"worker {rank} (process {worker.pid}) was ended by "
                    f"{signal.Signals(-code).name}, perhaps because memory ran out",
                    "Try again, or use --workers 1",
                )


_yield_processor = getattr(os, "sched_yield", lambda: time.sleep(0))


def run(size: int, work: Work[Result], method: str | None = None) -> Result:
    """Call `work(group)` in `size` processes: this one, which is rank 0, and new ones.

    Returns the result of rank 0.

    `method` is fork or spawn; the default is fork where that is safe. A spawned process receives
    `work` pickled. Where the processes cannot be started, logs a warning and calls `work` in this
    one only. Raises what rank 0 raises, CharrnnError when a signal ends a worker, and PeerFailed
    when a worker has printed an error.
    """
    if size == 1:
        return work(SingleProcess())
    import multiprocessing

    context = multiprocessing.get_context(method or ("fork" if can_fork() else "spawn"))
    with contextlib.ExitStack() as stack:
        try:
            group = _start(context, size, work, stack)
        except (OSError, ImportError) as error:  # ImportError: the system has no semaphores
            stack.close()
            reason = error.strerror if isinstance(error, OSError) else error
            logger.warning(f"{size} processes cannot start ({reason}): one does all the work")
            return work(SingleProcess())
        in_main_thread = threading.current_thread() is threading.main_thread()
        if hasattr(signal, "SIGCHLD") and in_main_thread:
            # The end of a worker interrupts rank 0 at once.
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
    """Start the workers and return the group of rank 0; closing `stack` kills the workers.

    Raises OSError or ImportError where the processes cannot be started.
    """
    import shutil
    import tempfile

    needed = 2 * size * SLOT_BYTES
    folders = filter(os.path.isdir, ("/dev/shm", tempfile.gettempdir()))  # of RawArray
    if all(shutil.disk_usage(folder).free < needed for folder in folders):  # prevents a SIGBUS
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    memory = context.RawArray("b", needed)
    rounds = (size - 1).bit_length()
    semaphores = [[context.Semaphore(0) for _ in range(rounds)] for _ in range(size)]
    group = LocalGroup(0, size, memory, semaphores)
    stack.callback(_kill, group.workers)
    with contextlib.ExitStack() as signals:
        if hasattr(signal, "pthread_sigmask"):  # a worker unblocks them when it can handle them
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
    """Call `work` in a worker, as this rank; exit when rank 0 ends."""
    exit_with_parent(RANK_ZERO_GONE if rank == 1 else b"")
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(LocalGroup(rank, size, memory, semaphores))
    except KeyboardInterrupt:  # rank 0 receives it too, and prints the message
        sys.exit(Interrupted.exit_code)


def exit_with_parent(message: bytes = b"") -> None:
    """Start a thread that exits this process, with a message on stderr, when its parent ends."""
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
