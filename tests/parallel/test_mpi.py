"""Several processes train one model: as one would, with one set of files, to one end."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import pytest
from processes import RUN, Process, read_until
from trials import Silent, metrics

from charrnn import checkpoint
from charrnn.cli.progress import Progress
from charrnn.cli.terminal import logging_to_stderr
from charrnn.config import loader as configs
from charrnn.errors import CharrnnError, CheckpointError, ConfigError, DivergedError, Interrupted
from charrnn.parallel import blas, worker_count
from charrnn.parallel import mpi as ranks
from charrnn.parallel.mpi import Elsewhere, Ranks, Several, StopAsked, launch
from charrnn.parallel.team import Team
from charrnn.parallel.workers import Workers
from charrnn.training import loop
from charrnn.training import trainer as trainers
from charrnn.training.outputs import best_path
from charrnn.training.trainer import Trainer

VARIABLES = {name for pair in ranks.LAUNCHERS for name in pair}
VARIABLES |= {*ranks.LOCAL_SIZES, *ranks.LOCAL_RANKS}


class Room:
    """Where the threads of a test meet, as processes do in MPI."""

    def __init__(self, size):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=30)
        self.values = [None] * size

    def all(self, rank, value):
        self.values[rank] = value
        self.barrier.wait()
        values = list(self.values)
        self.barrier.wait()
        return values


class Communicator:
    """What `Several` uses of an MPI communicator."""

    def __init__(self, room, rank):
        self.room, self.rank, self.size = room, rank, room.size
        self.reductions = 0

    def Allreduce(self, in_place, vector):
        assert in_place is None
        self.reductions += 1
        vector[:] = sum(self.room.all(self.rank, vector.copy()))

    def Ibarrier(self):
        return SimpleNamespace(Test=lambda: self.allgather(None) is not None)

    def Bcast(self, vector, root):
        vector[:] = self.room.all(self.rank, vector)[root]

    def bcast(self, value, root):
        return self.room.all(self.rank, value)[root]

    def gather(self, value, root):
        values = self.allgather(value)
        return values if self.rank == root else None

    def allgather(self, value):
        return self.room.all(self.rank, value)


def side_by_side(size, task):
    """What `task(ranks)` returns or raises for each of so many ranks, each in its thread."""
    room, settings = Room(size), np.geterr()

    def one(rank):
        with np.errstate(**settings):
            try:
                return task(Several(Communicator(room, rank)))
            except (Exception, KeyboardInterrupt) as error:
                return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    """These tests may themselves have been started by one."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 1, 0)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4, 4, 3)),
        (
            {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"},
            (3, 4, 2, 1),
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "2",
                "OMPI_COMM_WORLD_SIZE": "3",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "PMIX_RANK": "2",
            },
            (2, 3, 1, 0),
        ),
        ({"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}, (1, 2, 2, 0)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (0, 1, 1, 0)),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, (0, 1, 1, 0)),
        ({"PMI_RANK": "0", "PMI_SIZE": "two"}, (0, 1, 1, 0)),
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

    monkeypatch.setattr(ranks.importlib, "import_module", never)
    assert charrnn("train", config(), "-q").exit_code == 0


@pytest.mark.parametrize(
    ("place", "said"), [("0", "mpi4py, by which they meet, cannot be imported"), ("1", None)]
)
def test_a_missing_mpi4py_is_told_by_one_process(monkeypatch, place, said):
    """On each machine; the others leave without a word."""
    for variable, value in {"PMI_SIZE": "2", "PMI_RANK": place, "MPI_LOCALRANKID": place}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(CharrnnError if said else Elsewhere, match=said) as caught:
        ranks.world()
    assert said is None or "pip install 'charrnn-numpy[mpi]'" in caught.value.hint


def test_the_mpi_of_another_mpiexec_is_told(monkeypatch):
    """Each process then believes to be alone."""
    monkeypatch.setenv("PMI_SIZE", "2")
    alone = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
    monkeypatch.setattr(ranks.importlib, "import_module", lambda name: alone)
    with pytest.raises(CharrnnError, match="mpi4py sees 1"):
        ranks.world()


def test_rows_are_cut_into_equal_parts():
    """All of them, each once; where they are few, some ranks have none."""
    for B in range(9):
        parts = side_by_side(3, lambda mine, B=B: list(range(B))[mine.rows(B)])
        assert [row for part in parts for row in part] == list(range(B))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert Ranks().rows(5) == slice(0, 5)


def test_gradient_loss_and_stop_meet_in_one_call():
    """Each of three ranks gets the sums, and all stop after the step at which one is asked to."""

    def task(mine):
        asked = SimpleNamespace(yet=False)

        def ask():
            if asked.yet:
                raise StopAsked

        check = mine.agreed(ask)
        vector = np.zeros(4 + ranks.EXTRA)
        for step in range(5):
            vector[:4] = mine.rank + step
            asked.yet = step == 2 and mine.rank == 1
            loss = mine.add_up(vector, 10.0 + mine.rank)
            assert (vector[:4].tolist(), loss) == ([3.0 + 3 * step] * 4, 33.0)
            assert mine._comm.reductions == step + 1
            try:
                check()
            except StopAsked:
                return step

    assert side_by_side(3, task) == [2, 2, 2]


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (ConfigError("wrong"), (Elsewhere, 2)),
        (DivergedError("away"), (Elsewhere, 3)),
        (OSError("disk"), (Elsewhere, 1)),
        (KeyboardInterrupt(), (Elsewhere, 130)),
        (StopAsked(), (StopAsked, None)),
        (None, None),
    ],
)
def test_what_the_first_does_all_know(error, others):
    """Its result, or that it failed and how; all ranks of it end alike."""

    def work():
        if error is not None:
            raise error
        return "done"

    first, *rest = side_by_side(3, lambda mine: mine.first(work))
    if others is None:
        assert [first, *rest] == ["done"] * 3
        return
    assert first is error
    assert [(type(e), getattr(e, "exit_code", None)) for e in rest] == [others] * 2


