"""Helpers: they do their part at the same time, see what is shared, and never outlive the run."""

import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from trials import Silent, contents

from charrnn.errors import CharrnnError
from charrnn.nn.parameters import shared_zeros
from charrnn.parallel import team as teams
from charrnn.parallel.team import Team
from charrnn.training import loop

by_processes_and_threads = pytest.mark.parametrize("processes", [True, False])


def team_of(size, processes, task):
    """A team whose members all do the same under the name "task"."""
    team = Team(size, processes)
    team.learn("task", [task] * size)
    return team


def has_ended(pid):
    """Whether a process is at its end, now or soon."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], 30)[0])


def pid_of(_):
    """Who does it."""
    return os.getpid()


def test_rows_are_cut_into_equal_parts():
    """None of them empty, and all of them there."""
    assert Team(3).cut(7) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert Team(3).cut(2) == [slice(0, 1), slice(1, 2)]
    assert Team(1).cut(5) == [slice(0, 5)]


@by_processes_and_threads
def test_a_team_works_at_the_same_time(processes):
    """Each waits in the task until all are in it: one after the other they would never get out."""
    there = shared_zeros(3, "float64")

    def task(k):
        there[k] = 1
        until = time.monotonic() + 30
        while there.sum() < 3 and time.monotonic() < until:
            pass
        return k, there.sum(), os.getpid(), threading.get_ident()

    results = team_of(3, processes, task).each("task", [(0,), (1,), (2,)])
    assert [(k, seen) for k, seen, _, _ in results] == [(0, 3), (1, 3), (2, 3)]
    assert len({pid for _, _, pid, _ in results}) == (3 if processes else 1)
    if not processes:
        assert len({thread for _, _, _, thread in results}) == 3


@by_processes_and_threads
def test_an_error_of_any_is_raised_when_all_are_done(processes):
    """So that none of them still writes to what the caller goes on with; and the team goes on."""
    ended = shared_zeros(3, "float64")

    def task(k):
        if k == 1:
            raise ValueError("number 1")
        ended[k] += 1

    team = team_of(3, processes, task)
    with pytest.raises(ValueError, match="number 1"):
        team.each("task", [(0,), (1,), (2,)])
    assert ended.tolist() == [1, 0, 1]
    team.each("task", [(0,), (2,)])
    assert ended.tolist() == [2, 0, 2]


@by_processes_and_threads
def test_overflow_is_treated_alike_by_all(processes):
    """NumPy keeps what it is to do for each thread on its own."""

    def task(k):
        return np.float32(3e38) * np.array([10 if k else 1], np.float32)

    team = team_of(2, processes, task)
    with pytest.raises(FloatingPointError):
        team.each("task", [(0,), (1,)])
    with np.errstate(over="ignore"):
        assert np.isinf(team.each("task", [(0,), (1,)])[1])


def test_helpers_see_what_is_written_later_to_shared_memory_alone():
    """Weights change at every step, and it is the new ones that count."""
    shared, own = shared_zeros(1, "float32"), np.zeros(1)
    team = team_of(2, True, lambda _: (float(shared[0]), float(own[0])))
    assert team.each("task", [(0,), (1,)]) == [(0, 0), (0, 0)]
    shared[0] = own[0] = 5
    assert team.each("task", [(0,), (1,)]) == [(5, 5), (5, 0)]


def test_a_task_that_is_learnt_later_is_known_to_helpers():
    """Old helpers go, and new ones come."""
    team = team_of(2, True, pid_of)
    helper = team.each("task", [(0,), (1,)])[1]
    team.learn("other", [str, str])
    assert has_ended(helper)
    assert team.each("other", [(1,), (2,)]) == ["1", "2"]


def test_what_cannot_be_told_is_an_error():
    """Instead of an answer that never comes, be it the question or the answer."""
    team = team_of(2, True, lambda k: threading.Lock() if k == 1 else None)
    for question in (1, threading.Lock()):
        with pytest.raises(TypeError, match="pickle"):
            team.each("task", [(0,), (question,)])
    assert team.each("task", [(0,), (2,)]) == [None, None]


def test_what_is_longer_than_a_pipe_comes_through():
    """Both ways, and to several at once."""
    team = team_of(3, True, lambda x: x + 1)
    results = team.each("task", [(np.full(10**6, k),) for k in range(3)])
    assert [(len(result), result[-1]) for result in results] == [(10**6, k) for k in (1, 2, 3)]


def test_where_no_process_can_be_had_helpers_are_threads(monkeypatch):
    """The ones that were there already leave; the work is done all the same."""
    fork, pids = os.fork, []

    def fork_once():
        if pids:
            raise BlockingIOError("Resource temporarily unavailable")
        pids.append(fork())
        return pids[0]

    monkeypatch.setattr(os, "fork", fork_once)
    team = team_of(3, True, pid_of)
    assert team.each("task", [(0,), (1,), (2,)]) == [os.getpid()] * 3
    assert has_ended(pids[0])


def test_shared_memory_that_there_is_not_is_an_error_of_memory():
    """Which the command line has words for."""
    with pytest.raises(MemoryError):
        shared_zeros(1 << 50, "float64")


def test_other_forks_neither_hold_nor_use_the_helpers():
    """As of a program that forks processes of its own, with the team among their memory."""
    team = team_of(2, True, pid_of)
    helper = team.each("task", [(0,), (1,)])[1]
    end, other = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(other, b"%d" % team.each("task", [(0,), (1,)])[1])
            os.close(other)
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert int(os.read(end, 20)) != helper
        assert team.each("task", [(0,), (1,)])[1] == helper
        team.dismiss()
        assert has_ended(helper)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(end)
        os.close(other)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_run_with_processes_is_one_with_threads(trainer, monkeypatch, tmp_path, mode):
    """The same bytes: helpers see the weights, and their average, as they become.

    They leave at its end, or a program that trains many networks would have ever more of them.
    """
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    fork, pids, found = teams._fork, [], []

    def noted(tasks):
        helper = fork(tasks)
        pids.append(helper.pid)
        return helper

    monkeypatch.setattr(teams, "_fork", noted)
    for processes in (True, False):
        monkeypatch.setattr(teams, "can_fork", lambda processes=processes: processes)
        run = trainer(
            *("train.steps=12", "train.batch_size=16", "train.threads=2", "optimizer.ema=0.9"),
            *("output.validate_every=4", "model.dropout=0.3"),
            mode=mode,
        )
        loop.run(run, str(tmp_path / "x.npz"), Silent())
        found.append((contents(tmp_path / "x.npz"), run.history))
    assert all(has_ended(pid) for pid in pids)
    assert len(pids) == 1
    assert found[0][0] == found[1][0]
    assert [row[2:] for row in found[0][1]] == [row[2:] for row in found[1][1]]


def test_a_bar_brings_no_thread():
    """With tqdm's own, nothing could be forked once a corpus had been read."""
    from charrnn.bar import Bar

    before = threading.active_count()
    with Bar(total=3, file=open(os.devnull, "w")) as bar:
        bar.update(1)
        assert threading.active_count() == before
    bar.fp.close()


