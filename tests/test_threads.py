"""How many threads a run gets: by its size, by the environment, and before NumPy is there."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from charrnn import threads


@pytest.fixture
def environment(monkeypatch):
    """One that names no number of threads, in a process without NumPy, on two cores."""
    found = {}
    monkeypatch.setattr(threads, "os", SimpleNamespace(environ=found))
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(threads, "can_fork", lambda: True)
    return found


def settings(cell, hidden, rows, **train):
    return {"model": {"cell": cell, "hidden": hidden}, "train": {"batch_size": rows, **train}}


@pytest.mark.parametrize(
    ("sizes", "workers", "blas"),
    [
        (("rnn", 100, 1), 1, 1),  # little work is for one
        (("rnn", 100, 26), 1, 1),
        (("rnn", 100, 27), 2, 1),  # more of it is shared by rows
        (("lstm", 512, 8), 2, 1),
        (("lstm", 512, 7), 1, 2),  # or within each product, where there are too few of them
        (("gru", 128, 7), 1, 1),
    ],
)
def test_the_size_decides_how_cores_are_used(environment, sizes, workers, blas):
    """Rows are shared where there are enough; else large products get both cores."""
    assert threads.plan(settings(*sizes)) == (workers, blas)
    threads.limit(settings(*sizes))
    assert environment == dict.fromkeys(threads.VARIABLES, str(blas))
    assert threads.workers(settings(*sizes)) == workers  # as before NumPy was there


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [(("rnn", 31), (1, 1)), (("rnn", 32), (2, 1)), (("gru", 512), (2, 1))],
)
def test_rows_that_are_only_scored_are_shared_sooner(environment, sizes, expected):
    """Nothing has to be added up."""
    assert threads.plan(settings(*sizes, 1), rows=threads.ROWS) == expected


@pytest.mark.parametrize(
    ("sizes", "rows", "expected"),
    [
        (("gru", 256, 32), None, (1, 2)),
        (("lstm", 512, 32), None, (2, 1)),
        (("rnn", 80, 1), threads.ROWS, (1, 1)),
        (("rnn", 100, 1), threads.ROWS, (2, 1)),
    ],
)
def test_threads_share_only_larger_work(environment, monkeypatch, sizes, rows, expected):
    """Than processes do: they wait for each other at every call from Python."""
    monkeypatch.setattr(threads, "can_fork", lambda: False)
    assert threads.plan(settings(*sizes), rows) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere helpers are threads")
def test_a_process_with_other_threads_is_not_forked(monkeypatch):
    """Their locks would stay locked in the fork for ever; nor is a rank of MPI, or on macOS."""
    code = """
import threading
from charrnn.threads import can_fork
held = threading.Lock()
held.acquire()
print(can_fork())
threading.Thread(target=held.acquire).start()
print(can_fork())
held.release()
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"True", b"False"]
    monkeypatch.setattr(threads.os, "listdir", lambda path: ["1"])
    assert threads.can_fork()
    with monkeypatch.context() as patch:  # no /proc
        patch.setattr(threads.os, "listdir", lambda path: os.stat(os.path.join(path, "none")))
        assert not threads.can_fork()
    with monkeypatch.context() as patch:
        patch.setattr(threads, "sys", SimpleNamespace(platform="darwin"))
        assert not threads.can_fork()
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    assert not threads.can_fork()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("150000 100000", 2), ("100000 100000", 1), ("20000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_a_container_has_the_cores_it_may_use(monkeypatch, tmp_path, limit, expected):
    """More processes than that would take turns, and wait for each other."""
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(threads, "QUOTA", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads.cores() == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (("gru", 256, 32), (8, 1)),  # four rows for each, and eight cores for others
        (("lstm", 512, 20), (1, 16)),  # most of the cores would have nothing to do
        (("rnn", 100, 32), (2, 1)),
    ],
)
def test_many_cores_are_used_as_far_as_the_rows_go(environment, monkeypatch, sizes, expected):
    """Or else by every product, if it is large."""
    monkeypatch.setattr(threads, "cores", lambda: 16)
    assert threads.plan(settings(*sizes)) == expected


@pytest.mark.parametrize(
    ("asked", "rows", "expected"),
    [(1, 64, (1, 1)), (3, 64, (3, 1)), (8, 4, (4, 1)), (3, 1, (1, 1))],
)
def test_the_number_of_threads_may_be_asked_for(environment, asked, rows, expected):
    """They share the rows, as far as these go."""
    assert threads.plan(settings("gru", 512, rows, threads=asked)) == expected


def test_products_of_several_threads_have_one_worker(environment):
    """Whether the environment says so, or nobody told NumPy in time."""
    environment["OMP_NUM_THREADS"] = "2"
    assert threads.plan(settings("lstm", 512, 64)) == (1, 2)
    del environment["OMP_NUM_THREADS"]
    assert threads.workers(settings("lstm", 512, 64)) == 1


@pytest.mark.parametrize("config", [{}, {"model": 3, "train": None}, {"model": {}, "train": {}}])
def test_what_is_no_config_gets_one_thread(environment, config):
    """What is wrong with it is told when it is read."""
    assert threads.plan(config) == (1, 1)


def test_sampling_and_scoring_get_one_thread(environment):
    """Their products are small."""
    threads.limit()
    assert set(environment) == set(threads.VARIABLES)


@pytest.mark.parametrize("variable", [*threads.VARIABLES, "OMP_NUM_THREADS"])
def test_what_the_environment_says_counts_more(environment, variable):
    """Whoever set it meant it."""
    environment[variable] = "2"
    threads.limit()
    assert environment == {variable: "2"}


def test_a_checkpoint_and_its_config_get_the_same(trained, tmp_path):
    """So that a resumed run has the same bits, whichever it is resumed by."""
    from charrnn import checkpoint

    expected = checkpoint.load(trained).config.as_dict()
    found = threads.settings_in(trained)
    assert found["model"] == expected["model"]
    assert found["train"] == expected["train"]
    (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
    assert threads.settings_in(str(tmp_path / "broken.npz")) == {}
    assert threads.settings_in(str(tmp_path / "none.npz")) == {}
