"""Equal seeds give equal bytes in separate processes; another seed gives other bytes."""

import os
import subprocess
import sys

import pytest
from run_helpers import contents

from charrnn.parallel.blas import VARIABLES

CELLS = ("rnn", "gru", "lstm")
CHARRNN = [sys.executable, "-m", "charrnn"]
# As in a user's shell, without variables for thread counts, so that charrnn sets them.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in (*VARIABLES, "PYTHONHASHSEED")
}


def run_in_parallel(*commands):
    """Run these commands at the same time, and return the standard output of each."""
    processes = [
        subprocess.Popen(
            [*CHARRNN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        for arguments in commands
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [stdout for stdout, _ in outputs]


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_seed_gives_the_same_bytes(charrnn, config, tmp_path, cell):
    """Equal seeds give equal checkpoints and samples; another seed changes every array."""
    path = config(
        model={"cell": cell, "hidden": 16, "layers": 2, "dropout": 0.2},
        train={"batch_size": 3, "seed": 7},
    )
    paths = [tmp_path / f"{name}.npz" for name in ("first", "repeated", "different")]
    run_in_parallel(*(["train", path, "--out", out, "-q"] for out in paths[:2]))
    assert charrnn("train", path, "--out", paths[2], "--seed", 8, "-q").exit_code == 0
    first, repeated, different = map(contents, paths)
    for checkpoint in (first, repeated):
        checkpoint["config"]["output"].pop("checkpoint")
    assert first == repeated
    for name, array in first.items():
        if isinstance(array, bytes) and name != "state":  # which is 0 at the start of lines
            assert different[name] != array, name

    sample = ["sample", "--n", 300, "-q", "--raw", "--seed"]
    text, repeated_text = run_in_parallel(*([*sample, 1, out] for out in paths[:2]))
    assert len(text) == 300
    assert text == repeated_text
    assert text.decode() != charrnn(*sample, 2, paths[0]).stdout
