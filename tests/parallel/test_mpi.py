"""Several processes train one model: as one would, with one set of files, to one end."""

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
    """These tests may themselves have been started by one."""
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
def test_the_launcher_tells_rank_and_size(monkeypatch, environment, expected):
    """Of MPICH, of Open MPI, of srun with PMIx; a batch script of Slurm is one process."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert launch() == expected


def test_without_a_launcher_nothing_of_mpi_is_imported(monkeypatch, charrnn, config):
    """A run on its own works where MPI would not."""

    def never(name):
        raise AssertionError(name)

    monkeypatch.setattr(mpi.importlib, "import_module", never)
    assert charrnn("train", config(), "-q").exit_code == 0


@pytest.mark.parametrize(
    ("place", "said"), [("0", "mpi4py, which connects them, cannot be imported"), ("1", None)]
)
def test_a_missing_mpi4py_is_told_by_one_process(monkeypatch, place, said):
    """On each machine; the others leave without a word."""
    for variable, value in {"PMI_SIZE": "2", "PMI_RANK": place, "MPI_LOCALRANKID": place}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(CharrnnError if said else PeerFailed, match=said) as caught:
        mpi.world_group()
    assert said is None or "pip install 'charrnn-numpy[mpi]'" in caught.value.hint


def test_the_mpi_of_another_mpiexec_is_told(monkeypatch):
    """Each process then believes to be alone."""
    monkeypatch.setenv("PMI_SIZE", "2")
    alone = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
    monkeypatch.setattr(mpi.importlib, "import_module", lambda name: alone)
    with pytest.raises(CharrnnError, match="mpi4py sees 1"):
        mpi.world_group()


def test_parameters_that_travel_are_still_views_of_one_vector():
    """A checkpoint's go from the first rank to the others."""
    _, params = networks.network()
    twin = pickle.loads(pickle.dumps(params))
    assert twin.flat.tobytes() == params.flat.tobytes()
    twin.flat[:] = 3
    assert (twin["by"] == 3).all()


# Real processes from here on.

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def has_mpich():
    """Whether there are mpi4py and the mpiexec of MPICH, which hands on signals and exit codes."""
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


