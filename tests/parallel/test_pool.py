"""A pool of processes gives what one process gives, and goes when it is no longer needed."""

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
    """pytest's workers have a thread of their own."""
    monkeypatch.setattr(pools, "can_fork", lambda: True)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_parts(workers):
    """Whoever is first; the first parts are begun by all workers at the same time."""
    begun = np.frombuffer(mmap.mmap(-1, 20), np.uint8)

    def square(k):
        begun[k] = 1
        until = time.monotonic() + 30
        while k < workers and not begun[:workers].all() and time.monotonic() < until:
            time.sleep(0.001)
        return k * k, os.getpid()

    pool = WorkerPool(workers)
    if workers == 1:
        begun[:] = 1
    results = list(pool.map(pool.register(square), iter(PARTS)))
    assert [result for result, _ in results] == [k * k for k in range(20)]
    pids = {pid for _, pid in results}
    assert len(pids) == workers
    assert (os.getpid() in pids) == (workers == 1)


def test_little_work_starts_no_process():
    """As much as nobody waits for."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: os.getpid())
    assert set(pool.map(number, PARTS[:3])) == {os.getpid()}
    assert os.getpid() not in set(pool.map(number, PARTS))


def test_where_no_process_can_be_forked_this_one_works(monkeypatch):
    """In a program with threads of its own, say."""
    monkeypatch.setattr(pools, "can_fork", lambda: False)
    pool = WorkerPool(2)
    assert set(pool.map(pool.register(lambda k: os.getpid()), PARTS)) == {os.getpid()}


def test_an_error_is_that_of_the_part():
    """And overflow is treated as here."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: np.float32(3e38) * np.array([k], np.float32))
    with pytest.raises(FloatingPointError):
        list(pool.map(number, PARTS))
    with np.errstate(over="ignore"):
        assert np.isinf(list(pool.map(number, PARTS))[2])


def test_a_killed_worker_is_one_message():
    """Instead of a traceback of the pool."""
    pool = WorkerPool(2)
    number = pool.register(lambda k: os.kill(os.getpid(), signal.SIGKILL) if k == 7 else k)
    with pytest.raises(CharrnnError, match="ended early") as caught:
        list(pool.map(number, PARTS))
    assert "--workers 1" in caught.value.hint


@pytest.mark.parametrize("size", [7, 30])
def test_scores_do_not_depend_on_who_shares_them(size):
    """The same bits, of every character, with its prediction."""
    model, params = networks.network("lstm", layers=2)
    ids = np.random.default_rng(0).integers(0, networks.V, 20_000)
    found = []
    for workers in (1, 2):
        evaluator = Evaluator(model, params, WorkerPool(workers))
        starts = np.arange(1, 20_000, size)
        figures = evaluator.score_records(Records(ids, starts), PREDICTION)
        assert (evaluator.pool._executor is None) == (workers == 1)
        found.append(figures.tobytes())
    assert found[0] == found[1]


CODE = """
import os, signal, sys
from charrnn.parallel.pool import WorkerPool
pool = WorkerPool(2)
number = pool.register(lambda k: os.getpid())
print(*set(pool.map(number, [(k,) for k in range(50)])), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "1/0"])
def test_workers_end_with_the_first_process(end):
    """However that ends."""
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(end=end)], capture_output=True, timeout=60, env=single,
        check=False,
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert pids
    assert all(wait_for_exit(pid) for pid in pids)


@pytest.mark.parametrize("words", [("eval",), ("score",), ("score", "--above", "2")])
def test_eval_gives_the_same_with_any_number_of_workers(charrnn, trained, words):
    """Thousands of lines from a pipe."""
    text = "".join(f"{name}\n" for name in ("anna", "bob", "clara") * 700)
    command, *options = words
    one, two = (
        charrnn(command, trained, "-", *options, "--workers", n, stdin=text) for n in (1, 2)
    )
    assert one.exit_code == two.exit_code == 0
    assert one.stdout == two.stdout
    if words == ("eval",):
        assert json.loads(charrnn("eval", trained, "-", "--json", stdin=text).stdout)["chars"]
