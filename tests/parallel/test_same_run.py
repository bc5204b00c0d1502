"""Any number of processes gives the run that one gives, to rounding, dropout included."""

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
from charrnn.training.outputs import best_path
from charrnn.training.trainer import Trainer

SINGLE = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
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
def short(trainer, tmp_path, monkeypatch):
    """Makes trainers of a text that 20 updates go through more than once."""
    monkeypatch.setattr(trainers, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for path in (tmp_path / "text.txt", tmp_path / "lines.txt"):
        path.write_text(path.read_text(encoding="utf-8")[:600], encoding="utf-8")
    return trainer


def train(size, one, path, stop_at=None, stopping=0, saved=None):
    """Let so many forked ranks train what `one` would; the weights of each at its end."""

    def work(group):
        run, watch = Trainer(one.config, one.corpus, group), RecordingCallbacks()
        if group.rank == stopping:
            watch = RecordingCallbacks(stop_at)
        watch.trainer = run
        if saved is not None:
            run.restore(saved)
        own = path if group.is_rank_zero else str(Path(path).parent / "nobody" / "run.npz")
        loop.run(run, own, watch)
        return group.allgather((run.params.flat.tobytes(), run.schedule.factor))

    try:
        return local.run(size, work, "fork")
    finally:
        assert not (Path(path).parent / "nobody").exists()


@pytest.mark.parametrize(
    ("mode", "cell", "size"),
    [
        *((mode, cell, 2) for mode in MODES for cell in CELLS),
        *((mode, "rnn", 3) for mode in MODES),
    ],
)
def test_ranks_train_as_one_process_would(short, tmp_path, mode, cell, size):
    """To rounding; the last batch of an epoch may have fewer rows than there are ranks."""
    corpus_mode, settings = MODES[mode]
    one = short(*COMMON, *settings, f"model.cell={cell}", mode=corpus_mode)
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    first, *others = train(size, one, path)
    loop.run(one, whole, RecordingCallbacks())
    assert one.batches.epoch
    assert_checkpoints_close(path, whole)
    assert_checkpoints_close(best_path(path), best_path(whole))
    for mine, expected in zip(*(metrics(tmp_path / f"{n}.jsonl") for n in ("run", "whole")),
                              strict=True):  # fmt: skip
        assert mine == pytest.approx(expected, abs=1e-10)
    assert len(others) == size - 1
    assert all(other == first for other in others)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_same_number_gives_the_same_bytes(short, tmp_path, size):
    """Twice, in single precision, with dropout."""
    found = []
    for name in ("one", "two"):
        run = short("train.steps=12", "train.batch_size=6", "model.dropout=0.3", "model.cell=gru")
        train(size, run, str(tmp_path / f"{name}.npz"))
        found.append(contents(tmp_path / f"{name}.npz"))
    assert found[0] == found[1]


@pytest.mark.parametrize("mode", ["carry", "long lines"])
@pytest.mark.parametrize("who", [0, 1])
def test_a_stop_of_one_rank_stops_all_and_any_number_goes_on(short, tmp_path, mode, who):
    """At the same step, saved once, with the whole state; from two ranks to one and to three."""
    corpus_mode, settings = MODES[mode]
    one = short(*COMMON, *settings, mode=corpus_mode)
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    with pytest.raises(Interrupted, match="stopped at step 11 of 20"):  # the next sum tells it
        train(2, one, path, stop_at=10, stopping=who)
    saved = checkpoint.load(path)
    loop.run(one, whole, RecordingCallbacks())
    for size in (1, 3):
        train(size, short(*COMMON, *settings, mode=corpus_mode), path, saved=saved)
        assert_checkpoints_close(path, whole)


def test_a_stop_in_the_middle_of_a_validation_stops_all(short, tmp_path):
    """All save and leave, and the validation comes later."""
    one, path = short(*COMMON, "output.sample_every=null"), str(tmp_path / "run.npz")
    with pytest.raises(Interrupted, match="stopped at step 4 of 20"):
        train(2, one, path, stop_at=4)
    assert checkpoint.load(path).training_state["validated_at"] < 4


def test_a_run_that_diverges_is_told_once(short, tmp_path):
    """All ranks see it in the same sum, at the same step."""
    settings = ("optimizer.learning_rate=1e200", "optimizer.clip=null", "optimizer.name=sgd")
    one, path = short(*COMMON, *settings), str(tmp_path / "run.npz")
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        train(2, one, path)


def test_a_checkpoint_that_cannot_be_written_does_not_part_the_ranks(short, tmp_path):
    """They train to the end; then the first tells that nothing is saved."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(CheckpointError, match="Step 20 is not saved, nor is any before it"):
        train(2, short(*COMMON), str(tmp_path / "file" / "run.npz"))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [2, 4])
def test_the_parts_of_a_validation_are_the_whole(trainer, monkeypatch, size, masked):
    """Of running text and of lines; nats to rounding, and every character once."""
    monkeypatch.setattr("charrnn.evaluation.evaluator.SCORING_ROWS", 2)
    for name in ("WARM_UP", "WINDOW"):
        monkeypatch.setattr(f"charrnn.evaluation.evaluator.{name}", 20)
    run = trainer("model.dtype=float64", mode="lines" if masked else "stream")
    whole = run.evaluator.validation(run.corpus)
    assert not masked or len(run.corpus.validation) > 2
    shared = local.run(
        size, lambda group: group.allgather(run.evaluator.validation(run.corpus, group)), "fork"
    )
    assert len(shared) == size
    assert set(shared) == {shared[0]}
    assert shared[0].chars == whole.chars
    assert shared[0].total_nats == pytest.approx(whole.total_nats, abs=1e-8)


def test_a_batch_gives_some_of_its_rows():
    """With their targets and mask."""
    batch = networks.batch(B=7, masked=True)
    part = batch.rows(slice(2, 5))
    for one, other in zip(part[:3], batch[:3], strict=True):
        np.testing.assert_array_equal(one, other[:, 2:5])


def test_a_single_process_meets_nobody():
    """And its loss is not rounded to the numbers of the gradient."""
    group = SingleProcess()
    assert (group.allgather(3), group.broadcast(4), group.on_rank_zero(lambda: 5)) == ([3], 4, 5)


def run_program(method, words, stdin=b""):
    """What a run by this start method leaves in its checkpoint."""
    with start(
        *words, code=rank_functions.START_METHOD_CODE[method], env=SINGLE, stdin=subprocess.PIPE
    ) as process:
        printed, said = process.communicate(stdin, timeout=60)
    assert process.returncode == 0, said.decode()
    assert said.count(b"initial loss") == said.count(b"repeated lines") == 1
    return contents(printed.decode().strip())


def test_spawned_ranks_give_the_bytes_of_forked_ones(config, tmp_path):
    """Of the real program, with two and with three, from a file and from standard input."""
    settings = config(train={"steps": 20, "seed": 7, "batch_size": 3}, model={"dropout": 0.3})
    text = (tmp_path / "corpus.txt").read_bytes()
    for size in (2, 3):
        words = ["train", settings, "--workers", size]
        by_fork = run_program("fork", words)
        assert run_program("spawn", words) == by_fork
    for method in ("fork", "spawn"):
        piped = run_program(method, [*words, "--corpus", "-"], text)
        assert piped["layer0.Whh"] == by_fork["layer0.Whh"]
        assert piped["corpus_sha256"] == by_fork["corpus_sha256"]
