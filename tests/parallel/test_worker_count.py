"""The number of workers, and the number of threads of a matrix product."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from charrnn.config import loader
from charrnn.parallel import blas, worker_count

ORIGINAL_CORES, ORIGINAL_THREADS = worker_count.cores, blas.threads_in_environment


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    """Set two cores, and one thread for each product."""
    monkeypatch.setattr(blas, "threads_in_environment", lambda: 1)
    monkeypatch.setattr(worker_count, "cores", lambda: 2)


def make_config(cell, hidden, rows, workers="auto"):
    """Return a config with these sizes."""
    train = {"batch_size": rows, "workers": workers}
    model = {"cell": cell, "hidden": hidden}
    return loader.from_dict({"corpus": {"path": "text"}, "model": model, "train": train}, "here")


@pytest.mark.parametrize(
    ("sizes", "workers"),
    [
        (("rnn", 100, 1), 1),  # too little work to share
        (("rnn", 100, 13), 1),
        (("rnn", 100, 14), 2),  # 2 x 65,536 multiplications are enough
        (("lstm", 512, 8), 2),
        (("lstm", 512, 7), 1),  # fewer than 4 rows for each worker
        (("gru", 128, 7), 1),
    ],
)
def test_the_number_of_workers_depends_on_the_size(sizes, workers):
    """Two workers train when each has enough rows and multiplications, otherwise one."""
    assert worker_count.for_training(make_config(*sizes)) == workers


@pytest.mark.parametrize(
    ("sizes", "expected"), [(("rnn", 31), 1), (("rnn", 32), 2), (("gru", 512), 2)]
)
def test_scoring_uses_workers_for_smaller_models(sizes, expected):
    """Workers that score have no gradients to sum, so less work is enough for each."""
    assert worker_count.for_scoring(make_config(*sizes, 1).model) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("150000 100000", 2), ("100000 100000", 1), ("20000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_the_cores_of_a_container_are_its_cpu_quota(monkeypatch, tmp_path, limit, expected):
    """The quota, rounded up, limits the number of cores."""
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(worker_count, "QUOTA_PATH", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert ORIGINAL_CORES() == expected


@pytest.mark.parametrize(
    ("sizes", "expected"), [(("gru", 256, 32), 8), (("lstm", 512, 20), 5), (("rnn", 100, 32), 4)]
)
def test_the_rows_limit_the_number_of_workers(monkeypatch, sizes, expected):
    """With 16 cores, each worker still has at least four rows."""
    monkeypatch.setattr(worker_count, "cores", lambda: 16)
    assert worker_count.for_training(make_config(*sizes)) == expected


@pytest.mark.parametrize(
    ("workers", "rows", "expected"), [(1, 64, 1), (3, 64, 3), (8, 4, 4), (3, 1, 1)]
)
def test_the_config_can_set_the_number_of_workers(workers, rows, expected):
    """It is used up to one worker per row."""
    assert worker_count.for_training(make_config("gru", 512, rows, workers)) == expected


@pytest.mark.parametrize("threads", [2, None])
def test_products_of_several_threads_have_one_worker(monkeypatch, threads):
    """Unless the environment sets one thread, there is one worker, or the number in the config."""
    monkeypatch.setattr(blas, "threads_in_environment", lambda: threads)
    assert worker_count.for_training(make_config("lstm", 512, 64)) == 1
    assert worker_count.for_training(make_config("lstm", 512, 64, 2)) == 2


def test_products_get_one_thread_before_numpy_is_imported(monkeypatch):
    """The limit has no effect after the import, so it is not set then."""
    environment = {}
    monkeypatch.setattr(blas, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(blas, "threads_in_environment", ORIGINAL_THREADS)
    blas.limit_threads()
    assert environment == {}
    monkeypatch.setattr(blas, "sys", SimpleNamespace(modules={}))
    blas.limit_threads()
    assert environment == dict.fromkeys(blas.LIMITED, "1")
    monkeypatch.undo()
    code = "import sys; from charrnn.cli.app import main; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert result.stdout == b"False\n"


@pytest.mark.parametrize("variable", blas.VARIABLES)
def test_a_number_of_threads_in_the_environment_stays(monkeypatch, variable):
    """The program does not change a number that the user has set."""
    monkeypatch.setattr(blas, "threads_in_environment", ORIGINAL_THREADS)
    environment = {variable: "2"}
    monkeypatch.setattr(blas, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(blas, "sys", SimpleNamespace(modules={}))
    blas.limit_threads()
    assert environment == {variable: "2"}
