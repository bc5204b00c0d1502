"""Every script runs with its smallest workload; it is skipped when a requirement is missing."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
# Imported, compiled or started by other scripts.
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
    """Run a script in another folder and return its stdout, with stderr when it fails."""
    command = [*launcher, sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr if exit_code else result.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_prints_its_rows(tmp_path, name):
    """A benchmark prints a table with at least one row, and the machine."""
    printed = run(tmp_path, "bench.py", name, "--smallest")
    assert "Measured on " in printed
    assert printed.count("\n| ") >= 2


def test_the_benchmark_of_a_large_text_runs(tmp_path):
    """The benchmark of a large text runs with 200 kB."""
    printed = run(tmp_path, "bench.py", "--corpus-size", 2e5, "--smallest")
    assert "MB of lines: read from the cache" in printed


def test_the_benchmark_against_another_checkout_runs(tmp_path):
    """A checkout can be compared with itself; a checkout without .venv is an error."""
    checkout = tmp_path / "other"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "scripts").symlink_to(SCRIPTS)
    (checkout / "data").symlink_to(ROOT / "data")
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    printed = run(tmp_path, "bench.py", "--vs", checkout, "--smallest")
    assert "| charrnn --help, whole process |" in printed
    assert "has no .venv" in run(tmp_path, "bench.py", "--vs", ".", exit_code=1)


def test_every_benchmark_is_tested():
    """BENCHMARKS in this module lists all benchmarks, in the order of bench.py."""
    import bench

    assert [benchmark.__name__ for benchmark in bench.BENCHMARKS] == [
        f"bench_{name}" for name in BENCHMARKS
    ]


@needs("mpi4py", program="mpiexec")
def test_the_benchmark_of_several_processes_runs(tmp_path):
    """The benchmark of several processes runs with two."""
    launcher = [program_path("mpiexec"), "-n", "2"]
    printed = run(tmp_path, "bench_mpi.py", "--smallest", launcher=launcher)
    assert "| rnn 1 x 128, T 50, B 50 | 33,217 |" in printed


@needs("mpi4py", program="mpiexec")
def test_two_hosts_give_the_weights_of_one(tmp_path):
    """Ranks on two hosts train the weights of one; needs network namespaces, sshd and root."""
    printed = run(tmp_path, "two_hosts.py")
    if printed.startswith("skipped: "):
        pytest.skip(printed)
    assert "weights differ by at most" in printed


def test_scaling_prints_an_exponent_for_each_size(tmp_path):
    """The scaling script prints a row per size, and writes a plot when matplotlib is installed."""
    plot_options = (
        ["-o", tmp_path / "scaling.png"] if importlib.util.find_spec("matplotlib") else []
    )
    printed = run(tmp_path, "bench_scaling.py", "--smallest", *plot_options)
    assert printed.count("\n| ") == 6
    assert all(path.stat().st_size for path in plot_options[1:])


def test_weight_initializations_are_compared(tmp_path):
    """The comparison of initializations prints one row per cell."""
    printed = run(tmp_path, "compare_init.py", ROOT / "data" / "dinos.txt", "--steps", 1)
    assert [line.split()[1] for line in printed.splitlines()[2:]] == ["rnn", "gru", "lstm"]


@needs("torch")
def test_the_reference_can_be_reproduced(tmp_path):
    """make_reference.py writes the arrays with which the tests compare."""
    run(tmp_path, "make_reference.py", "-o", tmp_path / "reference.npz")
    with (
        np.load(tmp_path / "reference.npz") as written,
        np.load(REFERENCE_PATH) as expected,
    ):
        assert set(written) == set(expected)
        for name in written:
            np.testing.assert_allclose(written[name], expected[name], rtol=1e-5, atol=1e-6)


def test_names_are_split(tmp_path):
    """Names are split into a training file and 1,000 test names; a missing list is an error."""
    names = tmp_path / "names.txt"
    names.write_text("".join(f"n{i}\n" for i in range(1200)), encoding="utf-8")
    run(tmp_path, "makemore_split.py", names)
    parts = [names.with_suffix(f".{part}.txt").read_text().split() for part in ("train", "test")]
    assert [len(part) for part in parts] == [200, 1000]
    assert sorted(parts[0] + parts[1]) == sorted(names.read_text().split())
    assert "none.txt: no such file" in run(tmp_path, "makemore_split.py", "none.txt", exit_code=1)


@needs("matplotlib", "PIL", "playwright", program="chromium")
def test_pictures_are_drawn(tmp_path):
    """pictures.py writes its two pictures to a folder."""
    folder = tmp_path / "pictures"
    run(tmp_path, "pictures.py", folder, "--epochs", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["loss.png", "page.png"]


def test_the_textbook_loop_trains_and_samples(tmp_path):
    """The textbook loop gets below the loss of a uniform guess, ln 27 = 3.3, and samples."""
    text = ROOT / "data" / "dinos.txt"
    printed = run(tmp_path, "min_char_rnn.py", text, "--steps", 300, "--hidden", 20)
    loss_line, sample = printed.split("\n", 1)
    assert loss_line.startswith("--- 300 updates, ")
    assert float(loss_line.split()[3]) < 3.3
    assert len(sample) == 201
    assert set(sample) <= set(text.read_text(encoding="utf-8").lower())


def test_the_table_of_settings_is_printed(tmp_path):
    """settings_table.py prints a row for a setting and its default."""
    assert "| `model.cell` | `rnn` |" in run(tmp_path, "settings_table.py")


def test_every_script_is_tested():
    """Each script is in a test, or another script uses it."""
    this_module = Path(__file__).read_text(encoding="utf-8")
    for script in [*SCRIPTS.glob("*.py"), *SCRIPTS.glob("*.c")]:
        assert script.name in HELPER_FILES or f'"{script.name}"' in this_module, script
