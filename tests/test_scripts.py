"""Every script runs, with its smallest work; what a script needs and this machine lacks is said."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
KEPT = ROOT / "tests" / "nn" / "reference.npz"
BENCHES = [
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
# Run by the others.
MODULES = {
    "min_char_rnn.c",
    "min_char_rnn_jax.py",
    "pytorch_rnn.py",
    "benchmark_process.py",
    "large_text.py",
}


def which(program):
    """Where it is: beside this Python, or on the path."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def needs(*modules, program=None):
    """Skips a test where a module or a program is not there."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    missing += [program] if program and which(program) is None else []
    return pytest.mark.skipif(bool(missing), reason=f"there is no {' and no '.join(missing)}")


def run(tmp_path, script, *words, launcher=(), code=0):
    """Runs a script from another folder; what it prints."""
    command = [*launcher, sys.executable, str(SCRIPTS / script), *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr if code else done.stdout


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_prints_its_rows(tmp_path, name):
    """A table with at least one, and the machine it was measured on."""
    printed = run(tmp_path, "bench.py", name, "--smallest")
    assert "Measured on " in printed
    assert printed.count("\n| ") >= 2


def test_the_benchmark_of_a_large_text_runs(tmp_path):
    """With a small one."""
    printed = run(tmp_path, "bench.py", "--corpus-size", 2e5, "--smallest")
    assert "MB of lines: read from the cache" in printed


def test_another_checkout_is_compared_with(tmp_path):
    """Here with itself; one without an environment of its own is told how to get it."""
    other = tmp_path / "other"
    (other / ".venv" / "bin").mkdir(parents=True)
    (other / "scripts").symlink_to(SCRIPTS)
    (other / "data").symlink_to(ROOT / "data")
    python = other / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    printed = run(tmp_path, "bench.py", "--vs", other, "--smallest")
    assert "| charrnn --help, whole process |" in printed
    assert "has no .venv" in run(tmp_path, "bench.py", "--vs", ".", code=1)


def test_every_benchmark_is_run_here():
    """A new one must be added to the list."""
    import bench

    assert [benchmark.__name__ for benchmark in bench.BENCHMARKS] == [f"bench_{b}" for b in BENCHES]


@needs("mpi4py", program="mpiexec")
def test_the_benchmark_of_several_processes_runs(tmp_path):
    """Two of them."""
    launcher = [which("mpiexec"), "-n", "2"]
    printed = run(tmp_path, "bench_mpi.py", "--smallest", launcher=launcher)
    assert "| rnn 1 x 128, T 50, B 50 | 33,217 |" in printed


@needs("mpi4py", program="mpiexec")
def test_two_hosts_give_the_run_of_one(tmp_path):
    """Where network namespaces and an sshd can be had; else the reason is told."""
    printed = run(tmp_path, "two_hosts.py")
    if printed.startswith("skipped: "):
        pytest.skip(printed)
    assert "weights differ by at most" in printed


def test_scaling_prints_an_exponent_for_each_size(tmp_path):
    """And draws them where matplotlib is there."""
    drawn = ["-o", tmp_path / "scaling.png"] if importlib.util.find_spec("matplotlib") else []
    printed = run(tmp_path, "bench_scaling.py", "--smallest", *drawn)
    assert printed.count("\n| ") == 6
    assert all(path.stat().st_size for path in drawn[1:])


def test_ways_to_begin_are_compared(tmp_path):
    """One row a cell."""
    printed = run(tmp_path, "compare_init.py", ROOT / "data" / "dinos.txt", "--steps", 1)
    assert [line.split()[1] for line in printed.splitlines()[2:]] == ["rnn", "gru", "lstm"]


@needs("torch")
def test_the_reference_can_be_made_again(tmp_path):
    """The same arrays as those that the tests compare with."""
    run(tmp_path, "make_reference.py", "-o", tmp_path / "reference.npz")
    with (
        np.load(tmp_path / "reference.npz") as made,
        np.load(ROOT / "tests/nn/reference.npz") as kept,
    ):
        assert set(made) == set(kept)
        for name in made:
            np.testing.assert_allclose(made[name], kept[name], rtol=1e-5, atol=1e-6)


def test_names_are_split(tmp_path):
    """The last thousand of them go to the test; a list that is not there is said."""
    names = tmp_path / "names.txt"
    names.write_text("".join(f"n{k}\n" for k in range(1200)), encoding="utf-8")
    run(tmp_path, "makemore_split.py", names)
    parts = [names.with_suffix(f".{part}.txt").read_text().split() for part in ("train", "test")]
    assert [len(part) for part in parts] == [200, 1000]
    assert sorted(parts[0] + parts[1]) == sorted(names.read_text().split())
    assert "none.txt: no such file" in run(tmp_path, "makemore_split.py", "none.txt", code=1)


@needs("matplotlib", "PIL", "playwright", program="chromium")
def test_pictures_are_drawn(tmp_path):
    """Both of them, in the folder that is named."""
    run(tmp_path, "pictures.py", tmp_path / "drawn", "--epochs", 1)
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["loss.png", "page.png"]


def test_the_textbook_loop_trains_and_samples(tmp_path):
    """Less than guessing among 27 characters (3.3 nats), and a sample of those characters."""
    text = ROOT / "data" / "dinos.txt"
    printed = run(tmp_path, "min_char_rnn.py", text, "--steps", 300, "--hidden", 20).split("\n", 1)
    assert printed[0].startswith("--- 300 updates, ")
    assert float(printed[0].split()[3]) < 3.3
    assert len(printed[1]) == 201
    assert set(printed[1]) <= set(text.read_text(encoding="utf-8").lower())


def test_the_table_of_settings_is_printed(tmp_path):
    """One row a setting."""
    assert "| `model.cell` | `rnn` |" in run(tmp_path, "settings_table.py")


def test_every_script_is_run_here():
    """By its name, or as a module of one that is."""
    here = Path(__file__).read_text(encoding="utf-8")
    for script in [*SCRIPTS.glob("*.py"), *SCRIPTS.glob("*.c")]:
        assert script.name in MODULES or f'"{script.name}"' in here, script