def test_in_turn_the_first_is_through_before_others_begin():
    """Each has its own result; where the first fails, no other begins."""
    order = []

    def work(mine, fails):
        order.append(mine.rank)
        if fails:
            raise ConfigError("wrong")
        return mine.rank

    assert side_by_side(3, lambda mine: mine.in_turn(lambda: work(mine, False))) == [0, 1, 2]
    assert order[0] == 0
    order.clear()
    side_by_side(3, lambda mine: mine.in_turn(lambda: work(mine, True)))
    assert order == [0]


def test_all_begin_with_the_numbers_of_the_first():
    """Whatever theirs were."""

    def task(mine):
        vector = np.full(3, float(mine.rank))
        mine.spread(vector)
        return vector.tolist()

    assert side_by_side(3, task) == [[0.0] * 3] * 3


def test_parameters_that_travel_are_still_views_of_one_vector():
    """A checkpoint's go from the first rank to the others."""
    _, params = networks.network()
    twin = pickle.loads(pickle.dumps(params))
    assert twin.flat.tobytes() == params.flat.tobytes()
    twin.flat[:] = 3
    assert (twin["by"] == 3).all()


def test_ranks_that_read_different_texts_are_refused():
    """Once, and the message names the first that differs and what it has."""

    def task(mine):
        mine.check_alike({"program": "1", "corpus": "a" if mine.rank < 2 else "b"})

    first, *others = side_by_side(3, task)
    assert isinstance(first, CharrnnError)
    assert "rank 2, on " in str(first)
    assert "another corpus than rank 0" in str(first)
    assert [e.exit_code for e in others] == [1, 1]


