"""Runs killed at random moments: every file stays complete, and a resumed run loses nothing."""

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
FILES = ("small.npz",)
NEW_INTERPRETERS = 3  # first runs; the later ones are forks, which start faster


def partial_files(folder):
    """Return the names of the unfinished files in a folder."""
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def kill_after_lines(process, rng, folder):
    """Kill a process up to 5 ms after it printed a random number of lines."""
    for _ in range(rng.randint(1, 8)):
        process.stderr.readline()
    time.sleep(rng.random() * 0.005)
    os.kill(process.pid, signal.SIGKILL)


def kill_while_writing(process, rng, folder):
    """Kill a process when a partial file is in the folder, or after many looks without one."""
    read_until(process, ("initial loss", "resuming"))
    for _ in range(rng.randint(0, 3)):
        process.stderr.readline()
    for _ in range(10**5):
        if partial_files(folder):
            break
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(("workers", "kills"), [(1, 40), (2, 12)])
def test_a_run_killed_again_and_again_equals_one_that_was_not(
    config, charrnn, tmp_path, monkeypatch, workers, kills
):
    """A run that is killed and resumed many times ends with the bytes of an uninterrupted run.

    Every checkpoint in between can be loaded. With two workers, the lock ends when the first one
    dies, so that the next run can start immediately.
    """
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # in this process, to save time
    train = {**SETTINGS["train"], "workers": workers}
    settings, path = config(**{**SETTINGS, "train": train}), tmp_path / "small.npz"
    assert charrnn("train", settings, "-q").exit_code == 0
    expected = [contents(tmp_path / name) for name in FILES]
    expected_metrics = metrics(tmp_path / "small.jsonl")
    for name in (*FILES, "small.jsonl"):
        (tmp_path / name).unlink()

    rng, interrupted_writes = random.Random(1), 0
    with ForkServer() as fork_server:
        for number in range(kills):
            arguments = ["train", settings, *(["--resume"] if path.exists() else [])]
            kill = kill_while_writing if number % 2 else kill_after_lines
            with (start if number < NEW_INTERPRETERS else fork_server.start)(*arguments) as process:
                kill(process, rng, tmp_path)
            assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
            interrupted_writes += bool(partial_files(tmp_path))
            assert len(partial_files(tmp_path)) <= 1, "a run must remove earlier partial files"
            for name in FILES:
                if (tmp_path / name).exists():
                    checkpoint.load(str(tmp_path / name))
    assert interrupted_writes, "no run was killed while it wrote a file"
    assert 0 < checkpoint.load(str(path)).step < SETTINGS["train"]["steps"]

    assert charrnn("train", settings, "--resume", "-q").exit_code == 0
    assert [contents(tmp_path / name) for name in FILES] == expected
    assert metrics(tmp_path / "small.jsonl") == expected_metrics
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