def start(size, *words, code=""):
    """Let so many processes run a command line, each in an interpreter that has executed this."""
    return Process(
        [MPIEXEC, "-n", str(size), sys.executable, "-c", f"{code}\n{MAIN_CODE}", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT | {"CHARRNN_CACHE": os.environ["CHARRNN_CACHE"]},
    )


def together(size, *words, code=""):
    """The exit code of a command line that so many processes run, its stdout and its stderr."""
    with start(size, *words, code=code) as process:
        printed, said = process.communicate(timeout=60)
    return process.returncode, printed.decode(), said.decode()


# Rank 1 rounds its first weights otherwise, as a processor of another kind may.
RUNS = """
import json, os, sys, charrnn.cli.app, charrnn.training.trainer
initialize = charrnn.training.trainer.initialize
def otherwise(*given):
    params = initialize(*given)
    params.flat[:] *= 1 + 1e-6 * (os.environ.get("PMI_RANK") == "1")
    return params
charrnn.training.trainer.initialize = otherwise
for words in json.loads(sys.argv[1]):
    charrnn.cli.app.main(words, standalone_mode=False)
sys.exit()
"""
SHORTER = ["--set", "train.steps=10"]


@needs_mpi
def test_real_ranks_give_the_same_run(charrnn, config, tmp_path):
    """Of a stream and of padded lines, an odd batch; begun by two, it is ended by one or three."""
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
    two, one = tmp_path / "two.npz", tmp_path / "one.npz"
    begun = ["train", str(path), "--out", str(two), "-q", *SHORTER]
    runs = [*(["train", str(settings[name])] for name in settings), begun]
    code, printed, said = together(2, json.dumps(runs), code=RUNS)
    assert code == 0, said
    made = [tmp_path / "stream.npz", tmp_path / "lines.npz", two]
    assert printed.splitlines() == [*map(str, made)]
    assert [said.count(words) for words in ("initial loss", "step 10/20", "step 20/20")] == [2] * 3
    assert said.count("repeated lines") == 1
    left = {place.with_suffix(end).name for place in made for end in (".npz", ".jsonl")}
    left |= {"corpus.txt", "stream.txt", "lines.yaml", "stream.yaml"}
    assert set(os.listdir(tmp_path)) == left

    for name in settings:
        assert charrnn("train", settings[name], "--out", tmp_path / f"{name}-1.npz").exit_code == 0
        assert_checkpoints_close(tmp_path / f"{name}.npz", tmp_path / f"{name}-1.npz")
        figures = [metrics(tmp_path / f"{stem}.jsonl") for stem in (name, f"{name}-1")]
        for mine, expected in zip(*figures, strict=True):
            assert mine == pytest.approx(expected, abs=1e-10)

    assert charrnn("train", path, "--out", two, "--resume").exit_code == 0
    assert charrnn("train", path, "--out", one, *SHORTER).exit_code == 0
    code, _, said = together(3, "train", path, "--out", one, "--resume")
    assert code == 0, said
    assert said.count("going on at step 10 of 20") == 1
    for resumed in (one, two):
        assert_checkpoints_close(resumed, tmp_path / "stream-1.npz")


ENDLESS = {"train": {"steps": 10**9, "batch_size": 2, "seed": 7}}
# The rank that is to be signalled says where it is.
NAMED = """
import os, sys
if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == "1":
    print("rank 1 is", os.getpid(), file=sys.stderr, flush=True)
"""


@needs_mpi
@pytest.mark.parametrize("whom", ["mpiexec", "rank 1"])
def test_a_signal_to_any_of_them_saves_and_ends_all(config, tmp_path, whom):
    """Exit code 130, said once, and the checkpoint is whole."""
    settings = config(output={"validate_every": 10**8}, **ENDLESS)
    with start(2, "train", settings, code=NAMED) as process:
        lines = [process.stderr.readline().decode() for _ in range(2)]
        (named,) = [line for line in lines if line.startswith("rank 1 is")]
        if not any(line.startswith("initial loss") for line in lines):
            read_until(process, "initial loss")
        if whom == "mpiexec":
            process.send_signal(signal.SIGINT)
        else:
            os.kill(int(named.split()[-1]), signal.SIGTERM)
        printed, said = process.communicate(timeout=60)
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.npz", "small.yaml"]
    assert b"small.npz" not in printed  # where mpiexec may have a word to say
    assert said.decode().count("Error: stopped at step") == 1
    assert b"Traceback" not in said
    assert process.returncode == 130


@needs_mpi
def test_an_error_of_one_rank_ends_all(config, tmp_path):
    """With its message and its exit code; the last checkpoint is whole."""
    settings = config(train=ENDLESS["train"] | {"seed": None})
    code, printed, said = together(2, "train", settings, code=rank_functions.FAILING_CODE)
    assert (code, printed) == (3, ""), said
    assert said.count("seed ") == 1
    assert said.count("Error: rank 1 of 2, on ") == said.count("enough") == 1
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


@needs_mpi
@pytest.mark.parametrize(
    ("words", "code", "expected", "message"),
    [
        ((), "", 2, "2 processes share the rows of a batch, and batch_size is 1. "
                    "Try --set train.batch_size=2"),
        (("--corpus", "none.txt"), "", 2, ""),
        (("--nonsense",), "", 2, "No such option"),
        (("--workers", "2"), "", 2, "are the workers: leave --workers out"),
        ((), "import sys; sys.modules['mpi4py'] = None", 1, "charrnn-numpy[mpi]"),
    ],
)  # fmt: skip
def test_what_all_would_say_is_said_once(config, tmp_path, words, code, expected, message):
    """A command that asks for too much, a text that is not there, an MPI that is missing."""
    if words[:1] == ("--corpus",):
        words, expected, message = (*words, "--set", "train.batch_size=2"), 1, "no such text file"
    found, printed, said = together(2, "train", config(), *words, code=code)
    assert (found, printed) == (expected, ""), said
    assert said.count("Error: ") == said.count(message) == 1
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