@pytest.mark.parametrize("known", [False, True])
def test_an_error_that_others_do_not_know_of_ends_them(monkeypatch, known):
    """With its exit code, once its message is out; one that they know does not."""
    ended = []
    run = SimpleNamespace(set_abort_status=ended.append)
    monkeypatch.setattr(ranks.importlib, "import_module", {"mpi4py.run": run}.__getitem__)

    def task(mine):
        with mine.together():
            if known:
                raise mine.for_all(DivergedError("away"))
            if mine.rank == 1:
                raise DivergedError("away")

    first, second = side_by_side(2, task)
    assert ended == ([] if known else [3])
    if known:
        assert (str(first), type(second)) == ("away", Elsewhere)
    else:
        assert str(second).startswith("rank 1 of 2, on ")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_two_ranks_are_two_threads(masked, dropout):
    """Loss, gradient and state of their sum, with the same dropout, in float64 to 1e-12."""
    params = networks.network("gru", layers=2)[1].copy(shared=True)
    model = networks.Model(networks.V, "gru", networks.H, 2, "float64", dropout=dropout)
    batch, state = networks.batch(B=7, masked=masked), networks.state_of(model, 7)

    def task(mine, team=None):
        workers = Workers(model, params, team or Team(), seed=1, ranks=mine)
        grads = params.zeros_like(ranks.EXTRA)
        loss, new_state = workers.forward(batch, state, step=5)
        workers.backward(grads, 0.7)
        loss = mine.add_up(grads.vector, loss)
        mine.collect(new_state)
        return loss, grads.flat, new_state

    one, (first, other) = task(Ranks(), Team(2)), side_by_side(2, task)
    for ours, theirs in zip(one, first, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12)
    assert other[0] == first[0]
    assert other[1].tobytes() == first[1].tobytes()


COMMON = ("model.dtype=float64", "train.steps=24", "train.batch_size=5", "output.validate_every=4",
          "output.sample_every=6", "output.keep=best", "train.patience=9",
          "optimizer.schedule=plateau", "optimizer.plateau_patience=1")  # fmt: skip
MODES = {
    "carry": ("stream", ("train.seq_length=7",)),
    "zero": ("stream", ("train.seq_length=7", "train.state=zero")),
    "lines": ("lines", ("train.reduction=mean", "optimizer.clip_by=norm")),
    "long lines": ("lines", ("train.seq_length=9", "optimizer.ema=0.9")),
}


