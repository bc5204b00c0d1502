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

from charrnn.errors import CharrnnError
from charrnn.params import shared_zeros
from charrnn.team import Team

by_processes_and_threads = pytest.mark.parametrize("processes", [True, False])
# From Python 3.12 on, a fork beside the threads of pytest-xdist is warned of.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


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


def test_an_answer_that_cannot_be_told_is_an_error():
    """Instead of an answer that never comes."""
    team = team_of(2, True, lambda k: threading.Lock() if k else None)
    with pytest.raises(TypeError, match="pickle"):
        team.each("task", [(0,), (1,)])


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
    with pytest.raises(CharrnnError, match=f"process {helper}.*--threads 1"):
        team.each("task", [(0,), (1,)])
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


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_helpers_end_with_the_first_process(end):
    """However that ends."""
    code = f"""
import os, signal
from charrnn.team import Team
team = Team(3)
team.learn("task", [os.getpid] * 3)
print(*team.each("task", [(), (), ()]), flush=True)
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60)
    pids = [int(word) for word in done.stdout.split()]
    assert len(set(pids)) == 3
    assert all(has_ended(pid) for pid in pids)
