"""Groups of processes on one machine: their operations, and the end of every process of a run."""

import errno
import mmap
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rank_functions
from processes import read_until, start, wait_for_exit

from charrnn import checkpoint
from charrnn.errors import CharrnnError
from charrnn.parallel import local
from charrnn.parallel.group import PeerFailed, SingleProcess

METHODS = pytest.mark.parametrize("method", ["fork", "spawn"])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_sum_has_the_same_bits_for_all(size):
    """Every rank gets the sum in the order of the ranks, for vectors of any length and type."""
    numbers = np.random.default_rng(size).normal(size=(size, 1 + 2 * local.SLOT_BYTES // 4))
    for dtype in ("float32", "float64"):
        vectors = numbers.astype(dtype)
        expected = vectors[0].copy()
        for vector in vectors[1:]:
            expected += vector

        def add(group, vectors=vectors):
            sums = []
            for length in (1, 5, len(vectors[0]), 0, 3):
                vector = vectors[group.rank, :length].copy()
                group.allreduce(vector)
                sums.append(vector.tobytes())
            return group.allgather(sums)

        gathered = local.run(size, add, "fork")
        assert len(gathered) == size
        lengths = (1, 5, len(expected), 0, 3)
        assert all(sums == [expected[:n].tobytes() for n in lengths] for sums in gathered)


@METHODS
def test_every_rank_gets_the_values_of_all_ranks(method):
    """Values of any size are gathered on every rank, and the value of rank 0 is broadcast."""
    results = local.run(3, rank_functions.exchange, method)
    assert results == [rank_functions.expected_exchange(rank, 3) for rank in range(3)]


def test_no_rank_passes_a_barrier_before_all_ranks_reach_it():
    """Every rank waits, also when one of them is late in each turn."""
    counter = np.frombuffer(mmap.mmap(-1, 64), np.int64)

    def work(group):
        all_arrived = []
        for turn in range(30):
            if turn % 3 == group.rank:
                time.sleep(0.002)
            counter[group.rank] += 1
            group.barrier()
            all_arrived.append(counter[:3].min() >= turn + 1)
        return group.allgather(all_arrived)

    assert local.run(3, work, "fork") == [[True] * 30] * 3


def test_a_task_of_rank_zero_runs_once_and_first():
    """The other ranks get its result, or run the task after rank 0 has."""
    order = np.frombuffer(mmap.mmap(-1, 64), np.int64)

    def work(group):
        pid = group.on_rank_zero(os.getpid)

        def count():
            order[0] += 1
            return int(order[0])

        return group.allgather((pid, group.rank_zero_first(count)))

    results = local.run(2, work, "fork")
    assert results == [(os.getpid(), 1), (os.getpid(), 2)]


def test_rows_are_cut_into_equal_parts():
    """Each row is in one part, and the sizes differ by one at most; a part may be empty."""
    for B in range(9):
        parts = local.run(3, lambda group, B=B: group.allgather(group.rows(B)), "fork")
        assert [row for part in parts for row in range(B)[part]] == list(range(B))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1
    assert SingleProcess().rows(5) == slice(0, 5)


def test_ranks_that_read_different_texts_are_refused():
    """Rank 0 raises one error, which names the first rank that differs and what differs."""

    def work(group):
        group.check_equal({"program": "1", "corpus": "a" if group.rank < 2 else "b"})

    with pytest.raises(CharrnnError, match=r"rank 2, on .* has a different corpus than rank 0"):
        local.run(3, work, "fork")


@METHODS
def test_an_error_of_rank_zero_ends_the_others(method, tmp_path):
    """The other processes end, both one at a barrier and one in an endless computation."""
    with pytest.raises(ZeroDivisionError):
        local.run(3, rank_functions.FailOnRankZero(tmp_path), method)
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert len(pids) == 3
    assert all(wait_for_exit(pid) for pid in set(pids) - {os.getpid()})


@METHODS
def test_an_error_of_a_worker_ends_rank_zero(method):
    """Rank 0 raises PeerFailed with the exit code of the worker."""
    with pytest.raises(PeerFailed) as raised:
        local.run(2, rank_functions.exit_on_rank_one, method)
    assert raised.value.exit_code == 7


def test_an_error_of_all_ranks_is_raised_by_rank_zero():
    """Only rank 0 raises it; the other ranks wait until they are ended."""

    def work(group):
        raise group.error_for_all_ranks(CharrnnError("an error of all ranks"))

    with pytest.raises(CharrnnError, match=r"^an error of all ranks$"):
        local.run(3, work, "fork")


def test_a_killed_worker_interrupts_rank_zero():
    """Rank 0 detects it during a computation, before the next barrier."""

    def work(group):
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            sum(range(1000))

    start_time = time.monotonic()
    with pytest.raises(CharrnnError, match=r"worker 1 \(process \d+\) was ended by SIGKILL"):
        local.run(2, work, "fork")
    assert time.monotonic() - start_time < 20
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


@pytest.mark.parametrize("resource", ["processes", "semaphores", "memory"])
def test_one_process_does_all_the_work_without_resources(monkeypatch, caplog, resource):
    """A warning is logged, and the workers that have started are ended."""
    pids = []
    if resource == "processes":
        fork = os.fork

        def fork_once():
            if pids:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            pids.append(fork())
            return pids[0]

        monkeypatch.setattr(os, "fork", fork_once)
    elif resource == "memory":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    else:
        import multiprocessing.synchronize

        def raise_no_space(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", raise_no_space)
    assert local.run(3, rank_functions.group_size, "fork") == 1
    assert "3 processes cannot start (" in caplog.text
    assert "one does all the work" in caplog.text
    assert all(wait_for_exit(pid) for pid in pids)


def test_a_process_with_other_threads_is_not_forked(monkeypatch):
    """Nor is a rank of MPI, a process on macOS, or one whose number of threads is unknown."""
    monkeypatch.setattr(local.os, "listdir", lambda path: ["1"])
    monkeypatch.setattr(local.sys, "platform", "linux")
    assert local.can_fork()
    with monkeypatch.context() as patch:
        patch.setattr(local.os, "listdir", lambda path: ["1", "2"])
        assert not local.can_fork()
    with monkeypatch.context() as patch:
        patch.setattr(local.os, "listdir", lambda path: os.stat("/none/at/all"))
        assert not local.can_fork()
    with monkeypatch.context() as patch:
        patch.setattr(local.sys, "platform", "darwin")
        assert not local.can_fork()
    monkeypatch.setenv("PMI_SIZE", "2")
    assert not local.can_fork()


# The tests below start the program as a real process.

ENDLESS = {"train": {"steps": 10**9, "seed": 7, "batch_size": 3, "workers": 3},
           "output": {"validate_every": 10**8}}  # fmt: skip
SINGLE_THREAD = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def start_run(config, method, tmp_path):
    """Start an endless run of three ranks.

    Return its process, the process ids of the ranks, and those of Python's resource trackers.
    """
    process = start(
        "train",
        config(**ENDLESS),
        code=rank_functions.START_METHOD_CODE[method],
        cwd=tmp_path,
        env=SINGLE_THREAD,
    )
    read_until(process, "initial loss")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    command_lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    trackers = [pid for pid, command in command_lines.items() if "resource_tracker" in command]
    ranks = [process.pid, *(pid for pid in command_lines if pid not in trackers)]
    return process, ranks, trackers


@METHODS
@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_all(config, tmp_path, method, rank):
    """The run prints one message and leaves no process and no file; the next run starts."""
    process, pids, trackers = start_run(config, method, tmp_path)
    with process:
        os.kill(pids[rank], signal.SIGKILL)
        _, stderr = process.communicate(timeout=30)
    assert len(pids) == 3
    assert stderr.count(b"Error: ") == 1
    assert b"Traceback" not in stderr
    if rank:
        assert f"worker {rank} (process {pids[rank]}) was ended by SIGKILL".encode() in stderr
        assert process.returncode == 1
        assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
    else:
        assert b"Error: the run ended because its first process ended\n" in stderr
    assert all(wait_for_exit(pid) for pid in (*pids, *trackers))
    # The lock ended with the first process.
    next_run = subprocess.run(
        [*rank_functions.CHARRNN, "train", "small.yaml", "--set", "train.steps=2", "-q"],
        cwd=tmp_path, env=SINGLE_THREAD, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert next_run.returncode == 0, next_run.stderr


@METHODS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_rank_saves_and_ends_all(config, tmp_path, method, number, rank):
    """The run prints one message and exits with code 130; its checkpoint is complete."""
    if method == "spawn" and number == signal.SIGTERM:
        pytest.skip("as with fork")
    process, pids, trackers = start_run(config, method, tmp_path)
    with process:
        os.kill(pids[rank], number)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.count(b"stopped at step ") == stderr.count(b"\n") == 1
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.npz", "small.yaml"]
    assert all(wait_for_exit(pid) for pid in (*pids, *trackers))


def test_a_worker_prints_its_error(config, tmp_path):
    """It is printed once, and sets the exit code; the last checkpoint is complete."""
    settings = config(train=ENDLESS["train"])
    with start(
        "train",
        settings,
        code=rank_functions.FAILING_CODE + rank_functions.START_METHOD_CODE["fork"],
        env=SINGLE_THREAD,
    ) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (3, b""), stderr
    assert stderr.count(b"Error: rank 1 of 3, on ") == stderr.count(b"Error: ") == 1
    assert b"enough" in stderr
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "train.batch_size=90"], "batch_size 90 is more than the "),
        (["--init-from", "small.npz", "--out", "new.npz", "--set", "model.hidden=9"], "hidden"),
        (["--resume", "--set", "model.hidden=9"], "model.hidden: 8 -> 9"),
        (["--corpus", "none.txt"], "no such text file"),
    ],
)
def test_an_error_of_all_ranks_is_printed_once(config, charrnn, tmp_path, options, message):
    """Rank 0 checks the options and the files before the other ranks do."""
    settings = config(train={"steps": 3, "seed": 7, "batch_size": 3, "workers": 3})
    assert charrnn("train", settings, "--workers", 1, "-q").exit_code == 0
    with start(
        "train",
        settings,
        *options,
        code=rank_functions.START_METHOD_CODE["fork"],
        env=SINGLE_THREAD,
        cwd=tmp_path,
    ) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode > 0, stdout) == (True, b""), stderr
    assert stderr.count(b"Error: ") == 1
    assert message in stderr.decode()
    assert b"rank " not in stderr


def test_more_workers_than_rows_are_not_started(charrnn, config):
    """Each worker has at least one row, and a message has the number of workers in use."""
    result = charrnn("train", config(), "--workers", 4)
    assert result.exit_code == 0
    assert "using 1 of 4 workers, because train.batch_size is 1" in result.stderr


@pytest.mark.parametrize("options", [("--workers", 0), ("--set", "train.workers=0")])
def test_zero_workers_are_refused(charrnn, config, options):
    """The program prints one message and exits with code 2."""
    result = charrnn("train", config(), *options)
    assert result.exit_code == 2
    assert "0" in result.stderr
    assert result.stderr.count("Error") == 1