@pytest.fixture
def short(trainer, tmp_path, monkeypatch):
    """Makes trainers of a text that 24 updates go through more than once."""
    monkeypatch.setattr(trainers, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for path in (tmp_path / "text.txt", tmp_path / "lines.txt"):
        path.write_text(path.read_text(encoding="utf-8")[:600], encoding="utf-8")
    return trainer


def train_together(size, one, path, watches=None, saved=None):
    """Let so many ranks train what `one` would; their trainers, or what they raise."""
    watches = watches or [Silent() for _ in range(size)]

    def task(mine):
        run = Trainer(one.config, one.corpus, mine)
        watch = watches[mine.rank]
        watch.trainer = run
        if saved is not None:
            run.restore(saved)
        own = path if mine.is_first else str(Path(path).parent / "nobody" / "run.npz")
        loop.run(run, own, watch)
        return run

    found = side_by_side(size, task)
    assert not (Path(path).parent / "nobody").exists()
    return found


def assert_alike(path, other):
    """The same numbers in two checkpoints, to 1e-10, but for the clock's."""
    one, two = checkpoint.load(str(path)), checkpoint.load(str(other))
    np.testing.assert_allclose(one.params.flat, two.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(one.state, two.state, rtol=0, atol=1e-10)
    for slot, vector in one.slots.items():
        np.testing.assert_allclose(vector, two.slots[slot], rtol=0, atol=1e-10)
    clockless = [0, 2, 3, 4]
    np.testing.assert_allclose(
        one.history[:, clockless], two.history[:, clockless], rtol=0, atol=1e-10
    )
    for progress in (one.progress, two.progress):
        del progress["seconds"], progress["recent_seconds"]
    assert one.progress["schedule"] == pytest.approx(two.progress["schedule"], abs=1e-10)
    assert one.progress["position"] == two.progress["position"]
    plain = [
        {key: value for key, value in progress.items() if key not in ("schedule", "position")}
        for progress in (one.progress, two.progress)
    ]
    assert plain[0] == pytest.approx(plain[1], abs=1e-8)


@pytest.mark.parametrize(("mode", "size"), [*((mode, 3) for mode in MODES), ("carry", 2)])
def test_ranks_train_as_one_process_would(short, tmp_path, mode, size):
    """To rounding; the last batch of an epoch has fewer rows than there are ranks."""
    corpus_mode, settings = MODES[mode]
    one = short(*COMMON, *settings, mode=corpus_mode)
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    first, *others = train_together(size, one, path)
    watch = Silent()
    loop.run(one, whole, watch)
    assert one.batches.epoch
    assert_alike(path, whole)
    assert_alike(best_path(path), best_path(whole))
    for mine, expected in zip(*(metrics(tmp_path / f"{n}.jsonl") for n in ("run", "whole")),
                              strict=True):  # fmt: skip
        assert mine == pytest.approx(expected, abs=1e-10)
    for other in others:
        assert other.params.flat.tobytes() == first.params.flat.tobytes()
        assert other.schedule.state() == first.schedule.state()


@pytest.mark.parametrize("mode", ["carry", "long lines"])
@pytest.mark.parametrize("who", [0, 1])
def test_a_stop_of_one_rank_stops_all_and_any_number_goes_on(short, tmp_path, mode, who):
    """At the same step, saved once, with the whole state; from two ranks to one and to three."""
    corpus_mode, settings = MODES[mode]
    one = short(*COMMON, *settings, mode=corpus_mode)
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    watches = [Silent(10 if rank == who else None) for rank in range(2)]
    first, second = train_together(2, one, path, watches)
    assert isinstance(first, Interrupted)
    assert f"mpiexec -n 2 charrnn train {path} --resume" in first.hint
    assert (type(second), second.exit_code) == (Elsewhere, 130)
    assert [watch.trainer.step for watch in watches] == [11, 11]  # the next sum has told it

    saved = checkpoint.load(path)
    loop.run(one, whole, Silent())
    again = short(*COMMON, *settings, mode=corpus_mode)
    again.restore(saved)
    loop.run(again, str(tmp_path / "one.npz"), Silent())
    train_together(3, again, str(tmp_path / "three.npz"), saved=checkpoint.load(path))
    for name in ("one", "three"):
        assert_alike(tmp_path / f"{name}.npz", whole)


def test_a_stop_in_the_middle_of_a_validation_stops_all(short, tmp_path):
    """Which only the first is in; all save and leave, and the validation comes later."""
    one, path = short(*COMMON, "output.sample_every=null"), str(tmp_path / "run.npz")
    watches = [Silent(4), Silent()]
    first, second = train_together(2, one, path, watches)
    assert isinstance(first, Interrupted)
    assert second.exit_code == 130
    assert [watch.trainer.step for watch in watches] == [4, 4]
    assert checkpoint.load(path).progress["validated_at"] < 4


def test_a_run_that_diverges_is_told_once(short, tmp_path):
    """All ranks see it in the same sum, at the same step."""
    settings = ("optimizer.learning_rate=1e200", "optimizer.clip=null", "optimizer.name=sgd")
    one, path = short(*COMMON, *settings), str(tmp_path / "run.npz")
    with np.errstate(all="ignore"):
        first, second = train_together(2, one, path)
    assert isinstance(first, DivergedError)
    assert (type(second), second.exit_code) == (Elsewhere, 3)


def test_a_checkpoint_that_cannot_be_written_does_not_part_the_ranks(short, tmp_path):
    """They train to the end; then the first tells that nothing is saved."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    watches = [Silent(), Silent()]
    first, second = train_together(2, short(*COMMON), str(tmp_path / "file" / "run.npz"), watches)
    assert isinstance(first, CheckpointError)
    assert (type(second), second.exit_code) == (Elsewhere, 1)
    assert [watch.trainer.step for watch in watches] == [24, 24]


def test_only_the_first_rank_speaks(capsys):
    """Also of what is told to those who want quiet."""
    for rank in range(2):
        with logging_to_stderr():
            watch = Progress(SimpleNamespace(is_first=rank == 0, size=2))
            watch.troubled(f"trouble at {rank}")
            watch.ended(f"the end of {rank}")
    assert capsys.readouterr().err == "trouble at 0\nthe end of 0\n"


@pytest.mark.parametrize(("local", "expected"), [(None, 8), ("2", 4), ("16", 1)])
def test_ranks_on_one_machine_share_its_cores(monkeypatch, local, expected):
    """None of them takes less than one thread; what is asked for is for each of them."""
    if local is not None:
        monkeypatch.setenv("PMI_SIZE", local)
        monkeypatch.setenv("MPI_LOCALNRANKS", local)
    monkeypatch.setattr(blas, "named", lambda: 1)
    monkeypatch.setattr(worker_count, "cores", lambda: 8)
    settings = {"model": {"cell": "lstm", "hidden": 512}, "train": {"batch_size": 256}}
    settings["corpus"] = {"path": "text"}
    assert worker_count.workers(configs.from_dict(settings, "here")) == expected
    settings["train"]["threads"] = 3
    assert worker_count.workers(configs.from_dict(settings, "here")) == 3


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
        [MPIEXEC, "-n", str(size), sys.executable, "-c", f"{code}\n{RUN}", *map(str, words)],
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
initialise = charrnn.training.trainer.initialise
def otherwise(*given):
    params = initialise(*given)
    params.flat[:] *= 1 + 1e-6 * (os.environ.get("PMI_RANK") == "1")
    return params
charrnn.training.trainer.initialise = otherwise
for words in json.loads(sys.argv[1]):
    charrnn.cli.app.main(words, standalone_mode=False)
sys.exit()
"""
SHORTER = ["--set", "train.steps=10"]


@needs_mpi
def test_real_ranks_give_the_same_run(charrnn, config, tmp_path):
    """Of a stream and of padded lines, an odd batch; begun by two, it is ended by one or three."""
    common = {"model": {"hidden": 8, "dtype": "float64"}}
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
        assert_alike(tmp_path / f"{name}.npz", tmp_path / f"{name}-1.npz")
        figures = [metrics(tmp_path / f"{stem}.jsonl") for stem in (name, f"{name}-1")]
        for mine, expected in zip(*figures, strict=True):
            assert mine == pytest.approx(expected, abs=1e-10)

    assert charrnn("train", path, "--out", two, "--resume").exit_code == 0
    assert charrnn("train", path, "--out", one, *SHORTER).exit_code == 0
    code, _, said = together(3, "train", path, "--out", one, "--resume")
    assert code == 0, said
    assert said.count("going on at step 10 of 20") == 1
    for resumed in (one, two):
        assert_alike(resumed, tmp_path / "stream-1.npz")


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


FAILING = """
import os, charrnn.errors, charrnn.training.trainer
update = charrnn.training.trainer.Trainer.update
def failing(run):
    if run.step == 15 and run.ranks.rank == 1:
        raise charrnn.errors.DivergedError("enough")
    return update(run)
charrnn.training.trainer.Trainer.update = failing
"""


@needs_mpi
def test_an_error_of_one_rank_ends_all(config, tmp_path):
    """With its message and its exit code; the last checkpoint is whole."""
    settings = config(train=ENDLESS["train"] | {"seed": None})
    code, printed, said = together(2, "train", settings, code=FAILING)
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
