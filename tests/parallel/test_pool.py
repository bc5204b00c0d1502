"""The worker pool: it gives the results of one process, and its workers end with that process."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time

import networks
import numpy as np
import pytest
from processes import wait_for_exit

from charrnn.data.corpus import Records
from charrnn.errors import CharrnnError
from charrnn.evaluation.evaluator import PREDICTION, Evaluator
from charrnn.parallel import pool as pools
from charrnn.parallel.pool import WorkerPool

PARTS = [(k,) for k in range(20)]


@pytest.fixture(autouse=True)
def _forks(monkeypatch):
    """Let the pool fork, although pytest-xdist runs a second thread in this process."""
    monkeypatch.setattr(pools, "can_fork", lambda: True)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_are_in_the_order_of_the_parts(workers):
    """The order does not depend on the workers, which start the first parts at the same time."""
    started = np.frombuffer(mmap.mmap(-1, 20), np.uint8)

    def square(k):
        started[k] = 1
        deadline = time.monotonic() + 30
        while k < workers and not started[:workers].all() and time.monotonic() < deadline:
            time.sleep(0.001)
        return k * k, os.getpid()

    pool = WorkerPool(workers)
    if workers == 1:
        started[:] = 1
    results = list(pool.map(pool.register(square), iter(PARTS)))
    assert [result for result, _ in results] == [k * k for k in range(20)]
    pids = {pid for _, pid in results}
    assert len(pids) == workers
    assert (os.getpid() in pids) == (workers == 1)


def test_a_few_parts_start_no_process():
    """Three parts are done in this process; twenty parts start the workers."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: os.getpid())
    assert set(pool.map(number, PARTS[:3])) == {os.getpid()}
    assert os.getpid() not in set(pool.map(number, PARTS))


def test_without_forks_this_process_does_all_the_work(monkeypatch):
    """A program with several threads, for example, cannot be forked safely."""
    monkeypatch.setattr(pools, "can_fork", lambda: False)
    pool = WorkerPool(2)
    assert set(pool.map(pool.register(lambda k: os.getpid()), PARTS)) == {os.getpid()}


def test_an_error_of_a_part_is_raised():
    """The workers also handle an overflow with the error settings of this process."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: np.float32(3e38) * np.array([k], np.float32))
    with pytest.raises(FloatingPointError):
        list(pool.map(number, PARTS))
    with np.errstate(over="ignore"):
        assert np.isinf(list(pool.map(number, PARTS))[2])


def test_a_killed_worker_gives_one_message():
    """The pool raises CharrnnError, with a hint, when a worker is killed."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: os.kill(os.getpid(), signal.SIGKILL) if k == 7 else k)
    with pytest.raises(CharrnnError, match="ended early") as raised:
        list(pool.map(number, PARTS))
    assert "--workers 1" in raised.value.hint


@pytest.mark.parametrize("size", [7, 30])
def test_scores_do_not_depend_on_the_number_of_workers(size):
    """The scores and predictions of every character have the same bits with one and two workers."""
    model, params = networks.network("lstm", layers=2)
    ids = np.random.default_rng(0).integers(0, networks.V, 20_000)
    scores = []
    for workers in (1, 2):
        evaluator = Evaluator(model, params, WorkerPool(workers))
        starts = np.arange(1, 20_000, size)
        record_scores = evaluator.score_records(Records(ids, starts), PREDICTION)
        assert (evaluator.pool._executor is None) == (workers == 1)
        scores.append(record_scores.tobytes())
    assert scores[0] == scores[1]


# Code that prints the process ids of the workers, and ends in one of several ways.
POOL_CODE = """
import os, signal, sys
from charrnn.parallel.pool import WorkerPool
pool = WorkerPool(2)
number = pool.register(lambda k: os.getpid())
print(*set(pool.map(number, [(k,) for k in range(50)])), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "1/0"])
def test_workers_end_with_the_first_process(end):
    """They end when it is killed, when it fails, and when it exits in either way."""
    result = subprocess.run(
        [sys.executable, "-c", POOL_CODE.format(end=end)],
        capture_output=True,
        timeout=60,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    pids = [int(pid) for pid in result.stdout.split()]
    assert pids
    assert all(wait_for_exit(pid) for pid in pids)


@pytest.mark.parametrize("arguments", [("eval",), ("score",), ("score", "--above", "2")])
def test_commands_print_the_same_with_any_number_of_workers(charrnn, trained, arguments):
    """`eval` and `score` of 2,100 lines from a pipe print the same with one and two workers."""
    text = "".join(f"{name}\n" for name in ("anna", "bob", "clara") * 700)
    command, *options = arguments
    first, second = (
        charrnn(command, trained, "-", *options, "--workers", n, stdin=text) for n in (1, 2)
    )
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    if arguments == ("eval",):
        assert json.loads(charrnn("eval", trained, "-", "--json", stdin=text).stdout)["chars"]
