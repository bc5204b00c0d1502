"""Any number of processes gives the run of one process, to rounding, also with dropout."""

import os
import subprocess
from pathlib import Path

import networks
import numpy as np
import pytest
import rank_functions
from processes import start
from run_helpers import RecordingCallbacks, assert_checkpoints_close, contents, metrics

from charrnn import checkpoint
from charrnn.errors import CheckpointError, DivergedError, Interrupted
from charrnn.nn.cells import CELLS
from charrnn.parallel import local
from charrnn.parallel.group import SingleProcess
from charrnn.training import loop
from charrnn.training import trainer as trainers
from charrnn.training.trainer import Trainer

SINGLE_THREAD = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
COMMON = ("model.dtype=float64", "train.steps=20", "train.batch_size=5", "output.validate_every=4",
          "output.sample_every=6", "output.keep=best", "train.patience=9", "model.dropout=0.3",
          "optimizer.learning_rate=0.01", "optimizer.schedule=plateau",
          "optimizer.plateau_patience=1")  # fmt: skip
MODES = {
    "carry": ("stream", ("train.seq_length=7", "model.recurrent_dropout=0.2")),
    "zero": (
        "stream",
        ("train.seq_length=7", "train.state=zero", "model.variational_dropout=true"),
    ),
    "lines": ("lines", ("train.reduction=mean", "optimizer.clip_by=norm")),
    "long lines": ("lines", ("train.seq_length=9", "optimizer.ema_decay=0.9", "model.layers=2")),
}


