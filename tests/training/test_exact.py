"""The same seed gives the same bytes, in processes of their own; another seed gives others."""

import os
import subprocess
import sys

import pytest
from run_helpers import contents

from charrnn.parallel.blas import VARIABLES

CELLS = ("rnn", "gru", "lstm")
CHARRNN = [sys.executable, "-m", "charrnn"]
# What a user's shell would hand over: nothing about threads, which charrnn then decides itself.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in (*VARIABLES, "PYTHONHASHSEED")
}


def at_once(*commands):
    """The standard output of each of these commands, which run side by side."""
    running = [
        subprocess.Popen(
            [*CHARRNN, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        for words in commands
    ]
    printed = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * len(running), printed
    return [out for out, _ in printed]


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_seed_gives_the_same_bytes(charrnn, config, tmp_path, cell):
    """Of every parameter and number of a training, and of a text; another seed gives others."""
    path = config(
        model={"cell": cell, "hidden": 16, "layers": 2, "dropout": 0.2},
        train={"batch_size": 3, "seed": 7},
    )
    one, again, other = outs = [tmp_path / f"{name}.npz" for name in ("one", "again", "other")]
    at_once(["train", path, "--out", one, "-q"], ["train", path, "--out", again, "-q"])
    assert charrnn("train", path, "--out", other, "--seed", 8, "-q").exit_code == 0
    first, second, third = map(contents, outs)
    for found in (first, second):
        found["config"]["output"].pop("checkpoint")
    assert first == second
    for name, array in first.items():
        if isinstance(array, bytes) and name != "state":  # which is 0 where lines begin
            assert third[name] != array, name

    sample = ["sample", "--n", 300, "-q", "--raw", "--seed"]
    same, repeated = at_once([*sample, 1, one], [*sample, 1, again])
    assert len(same) == 300
    assert same == repeated
    assert same.decode() != charrnn(*sample, 2, one).stdout
