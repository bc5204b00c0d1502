"""`charrnn info` of many checkpoints: a line or an object for each, in spite of unreadable ones."""

import json
import os
import re
import time

import pytest

from charrnn import checkpoint


@pytest.fixture
def runs(charrnn, config, trained):
    """Return the paths of two checkpoints: with validations, and larger without."""
    model = {"cell": "lstm", "hidden": 12, "layers": 2}
    options = ["--set", "corpus.validation=0", "--set", "train.steps=1", "-q"]
    larger = charrnn("train", config(name="without_validation", model=model), *options)
    paths = [trained, larger.stdout.strip()]
    saved = checkpoint.load(paths[1])
    saved.training_state["step"] = 1200
    checkpoint.save(saved, paths[1])
    for path in paths:
        os.utime(path, (1e9, 1e9))
    return paths


def test_info_prints_an_aligned_line_for_each_checkpoint(charrnn, runs):
    """A line has path, cell, size, steps, best validation with its step, and time of the file."""
    saved = checkpoint.load(runs[0])
    best = f"{min(saved.history[:, 3]):.4f} nats at step {saved.training_state['best_step']}"
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(1e9))
    result = charrnn("info", *runs)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        [runs[0], "rnn", "1 x 8", "20 steps", best, day],
        [runs[1], "lstm", "2 x 12", "1,200 steps", "no validation", day],
    ]
    ends = [[match.end() for match in re.finditer(r"\S+( \S+)*", line)] for line in lines]
    assert ends[0][2:] == ends[1][2:]  # the columns after path and cell end alike
    assert len(charrnn("info", runs[0]).stdout.splitlines()) > 20


def test_info_prints_an_object_a_line(charrnn, runs):
    """--json prints for each checkpoint the object that it prints for one."""
    rows = charrnn("info", *runs, "--json").stdout.splitlines()
    assert rows == [charrnn("info", path, "--json").stdout.strip() for path in runs]
    modified = json.loads(rows[1])["modified"]
    assert time.mktime(time.strptime(modified[:19], "%Y-%m-%dT%H:%M:%S")) == 1e9


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_unreadable_checkpoint_does_not_hide_the_others(charrnn, runs, tmp_path, options):
    """Each unreadable one is a message on stderr, the others are printed, the exit code is 1."""
    gone, text = tmp_path / "gone.npz", tmp_path / "corpus.txt"
    result = charrnn("info", gone, runs[0], text, runs[1], *options)
    assert result.exit_code == 1
    assert result.stdout == charrnn("info", *runs, *options).stdout
    errors = result.stderr.splitlines()
    assert errors[0] == f"Error: {gone}: no such checkpoint"
    assert errors[1].startswith(f"Error: {text} is not a checkpoint")
    assert len(errors) == 2
    result = charrnn("info", gone, text, *options)
    assert (result.exit_code, result.stdout) == (1, "")


def test_the_environment_names_many_checkpoints(charrnn, runs, monkeypatch):
    """CHARRNN_CHECKPOINT is a list like PATH, as for `plot`."""
    monkeypatch.setenv("CHARRNN_CHECKPOINT", os.pathsep.join(runs))
    assert charrnn("info").stdout == charrnn("info", *runs).stdout


def test_one_of_many_checkpoints_may_be_stdin(charrnn, runs):
    """Standard input has no time of a file, and can be read only once."""
    with open(runs[1], "rb") as stream:
        lines = charrnn("info", runs[0], "-", stdin=stream).stdout.splitlines()
    assert lines[1].startswith("-  ")
    assert lines[1].endswith("  no validation")
    result = charrnn("info", "-", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "only one checkpoint can come from standard input" in result.stderr
