"""Processes of one machine: they meet, and none of them outlives the run, however it ends."""

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
    """In the order of the ranks, of any length, more than once; also of single precision."""
    numbers = np.random.default_rng(size).normal(size=(size, 1 + 2 * local.SLOT_BYTES // 4))
    for dtype in ("float32", "float64"):
        vectors = numbers.astype(dtype)
        expected = vectors[0].copy()
        for other in vectors[1:]:
            expected += other

        def add(group, vectors=vectors):
            found = []
            for length in (1, 5, len(vectors[0]), 0, 3):
                vector = vectors[group.rank, :length].copy()
                group.allreduce(vector)
                found.append(vector.tobytes())
            return group.allgather(found)

        of_all = local.run(size, add, "fork")
        assert len(of_all) == size
        lengths = (1, 5, len(expected), 0, 3)
        assert all(found == [expected[:n].tobytes() for n in lengths] for found in of_all)


@METHODS
def test_every_rank_gets_what_all_give(method):
    """Of any size, from another process; and what rank 0 alone gives."""
    found = local.run(3, rank_functions.exchange, method)
    assert found == [rank_functions.expected_exchange(rank, 3) for rank in range(3)]


def test_nobody_passes_a_barrier_before_all_are_there():
    """Also where one of them is always late."""
    counter = np.frombuffer(mmap.mmap(-1, 64), np.int64)

    def work(group):
        seen = []
        for turn in range(30):
            if turn % 3 == group.rank:
                time.sleep(0.002)
            counter[group.rank] += 1
            group.barrier()
            seen.append(counter[:3].min() >= turn + 1)
        return group.allgather(seen)

    assert local.run(3, work, "fork") == [[True] * 30] * 3


def test_a_task_of_rank_zero_is_done_once_and_first():
    """The others get its result, or begin when it is through."""
    order = np.frombuffer(mmap.mmap(-1, 64), np.int64)

    def work(group):
        once = group.on_rank_zero(os.getpid)

        def count():
            order[0] += 1
            return int(order[0])

        return group.allgather((once, group.rank_zero_first(count)))

    found = local.run(2, work, "fork")
    assert found == [(os.getpid(), 1), (os.getpid(), 2)]


def test_rows_are_cut_into_equal_parts():
    """All of them, each once; where they are few, some ranks have none."""
    for B in range(9):
        parts = local.run(3, lambda group, B=B: group.allgather(group.rows(B)), "fork")
        assert [row for part in parts for row in range(B)[part]] == list(range(B))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1
    assert SingleProcess().rows(5) == slice(0, 5)


def test_ranks_that_read_different_texts_are_refused():
    """Once, and the message names the first that differs and what it has."""

    def work(group):
        group.check_equal({"program": "1", "corpus": "a" if group.rank < 2 else "b"})

    with pytest.raises(CharrnnError, match=r"rank 2, on .* has a different corpus than rank 0"):
        local.run(3, work, "fork")


@METHODS
def test_an_error_of_rank_zero_ends_the_others(method, tmp_path):
    """Though they wait for it, or work for ever."""
    with pytest.raises(ZeroDivisionError):
        local.run(3, rank_functions.FailOnRankZero(tmp_path), method)
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert len(pids) == 3
    assert all(wait_for_exit(pid) for pid in set(pids) - {os.getpid()})


@METHODS
def test_an_error_of_another_ends_rank_zero(method):
    """With the exit code of one that has told what happened."""
    with pytest.raises(PeerFailed) as caught:
        local.run(2, rank_functions.exit_on_rank_one, method)
    assert caught.value.exit_code == 7


def test_what_all_come_upon_is_raised_by_rank_zero():
    """The others wait for their end."""

    def work(group):
        raise group.error_for_all_ranks(CharrnnError("all see it"))

    with pytest.raises(CharrnnError, match=r"^all see it$"):
        local.run(3, work, "fork")


def test_a_killed_worker_is_noticed_by_one_that_computes():
    """Rank 0 does not have to meet it."""

    def work(group):
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            sum(range(1000))

    begun = time.monotonic()
    with pytest.raises(CharrnnError, match=r"worker 1 \(process \d+\) was ended by SIGKILL"):
        local.run(2, work, "fork")
    assert time.monotonic() - begun < 20
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


@pytest.mark.parametrize("what", ["processes", "semaphores", "memory"])
def test_where_there_is_no_room_one_process_does_it_all(monkeypatch, caplog, what):
    """After a warning; those that began are gone."""
    started = []
    if what == "processes":
        fork = os.fork

        def fork_once():
            if started:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            started.append(fork())
            return started[0]

        monkeypatch.setattr(os, "fork", fork_once)
    elif what == "memory":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    else:
        import multiprocessing.synchronize

        def none(*given, **named):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", none)
    assert local.run(3, rank_functions.group_size, "fork") == 1
    assert "3 processes cannot start (" in caplog.text
    assert "one does all the work" in caplog.text
    assert all(wait_for_exit(pid) for pid in started)


def test_a_process_with_other_threads_is_not_forked(monkeypatch):
    """Nor one of MPI, on macOS, or where nothing tells how many threads there are."""
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


# The real program from here on.

ENDLESS = {"train": {"steps": 10**9, "seed": 7, "batch_size": 3, "workers": 3},
           "output": {"validate_every": 10**8}}  # fmt: skip
SINGLE = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def begin(config, method, tmp_path):
    """A run of three, its processes, and those of Python that look after them."""
    process = start(
        "train",
        config(**ENDLESS),
        code=rank_functions.START_METHOD_CODE[method],
        cwd=tmp_path,
        env=SINGLE,
    )
    read_until(process, "initial loss")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    words = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    others = [pid for pid in words if "resource_tracker" in words[pid]]
    return process, [process.pid, *(pid for pid in words if pid not in others)], others


@METHODS
@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_all(config, tmp_path, method, rank):
    """One message, exit 1, and nobody and nothing is left but what was saved."""
    process, pids, others = begin(config, method, tmp_path)
    with process:
        os.kill(pids[rank], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    assert len(pids) == 3
    assert said.count(b"Error: ") == 1
    assert b"Traceback" not in said
    if rank:
        assert f"worker {rank} (process {pids[rank]}) was ended by SIGKILL".encode() in said
        assert process.returncode == 1
        assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
    else:
        assert b"Error: the run ended because its first process ended\n" in said
    assert all(wait_for_exit(pid) for pid in (*pids, *others))
    # The lock went with the first process.
    done = subprocess.run(
        [*rank_functions.CHARRNN, "train", "small.yaml", "--set", "train.steps=2", "-q"],
        cwd=tmp_path, env=SINGLE, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@METHODS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_rank_saves_and_ends_all(config, tmp_path, method, number, rank):
    """Exit code 130, said once, and the checkpoint is whole."""
    if method == "spawn" and number == signal.SIGTERM:
        pytest.skip("as with fork")
    process, pids, others = begin(config, method, tmp_path)
    with process:
        os.kill(pids[rank], number)
        printed, said = process.communicate(timeout=30)
    assert (process.returncode, printed) == (130, b"")
    assert said.count(b"Error: stopped at step ") == said.count(b"\n") == 1
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.npz", "small.yaml"]
    assert all(wait_for_exit(pid) for pid in (*pids, *others))


def test_an_error_of_one_worker_is_told_by_it(config, tmp_path):
    """Once, with its exit code; the last checkpoint is whole."""
    settings = config(train=ENDLESS["train"])
    with start(
        "train",
        settings,
        code=rank_functions.FAILING_CODE + rank_functions.START_METHOD_CODE["fork"],
        env=SINGLE,
    ) as process:
        printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (3, b""), said
    assert said.count(b"Error: rank 1 of 3, on ") == said.count(b"Error: ") == 1
    assert b"enough" in said
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "train.batch_size=90"], "batch_size 90 is more than the "),
        (["--init-from", "small.npz", "--out", "new.npz", "--set", "model.hidden=9"], "hidden"),
        (["--resume", "--set", "model.hidden=9"], "model.hidden: 8 -> 9"),
        (["--corpus", "none.txt"], "no such text file"),
    ],
)
def test_what_is_wrong_for_all_is_told_once(config, charrnn, tmp_path, words, message):
    """By rank 0, before the others come upon it."""
    settings = config(train={"steps": 3, "seed": 7, "batch_size": 3, "workers": 3})
    assert charrnn("train", settings, "--workers", 1, "-q").exit_code == 0
    with start(
        "train",
        settings,
        *words,
        code=rank_functions.START_METHOD_CODE["fork"],
        env=SINGLE,
        cwd=tmp_path,
    ) as run:
        printed, said = run.communicate(timeout=60)
    assert (run.returncode > 0, printed) == (True, b""), said
    assert said.count(b"Error: ") == 1
    assert message in said.decode()
    assert b"rank " not in said


def test_more_workers_than_rows_are_not_started(charrnn, config):
    """Each has a row at least, and the user is told."""
    result = charrnn("train", config(), "--workers", 4)
    assert result.exit_code == 0
    assert "using 1 of 4 workers, because train.batch_size is 1" in result.stderr


@pytest.mark.parametrize("words", [("--workers", 0), ("--set", "train.workers=0")])
def test_no_workers_are_too_few(charrnn, config, words):
    """One message and exit 2."""
    result = charrnn("train", config(), *words)
    assert result.exit_code == 2
    assert "0" in result.stderr
    assert result.stderr.count("Error") == 1
