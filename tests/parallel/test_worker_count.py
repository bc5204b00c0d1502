"""How many share the rows, and that products take one thread each."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from charrnn.config import loader
from charrnn.parallel import blas, worker_count

CORES, NAMED = worker_count.cores, blas.threads_in_environment


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    """A process whose products take one thread, on two cores."""
    monkeypatch.setattr(blas, "threads_in_environment", lambda: 1)
    monkeypatch.setattr(worker_count, "cores", lambda: 2)


def settings(cell, hidden, rows, asked="auto"):
    given = {"corpus": {"path": "text"}, "model": {"cell": cell, "hidden": hidden}}
    return loader.from_dict(given | {"train": {"batch_size": rows, "workers": asked}}, "here")


@pytest.mark.parametrize(
    ("sizes", "workers"),
    [
        (("rnn", 100, 1), 1),  # little work is for one
        (("rnn", 100, 13), 1),
        (("rnn", 100, 14), 2),  # more of it is shared by rows
        (("lstm", 512, 8), 2),
        (("lstm", 512, 7), 1),  # unless there are too few of them
        (("gru", 128, 7), 1),
    ],
)
def test_the_size_decides_how_many_share_the_rows(sizes, workers):
    """Where there are enough of them, and more than a little to do."""
    assert worker_count.for_training(settings(*sizes)) == workers


@pytest.mark.parametrize(
    ("sizes", "expected"), [(("rnn", 31), 1), (("rnn", 32), 2), (("gru", 512), 2)]
)
def test_rows_that_are_only_scored_are_shared_sooner(sizes, expected):
    """Nothing has to be added up."""
    assert worker_count.for_scoring(settings(*sizes, 1).model) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("150000 100000", 2), ("100000 100000", 1), ("20000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_a_container_has_the_cores_it_may_use(monkeypatch, tmp_path, limit, expected):
    """More processes than that would take turns, and wait for each other."""
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(worker_count, "QUOTA_PATH", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert CORES() == expected


@pytest.mark.parametrize(
    ("sizes", "expected"), [(("gru", 256, 32), 8), (("lstm", 512, 20), 5), (("rnn", 100, 32), 4)]
)
def test_many_cores_are_used_as_far_as_the_rows_go(monkeypatch, sizes, expected):
    """Four rows for each."""
    monkeypatch.setattr(worker_count, "cores", lambda: 16)
    assert worker_count.for_training(settings(*sizes)) == expected


@pytest.mark.parametrize(
    ("asked", "rows", "expected"), [(1, 64, 1), (3, 64, 3), (8, 4, 4), (3, 1, 1)]
)
def test_the_number_of_workers_may_be_asked_for(asked, rows, expected):
    """They share the rows, as far as these go."""
    assert worker_count.for_training(settings("gru", 512, rows, asked)) == expected


@pytest.mark.parametrize("named", [2, None])
def test_products_of_several_threads_have_one_worker(monkeypatch, named):
    """Whether the environment says so, or nobody told NumPy in time; unless more are asked for."""
    monkeypatch.setattr(blas, "threads_in_environment", lambda: named)
    assert worker_count.for_training(settings("lstm", 512, 64)) == 1
    assert worker_count.for_training(settings("lstm", 512, 64, 2)) == 2


def test_products_get_one_thread_before_numpy_is_there(monkeypatch):
    """Not after it, when it would come too late."""
    environment = {}
    monkeypatch.setattr(blas, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(blas, "threads_in_environment", NAMED)
    blas.limit_threads()
    assert environment == {}
    monkeypatch.setattr(blas, "sys", SimpleNamespace(modules={}))
    blas.limit_threads()
    assert environment == dict.fromkeys(blas.LIMITED, "1")
    monkeypatch.undo()
    code = "import sys; from charrnn.cli.app import main; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"False\n"


@pytest.mark.parametrize("variable", blas.VARIABLES)
def test_what_the_environment_says_counts_more(monkeypatch, variable):
    """Whoever set it meant it."""
    monkeypatch.setattr(blas, "threads_in_environment", NAMED)
    environment = {variable: "2"}
    monkeypatch.setattr(blas, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(blas, "sys", SimpleNamespace(modules={}))
    blas.limit_threads()
    assert environment == {variable: "2"}
