"""Runs killed at any moment: nothing is ever half written, and in the end nothing is lost."""

import os
import random
import signal
import time

import pytest
from processes import ForkServer, read_until, start
from run_helpers import contents, metrics

from charrnn import checkpoint

SETTINGS = {
    "train": {"steps": 600, "seed": 7, "seq_length": 5, "batch_size": 2},
    "optimizer": {"name": "adam", "learning_rate": 0.02},
    "output": {"validate_every": 2, "sample_every": 30, "keep": "best"},
}
FILES = ("small.npz", "small.best.npz")
NEW_INTERPRETERS = 3  # after which forks of one are killed, which take less time to start


def parts(folder):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def kill_after_lines(process, rng, folder):
    """After some lines, and up to five milliseconds more."""
    for _ in range(rng.randint(1, 8)):
        process.stderr.readline()
    time.sleep(rng.random() * 0.005)
    os.kill(process.pid, signal.SIGKILL)


def kill_while_writing(process, rng, folder):
    """When a file is there only in part, as far as that can be seen from outside."""
    read_until(process, ("initial loss", "resuming"))
    for _ in range(rng.randint(0, 3)):
        process.stderr.readline()
    for _ in range(10**5):
        if parts(folder):
            break
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(("workers", "kills"), [(1, 40), (2, 12)])
def test_a_run_killed_again_and_again_equals_one_that_was_not(
    config, charrnn, tmp_path, monkeypatch, workers, kills
):
    """Every checkpoint on the way can be read, and the last files are the same, bit for bit.

    With two workers too, where the lock ends with the first: the next run can have it at once.
    """
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # of the runs that nobody kills
    train = {**SETTINGS["train"], "workers": workers}
    settings, path = config(**{**SETTINGS, "train": train}), tmp_path / "small.npz"
    assert charrnn("train", settings, "-q").exit_code == 0
    whole = [contents(tmp_path / name) for name in FILES]
    figures = metrics(tmp_path / "small.jsonl")
    for name in (*FILES, "small.jsonl"):
        (tmp_path / name).unlink()

    rng, left = random.Random(1), 0
    with ForkServer() as fork_server:
        for number in range(kills):
            words = ["train", settings, *(["--resume"] if path.exists() else [])]
            kill = kill_while_writing if number % 2 else kill_after_lines
            with (start if number < NEW_INTERPRETERS else fork_server.start)(*words) as process:
                kill(process, rng, tmp_path)
            assert process.returncode == -signal.SIGKILL, "the run ended by itself"
            left += bool(parts(tmp_path))
            assert len(parts(tmp_path)) <= 1, "the next run clears away what the one before left"
            for name in FILES:
                if (tmp_path / name).exists():
                    checkpoint.load(str(tmp_path / name))
    assert left, "no run was killed while it wrote a file"
    assert 0 < checkpoint.load(str(path)).step < SETTINGS["train"]["steps"]

    assert charrnn("train", settings, "--resume", "-q").exit_code == 0
    assert [contents(tmp_path / name) for name in FILES] == whole
    assert metrics(tmp_path / "small.jsonl") == figures
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
