"""Ranks that mpiexec starts: they give the run of one process, and end together."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import networks
import pytest
import rank_functions
from processes import MAIN_CODE, Process, read_until
from run_helpers import assert_checkpoints_close, metrics

from charrnn import checkpoint
from charrnn.errors import CharrnnError
from charrnn.parallel import blas, mpi
from charrnn.parallel.group import PeerFailed
from charrnn.parallel.mpi import launch

VARIABLES = {name for pair in mpi.LAUNCHERS for name in pair}
VARIABLES |= {*mpi.LOCAL_RANKS}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    """Remove a launcher's variables, because a launcher may have started the tests."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4, 3)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}, (3, 4, 1)),
        (
            {
                "OMPI_COMM_WORLD_RANK": "2",
                "OMPI_COMM_WORLD_SIZE": "3",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "PMIX_RANK": "2",
            },
            (2, 3, 0),
        ),
        ({"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}, (1, 2, 0)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (0, 1, 0)),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, (0, 1, 0)),
        ({"PMI_RANK": "0", "PMI_SIZE": "two"}, (0, 1, 0)),
    ],
)
def test_rank_and_size_are_read_from_the_environment(monkeypatch, environment, expected):
    """MPICH, Open MPI and srun with PMIx set them; a batch script of Slurm is one process."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert launch() == expected


def test_without_a_launcher_nothing_of_mpi_is_imported(monkeypatch, charrnn, config):
    """A run of one process works on a machine without MPI."""

    def refuse(name):
        raise AssertionError(name)

    monkeypatch.setattr(mpi.importlib, "import_module", refuse)
    assert charrnn("train", config(), "-q").exit_code == 0


@pytest.mark.parametrize(
    ("rank", "message"), [("0", "mpi4py, which connects them, cannot be imported"), ("1", None)]
)
def test_one_process_reports_that_mpi4py_is_missing(monkeypatch, rank, message):
    """The first process of each machine raises the error; the others exit without a message."""
    for variable, value in {"PMI_SIZE": "2", "PMI_RANK": rank, "MPI_LOCALRANKID": rank}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(CharrnnError if message else PeerFailed, match=message) as raised:
        mpi.world_group()
    assert message is None or "pip install 'charrnn-numpy[mpi]'" in raised.value.hint


def test_an_mpiexec_of_another_mpi_is_refused(monkeypatch):
    """The communicator of each process then has size 1, not the launcher's size."""
    monkeypatch.setenv("PMI_SIZE", "2")
    single = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
    monkeypatch.setattr(mpi.importlib, "import_module", lambda name: single)
    with pytest.raises(CharrnnError, match="mpi4py sees 1"):
        mpi.world_group()


def test_pickled_parameters_are_still_views_of_one_vector():
    """Rank 0 sends the parameters of a checkpoint to the other ranks as a pickle."""
    _, params = networks.network()
    received = pickle.loads(pickle.dumps(params))
    assert received.flat.tobytes() == params.flat.tobytes()
    received.flat[:] = 3
    assert (received["by"] == 3).all()


# The tests below start real processes with mpiexec.

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def has_mpich():
    """Return whether mpi4py and MPICH are installed; its mpiexec passes on signals and codes."""
    if MPIEXEC is None or importlib.util.find_spec("mpi4py") is None:
        return False
    version = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True)
    return "HYDRA" in version.stdout


needs_mpi = pytest.mark.skipif(
    not has_mpich(), reason="there is no mpi4py with MPICH's mpiexec: pip install mpi4py mpich"
)
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in (*VARIABLES, *blas.VARIABLES)
}