@pytest.fixture
def short_trainer(trainer, tmp_path, monkeypatch):
    """Return the function `trainer`, with texts so short that 20 updates take several epochs."""
    monkeypatch.setattr(trainers, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for path in (tmp_path / "text.txt", tmp_path / "lines.txt"):
        path.write_text(path.read_text(encoding="utf-8")[:600], encoding="utf-8")
    return trainer


def train(size, single, path, stop_at=None, stop_rank=0, saved=None):
    """Train the run of the trainer `single` with `size` forked ranks.

    Return the weights and the factor of the schedule of each rank. Rank `stop_rank` requests a stop
    at step `stop_at`; with the checkpoint `saved`, the ranks resume it.
    """

    def work(group):
        run, callbacks = Trainer(single.config, single.corpus, group), RecordingCallbacks()
        if group.rank == stop_rank:
            callbacks = RecordingCallbacks(stop_at)
        callbacks.trainer = run
        if saved is not None:
            run.restore(saved)
        unused_path = str(Path(path).parent / "unused" / "run.npz")
        loop.run(run, path if group.is_rank_zero else unused_path, callbacks)
        return group.allgather((run.params.flat.tobytes(), run.schedule.factor))

    try:
        return local.run(size, work, "fork")
    finally:
        assert not (Path(path).parent / "unused").exists()


@pytest.mark.parametrize(
    ("mode", "cell", "size"),
    [
        *((mode, cell, 2) for mode in MODES for cell in CELLS),
        *((mode, "rnn", 3) for mode in MODES),
    ],
)
def test_ranks_train_as_one_process(short_trainer, tmp_path, mode, cell, size):
    """Several ranks give the checkpoints and metrics of one process, to rounding.

    The last batch of an epoch may have fewer rows than there are ranks.
    """
    corpus_mode, settings = MODES[mode]
    single = short_trainer(*COMMON, *settings, f"model.cell={cell}", mode=corpus_mode)
    single_path, path = (str(tmp_path / f"{name}.npz") for name in ("single", "run"))
    first, *rest = train(size, single, path)
    loop.run(single, single_path, RecordingCallbacks())
    assert single.batches.epoch
    assert_checkpoints_close(path, single_path)
    for row, expected in zip(*(metrics(tmp_path / f"{n}.jsonl") for n in ("run", "single")),
                             strict=True):  # fmt: skip
        assert row == pytest.approx(expected, abs=1e-10)
    assert len(rest) == size - 1
    assert all(result == first for result in rest)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_same_number_of_ranks_gives_the_same_bytes(short_trainer, tmp_path, size):
    """Two equal runs in single precision, with dropout, give equal checkpoints."""
    settings = ("train.steps=12", "train.batch_size=6", "model.dropout=0.3", "model.cell=gru")
    checkpoints = []
    for name in ("first", "second"):
        train(size, short_trainer(*settings), str(tmp_path / f"{name}.npz"))
        checkpoints.append(contents(tmp_path / f"{name}.npz"))
    assert checkpoints[0] == checkpoints[1]


@pytest.mark.parametrize("mode", ["carry", "long lines"])
@pytest.mark.parametrize("stop_rank", [0, 1])
def test_a_stop_of_one_rank_stops_all(short_trainer, tmp_path, mode, stop_rank):
    """All ranks stop at the same step and save the run; one rank or three can resume it."""
    corpus_mode, settings = MODES[mode]
    single = short_trainer(*COMMON, *settings, mode=corpus_mode)
    single_path, path = (str(tmp_path / f"{name}.npz") for name in ("single", "run"))
    # The next allreduce sends the request to the other rank.
    with pytest.raises(Interrupted, match="stopped at step 11 of 20"):
        train(2, single, path, stop_at=10, stop_rank=stop_rank)
    saved = checkpoint.load(path)
    loop.run(single, single_path, RecordingCallbacks())
    for size in (1, 3):
        train(size, short_trainer(*COMMON, *settings, mode=corpus_mode), path, saved=saved)
        assert_checkpoints_close(path, single_path)


def test_a_stop_during_a_validation_stops_all(short_trainer, tmp_path):
    """The run is saved without this validation, which a resumed run makes."""
    single, path = short_trainer(*COMMON, "output.sample_every=null"), str(tmp_path / "run.npz")
    with pytest.raises(Interrupted, match="stopped at step 4 of 20"):
        train(2, single, path, stop_at=4)
    assert checkpoint.load(path).training_state["validated_at"] < 4


def test_divergence_raises_one_error(short_trainer, tmp_path):
    """All ranks detect it in the same sum, at the same step, and rank 0 raises DivergedError."""
    settings = ("optimizer.learning_rate=1e200", "optimizer.clip=null", "optimizer.name=sgd")
    single, path = short_trainer(*COMMON, *settings), str(tmp_path / "run.npz")
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        train(2, single, path)


def test_ranks_train_to_the_end_without_a_writable_checkpoint(short_trainer, tmp_path):
    """At the end rank 0 raises an error, because nothing is saved."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(CheckpointError, match="Step 20 is not saved, and no step before it"):
        train(2, short_trainer(*COMMON), str(tmp_path / "file" / "run.npz"))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_a_validation(trainer, monkeypatch, size, masked):
    """The ranks score every character once, of running text or of lines.

    Their total is that of one process, to rounding.
    """
    monkeypatch.setattr("charrnn.evaluation.evaluator.SCORING_ROWS", 2)
    for name in ("WARM_UP", "WINDOW"):
        monkeypatch.setattr(f"charrnn.evaluation.evaluator.{name}", 20)
    run = trainer("model.dtype=float64", mode="lines" if masked else "stream")
    expected = run.evaluator.validation(run.corpus)
    assert not masked or len(run.corpus.validation) > 2
    scores = local.run(
        size, lambda group: group.allgather(run.evaluator.validation(run.corpus, group)), "fork"
    )
    assert len(scores) == size
    assert set(scores) == {scores[0]}
    assert scores[0].chars == expected.chars
    assert scores[0].total_nats == pytest.approx(expected.total_nats, abs=1e-8)


def test_rows_of_a_batch_have_their_targets_and_mask():
    """`rows` selects the same rows of the ids, the targets and the mask."""
    batch = networks.batch(B=7, masked=True)
    part = batch.rows(slice(2, 5))
    for selected, array in zip(part[:3], batch[:3], strict=True):
        np.testing.assert_array_equal(selected, array[:, 2:5])


def test_a_single_process_is_a_group_of_one():
    """It gathers, broadcasts and runs the tasks of rank 0 alone."""
    group = SingleProcess()
    assert (group.allgather(3), group.broadcast(4), group.on_rank_zero(lambda: 5)) == ([3], 4, 5)


def run_program(method, arguments, stdin=b""):
    """Run a command line with this start method; return the contents of the checkpoint."""
    with start(
        *arguments,
        code=rank_functions.START_METHOD_CODE[method],
        env=SINGLE_THREAD,
        stdin=subprocess.PIPE,
    ) as process:
        stdout, stderr = process.communicate(stdin, timeout=60)
    assert process.returncode == 0, stderr.decode()
    assert stderr.count(b"initial loss") == stderr.count(b"repeated lines") == 1
    return contents(stdout.decode().strip())


def test_spawned_ranks_give_the_bytes_of_forked_ranks(config, tmp_path):
    """Two or three ranks of the program give the same checkpoint, from a file and from stdin."""
    settings = config(train={"steps": 20, "seed": 7, "batch_size": 3}, model={"dropout": 0.3})
    text = (tmp_path / "corpus.txt").read_bytes()
    for size in (2, 3):
        arguments = ["train", settings, "--workers", size]
        forked = run_program("fork", arguments)
        assert run_program("spawn", arguments) == forked
    for method in ("fork", "spawn"):
        piped = run_program(method, [*arguments, "--corpus", "-"], text)
        assert piped["layer0.Whh"] == forked["layer0.Whh"]
        assert piped["corpus_sha256"] == forked["corpus_sha256"]