def test_a_helper_that_is_killed_is_told_and_replaced():
    """One message, no traceback of a pipe; the next task finds a new helper."""
    team = team_of(2, True, pid_of)
    helper = team.each("task", [(0,), (1,)])[1]
    os.kill(helper, signal.SIGKILL)
    with pytest.raises(CharrnnError, match=f"process {helper}") as caught:
        team.each("task", [(0,), (1,)])
    assert "--threads 1" in caught.value.hint
    assert team.each("task", [(0,), (1,)])[1] != helper


def test_helpers_leave_it_to_the_first_process_to_stop():
    """Ctrl-C and the end of a service reach them all, and the first one needs them to finish."""
    team = team_of(2, True, pid_of)
    helper = team.each("task", [(0,), (1,)])[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper, number)
    assert team.each("task", [(0,), (1,)])[1] == helper


def test_an_interrupted_task_leaves_no_answer_behind():
    """Which the next task would take for its own."""

    def task(k, interrupt):
        if interrupt and k == 0:
            raise KeyboardInterrupt
        return k, interrupt

    team = team_of(2, True, task)
    with pytest.raises(KeyboardInterrupt):
        team.each("task", [(0, True), (1, True)])
    assert team.each("task", [(0, False), (1, False)]) == [(0, False), (1, False)]


def test_helpers_end_with_their_team():
    """When nobody needs it any more."""
    team = team_of(2, True, pid_of)
    helper = team.each("task", [(0,), (1,)])[1]
    del team
    gc.collect()
    assert has_ended(helper)


@pytest.mark.parametrize("closed", ["", "<&-"])
@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_helpers_end_with_the_first_process(end, closed):
    """However that ends, and also where it has no standard input, as in a service."""
    code = f"""
import os, signal
from charrnn.parallel.team import Team
team = Team(3)
team.learn("task", [os.getpid] * 3)
print(*team.each("task", [(), (), ()]), flush=True)
{end}
"""
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code]
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a pool of NumPy's forbids to fork
    done = subprocess.run(words, stdout=subprocess.PIPE, timeout=60, env=single)
    pids = [int(word) for word in done.stdout.split()]
    assert len(set(pids)) == 3
    assert all(has_ended(pid) for pid in pids)
