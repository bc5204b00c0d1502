"""Every script runs with its smallest workload; it is skipped when a requirement is missing."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run_helpers import PROSE

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
REFERENCE_PATH = ROOT / "tests" / "nn" / "reference.npz"
BENCHMARKS = [
    "textbook",
    "jax",
    "loss",
    "pytorch",
    "workers",
    "blas_threads",
    "matmul",
    "lines",
    "sampling",
    "eval",
    "start",
]
# Files that other scripts import, compile or start.
HELPER_FILES = {
    "min_char_rnn.c",
    "min_char_rnn_jax.py",
    "pytorch_rnn.py",
    "benchmark_process.py",
    "large_text.py",
}


def program_path(program):
    """Return the path of a program next to this Python or on PATH, or None."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def needs(*modules, program=None):
    """Skip a test when one of the modules or the program is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    missing += [program] if program and program_path(program) is None else []
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not found")


def run(tmp_path, script, *arguments, launcher=(), exit_code=0):
    """Run a script in `tmp_path` and return its stdout, with stderr for an `exit_code` above 0."""
    command = [*launcher, sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # tests run side by side
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr if exit_code else result.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_prints_its_rows(tmp_path, name):
    """A benchmark prints a table with at least one row, and the machine."""
    stdout = run(tmp_path, "bench.py", name, "--smallest")
    assert "Measured on " in stdout
    assert stdout.count("\n| ") >= 2


def test_the_benchmark_of_a_large_text_runs(tmp_path):
    """The benchmark of a large text measures reading lines from the cache, here with 200 kB."""
    stdout = run(tmp_path, "bench.py", "--corpus-size", 2e5, "--smallest")
    assert "MB of lines: read from the cache" in stdout


def test_the_benchmark_against_another_checkout_runs(tmp_path):
    """A checkout is compared with itself; a checkout without .venv is an error."""
    checkout = tmp_path / "other"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "scripts").symlink_to(SCRIPTS)
    (checkout / "data").symlink_to(ROOT / "data")
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    stdout = run(tmp_path, "bench.py", "--vs", checkout, "--smallest")
    assert "| charrnn --help, whole process |" in stdout
    assert "has no .venv" in run(tmp_path, "bench.py", "--vs", ".", exit_code=1)


def test_every_benchmark_is_tested():
    """The tests cover all benchmarks, in the order of scripts/bench.py."""
    import bench

    assert [benchmark.__name__ for benchmark in bench.BENCHMARKS] == [
        f"bench_{name}" for name in BENCHMARKS
    ]


@needs("mpi4py", program="mpiexec")
def test_the_benchmark_of_several_processes_runs(tmp_path):
    """The MPI benchmark prints the row of its first network with two processes."""
    launcher = [program_path("mpiexec"), "-n", "2"]
    stdout = run(tmp_path, "bench_mpi.py", "--smallest", launcher=launcher)
    assert "| rnn 1 x 128, T 50, B 50 | 33,217 |" in stdout


@needs("mpi4py", program="mpiexec")
def test_two_hosts_give_the_weights_of_one(tmp_path):
    """Training on two hosts gives the weights of one process; needs namespaces, sshd and root."""
    stdout = run(tmp_path, "two_hosts.py")
    if stdout.startswith("skipped: "):
        pytest.skip(stdout)
    assert "weights differ by at most" in stdout


def test_scaling_prints_an_exponent_for_each_size(tmp_path):
    """Each size has a row with its exponent, and a plot is written if matplotlib is installed."""
    plot_options = (
        ["-o", tmp_path / "scaling.png"] if importlib.util.find_spec("matplotlib") else []
    )
    stdout = run(tmp_path, "bench_scaling.py", "--smallest", *plot_options)
    assert stdout.count("\n| ") == 6
    assert all(path.stat().st_size for path in plot_options[1:])


def test_weight_initializations_are_compared(tmp_path):
    """The table of weight initializations has one row per cell."""
    stdout = run(tmp_path, "compare_init.py", ROOT / "data" / "dinos.txt", "--steps", 1)
    assert [line.split()[1] for line in stdout.splitlines()[2:]] == ["rnn", "gru", "lstm"]


def test_default_learning_rates_are_tried(tmp_path):
    """The table of learning rates has a row for each cell, with a finite loss."""
    options = ("--steps", 2, "--hidden", 4, "--optimizers", "sgd")
    stdout = run(tmp_path, "learning_rates.py", ROOT / "data" / "dinos.txt", *options)
    rows = [line.split() for line in stdout.splitlines()[2:]]
    assert [row[3] for row in rows] == ["rnn", "gru", "lstm"]
    assert [2 < float(row[7]) < 4 for row in rows] == [True] * 3


def test_first_words_are_compared(tmp_path, config, charrnn):
    """The table of first words has a row for each model of running text."""
    path = charrnn("train", config(PROSE, "stream"), "-q").stdout.strip()
    (row,) = run(tmp_path, "first_words.py", path, "--count", 20).splitlines()[2:]
    held_out, sampled, ratio, zero = (float(cell) for cell in row.split("|")[2:6])
    assert ratio == pytest.approx(sampled / held_out, abs=0.01)
    assert zero > 0


@needs("torch")
def test_the_reference_can_be_reproduced(tmp_path):
    """make_reference.py writes the arrays of tests/nn/reference.npz."""
    run(tmp_path, "make_reference.py", "-o", tmp_path / "reference.npz")
    with (
        np.load(tmp_path / "reference.npz") as arrays,
        np.load(REFERENCE_PATH) as expected,
    ):
        assert set(arrays) == set(expected)
        for name in arrays:
            np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-5, atol=1e-6)


def test_names_are_split(tmp_path):
    """The test file has 1,000 names, the training file the others; a missing list is an error."""
    path = tmp_path / "names.txt"
    path.write_text("".join(f"n{i}\n" for i in range(1200)), encoding="utf-8")
    run(tmp_path, "makemore_split.py", path)
    parts = [path.with_suffix(f".{part}.txt").read_text().split() for part in ("train", "test")]
    assert [len(part) for part in parts] == [200, 1000]
    assert sorted(parts[0] + parts[1]) == sorted(path.read_text().split())
    assert "none.txt: no such file" in run(tmp_path, "makemore_split.py", "none.txt", exit_code=1)


@needs("matplotlib", "PIL", "playwright", program="chromium")
def test_pictures_are_drawn(tmp_path):
    """pictures.py writes both pictures to the folder on its command line."""
    folder = tmp_path / "pictures"
    run(tmp_path, "pictures.py", folder, "--epochs", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["loss.png", "page.png"]


@needs("playwright", program="chromium")
def test_the_page_is_measured(tmp_path):
    """bench_page.py prints a row for a network, with a speed."""
    (row,) = run(tmp_path, "bench_page.py", "--chars", 100, "--smallest").splitlines()[2:]
    assert row.startswith("| gru 1 x 128 | ")
    assert " chars/s | " in row


def test_the_textbook_loop_trains_and_samples(tmp_path):
    """The textbook loop beats guessing (ln 27 = 3.3 nats), and samples only known characters."""
    text = ROOT / "data" / "dinos.txt"
    stdout = run(tmp_path, "min_char_rnn.py", text, "--steps", 300, "--hidden", 20)
    loss_line, sample = stdout.split("\n", 1)
    assert loss_line.startswith("--- 300 updates, ")
    assert float(loss_line.split()[3]) < 3.3
    assert len(sample) == 201
    assert set(sample) <= set(text.read_text(encoding="utf-8").lower())


def test_the_table_of_settings_is_printed(tmp_path):
    """settings_table.py prints a row for `model.cell`."""
    assert "| `model.cell` | `rnn` |" in run(tmp_path, "settings_table.py")


def test_every_script_is_tested():
    """Every script has a test here, or another script uses it."""
    this_module = Path(__file__).read_text(encoding="utf-8")
    for script in [*SCRIPTS.glob("*.py"), *SCRIPTS.glob("*.c")]:
        assert script.name in HELPER_FILES or f'"{script.name}"' in this_module, script