def start(size, *arguments, code=""):
    """Start a command line in `size` processes, each of which executes `code` before."""
    command = [MPIEXEC, "-n", str(size), sys.executable, "-c", f"{code}\n{MAIN_CODE}"]
    return Process(
        [*command, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT | {"CHARRNN_CACHE": os.environ["CHARRNN_CACHE"]},
    )


def run(size, *arguments, code=""):
    """Run a command line in `size` processes; return its exit code, stdout and stderr."""
    with start(size, *arguments, code=code) as process:
        stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout.decode(), stderr.decode()


# Code that runs several command lines. The initial weights of rank 1 differ from those of rank 0,
# as a different processor may round them.
RUNS_CODE = """
import json, os, sys, charrnn.cli.app, charrnn.training.trainer
initialize = charrnn.training.trainer.initialize
def initialize_differently(*arguments):
    params = initialize(*arguments)
    params.flat[:] *= 1 + 1e-6 * (os.environ.get("PMI_RANK") == "1")
    return params
charrnn.training.trainer.initialize = initialize_differently
for arguments in json.loads(sys.argv[1]):
    charrnn.cli.app.main(arguments, standalone_mode=False)
sys.exit()
"""
SHORT = ["--set", "train.steps=10"]


@needs_mpi
def test_real_ranks_give_the_same_run(charrnn, config, tmp_path):
    """Two ranks give the results of one process; one rank or three can resume their run.

    The run is that of a stream and of padded lines, with an odd batch size.
    """
    common = {"model": {"hidden": 8, "dtype": "float64", "dropout": 0.3}}
    windows = {"batch_size": 5, "seq_length": 7, "steps": 20, "seed": 7}
    path = config("tick tock, tack; " * 40, "stream", name="stream", train=windows, **common)
    text = (tmp_path / "corpus.txt").rename(tmp_path / "stream.txt")
    path.write_text(path.read_text().replace("corpus.txt", text.name))
    settings = {
        "stream": path,
        "lines": config(
            name="lines", train=windows | {"batch_size": 3, "seq_length": 50}, **common
        ),
    }
    from_two, from_one = tmp_path / "from_two.npz", tmp_path / "from_one.npz"
    short_run = ["train", str(path), "--out", str(from_two), "-q", *SHORT]
    runs = [*(["train", str(settings[name])] for name in settings), short_run]
    code, stdout, stderr = run(2, json.dumps(runs), code=RUNS_CODE)
    assert code == 0, stderr
    paths = [tmp_path / "stream.npz", tmp_path / "lines.npz", from_two]
    assert stdout.splitlines() == [*map(str, paths)]
    assert [stderr.count(text) for text in ("initial loss", "step 10/20", "step 20/20")] == [2] * 3
    assert stderr.count("repeated lines") == 1
    files = {path.with_suffix(suffix).name for path in paths for suffix in (".npz", ".jsonl")}
    files |= {"corpus.txt", "stream.txt", "lines.yaml", "stream.yaml"}
    assert set(os.listdir(tmp_path)) == files

    for name in settings:
        assert charrnn("train", settings[name], "--out", tmp_path / f"{name}-1.npz").exit_code == 0
        assert_checkpoints_close(tmp_path / f"{name}.npz", tmp_path / f"{name}-1.npz")
        rows = [metrics(tmp_path / f"{stem}.jsonl") for stem in (name, f"{name}-1")]
        for row, expected in zip(*rows, strict=True):
            assert row == pytest.approx(expected, abs=1e-10)

    assert charrnn("train", path, "--out", from_two, "--resume").exit_code == 0
    assert charrnn("train", path, "--out", from_one, *SHORT).exit_code == 0
    code, _, stderr = run(3, "train", path, "--out", from_one, "--resume")
    assert code == 0, stderr
    assert stderr.count("resuming at step 10 of 20") == 1
    for resumed in (from_one, from_two):
        assert_checkpoints_close(resumed, tmp_path / "stream-1.npz")


ENDLESS = {"train": {"steps": 10**9, "batch_size": 2, "seed": 7}}
# Code that prints the process id of rank 1, to which the test sends a signal.
PRINT_PID_CODE = """
import os, sys
if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == "1":
    print("rank 1 is", os.getpid(), file=sys.stderr, flush=True)
"""


@needs_mpi
@pytest.mark.parametrize("receiver", ["mpiexec", "rank 1"])
def test_a_signal_to_any_process_saves_and_ends_all(config, tmp_path, receiver):
    """The run prints one message and exits with code 130; its checkpoint is complete."""
    settings = config(output={"validate_every": 10**8}, **ENDLESS)
    with start(2, "train", settings, code=PRINT_PID_CODE) as process:
        lines = [process.stderr.readline().decode() for _ in range(2)]
        (pid_line,) = [line for line in lines if line.startswith("rank 1 is")]
        if not any(line.startswith("initial loss") for line in lines):
            read_until(process, "initial loss")
        if receiver == "mpiexec":
            process.send_signal(signal.SIGINT)
        else:
            os.kill(int(pid_line.split()[-1]), signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=60)
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.npz", "small.yaml"]
    assert b"small.npz" not in stdout  # mpiexec may print there
    assert stderr.decode().count("stopped at step") == 1
    assert b"Traceback" not in stderr
    assert process.returncode == 130


@needs_mpi
def test_an_error_of_one_rank_ends_all(config, tmp_path):
    """Its message is printed once, and its exit code is that of the run.

    The last checkpoint is complete.
    """
    settings = config(train=ENDLESS["train"] | {"seed": None})
    code, stdout, stderr = run(2, "train", settings, code=rank_functions.FAILING_CODE)
    assert (code, stdout) == (3, ""), stderr
    assert stderr.count("seed ") == 1
    assert stderr.count("Error: rank 1 of 2, on ") == stderr.count("enough") == 1
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


@needs_mpi
@pytest.mark.parametrize(
    ("options", "code", "expected", "message"),
    [
        ((), "", 2, "2 processes share the rows of a batch, and batch_size is 1. "
                    "Try --set train.batch_size=2"),
        (("--corpus", "none.txt"), "", 2, ""),
        (("--nonsense",), "", 2, "No such option"),
        (("--workers", "2"), "", 2, "are the workers: leave --workers out"),
        ((), "import sys; sys.modules['mpi4py'] = None", 1, "charrnn-numpy[mpi]"),
    ],
)  # fmt: skip
def test_an_error_of_all_ranks_is_printed_once(config, tmp_path, options, code, expected, message):
    """Only one rank prints the error of an invalid option, a missing text or a missing mpi4py."""
    if options[:1] == ("--corpus",):
        options = (*options, "--set", "train.batch_size=2")
        expected, message = 1, "no such text file"
    exit_code, stdout, stderr = run(2, "train", config(), *options, code=code)
    assert (exit_code, stdout) == (expected, ""), stderr
    assert stderr.count("Error: ") == stderr.count(message) == 1
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
