"""Resumed runs: equal bit for bit to uninterrupted ones; checkpoints of other runs are refused."""

import contextlib
import copy
import itertools
import math
import os

import numpy as np
import pytest
from run_helpers import RecordingCallbacks, contents, metrics, save

from charrnn import checkpoint
from charrnn.cli import progress
from charrnn.errors import CharrnnError, CheckpointError, Interrupted
from charrnn.training import loop
from charrnn.training import trainer as trainers
from charrnn.training.resume import check_same_run

CELLS = ("rnn", "gru", "lstm")
OPTIMIZERS = {
    "sgd": ("optimizer.momentum=0.9", "optimizer.learning_rate=0.01"),
    "adagrad": (),
    "rmsprop": ("optimizer.learning_rate=0.005", "optimizer.clip_by=norm"),
    "adam": ("optimizer.learning_rate=0.01", "optimizer.weight_decay=0.01"),
    "muon": ("optimizer.learning_rate=0.01", "optimizer.weight_decay=0.01"),
}
SCHEDULES = {
    "constant": (),
    "cosine": ("optimizer.cosine_final_factor=0.1",),
    "step": ("optimizer.step_epochs=0.5",),
    "plateau": ("optimizer.plateau_patience=1",),
}
MODES = {
    "carry": ("stream", ("train.seq_length=7", "train.batch_size=4")),
    "zero": ("stream", ("train.seq_length=7", "train.batch_size=4", "train.state=zero")),
    "lines": ("lines", ("train.batch_size=5",)),
    "long lines": ("lines", ("train.batch_size=5", "train.seq_length=9")),
}
EXTRAS = {
    "nothing": (),
    "dropout": ("model.dropout=0.3", "optimizer.warmup=10"),
    "ema": ("optimizer.ema_decay=0.9", "train.reduction=mean"),
    "all": (
        "model.dropout=0.3",
        "optimizer.ema_decay=0.9",
        "model.layers=2",
        "optimizer.warmup=10",
    ),
}
AXES = (CELLS, tuple(OPTIMIZERS), tuple(SCHEDULES), tuple(MODES), tuple(EXTRAS))
# Every cell with every optimizer in every mode. Schedules and extras are distributed so that all
# pairs of choices occur.
MATRIX = [
    (CELLS[c], AXES[1][o], AXES[2][(o + m) % 4], AXES[3][m], AXES[4][(c + o + 2 * m) % 4])
    for c, o, m in itertools.product(range(3), range(5), range(4))
]
COMMON = ("model.hidden=6", "train.steps=24", "output.validate_every=8", "output.sample_every=5",
          "output.keep=best", "train.patience=9")  # fmt: skip
STOPS = (1, 8, 8, 13)  # steps; the run stops at 8 before a validation, then during it


@pytest.fixture(autouse=True)
def _fast_stops(monkeypatch):
    """Let a run check after every step whether to stop, and not wait for the disk."""
    monkeypatch.setattr(loop, "STEP_INTERVAL_S", -1)
    monkeypatch.setattr(trainers, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def short(trainer, tmp_path):
    """Return a function that returns trainers of a text with epochs of less than 24 updates."""
    for path in (tmp_path / "text.txt", tmp_path / "lines.txt"):
        path.write_text(path.read_text(encoding="utf-8")[:600], encoding="utf-8")
    return trainer


def test_the_matrix_has_every_pair_of_choices():
    """The test matrix has every pair of choices of any two axes."""
    for i, j in itertools.combinations(range(len(AXES)), 2):
        pairs = {(row[i], row[j]) for row in MATRIX}
        assert pairs == set(itertools.product(AXES[i], AXES[j]))


def interrupt(run, path, stop_at):
    """Train until the run is interrupted at the step `stop_at`."""
    callbacks = RecordingCallbacks(stop_at)
    callbacks.trainer = run
    with pytest.raises(Interrupted) as caught:
        loop.run(run, path, callbacks)
    assert caught.value.hint.endswith("--resume")
    assert run.step == stop_at


@pytest.mark.parametrize(("cell", "optimizer", "schedule", "mode", "extra"), MATRIX)
def test_a_run_interrupted_four_times_equals_an_uninterrupted_run(
    short, tmp_path, cell, optimizer, schedule, mode, extra
):
    """A run interrupted four times equals an uninterrupted one bit for bit, except for times."""
    corpus_mode, windows = MODES[mode]
    settings = (
        *(*COMMON, *windows, f"model.cell={cell}", f"optimizer.name={optimizer}"),
        *(*OPTIMIZERS[optimizer], f"optimizer.schedule={schedule}", *SCHEDULES[schedule]),
        *EXTRAS[extra],
    )
    full, path = (str(tmp_path / f"{name}.npz") for name in ("full", "run"))
    expected = short(*settings, mode=corpus_mode)
    loop.run(expected, full, RecordingCallbacks())
    assert expected.batches.epoch, "this run must take more than one epoch"

    run = short(*settings, mode=corpus_mode)
    for stop_at in STOPS:
        interrupt(run, path, stop_at)
        saved, run = checkpoint.load(path), short(*settings, mode=corpus_mode)
        assert check_same_run(saved, run.config, run.corpus) == []
        run.restore(saved)
    loop.run(run, path, RecordingCallbacks())
    assert contents(path) == contents(full)
    assert metrics(tmp_path / "run.jsonl") == metrics(tmp_path / "full.jsonl")


def test_a_run_resumes_within_a_record(short, tmp_path):
    """A run interrupted between two windows of a line resumes there, with the same state."""
    settings = (*COMMON, *MODES["long lines"][1])
    run, path = short(*settings, mode="lines"), str(tmp_path / "run.npz")
    interrupt(run, path, 1)
    resumed = short(*settings, mode="lines")
    resumed.restore(checkpoint.load(path))
    assert resumed.batches.position()["offset"] == 9
    assert not resumed.peek_batch().from_zero
    assert resumed.state.any()
    assert resumed.update() == run.update()


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_run_resumes_from_its_last_checkpoint(short, tmp_path, mode):
    """A killed run resumes from its last checkpoint, and no step is in the metrics twice."""

    class Killed(RecordingCallbacks):
        def on_step(self, trainer):
            if trainer.step == 13:
                raise KeyboardInterrupt

    corpus_mode, windows = MODES[mode]
    settings = (*COMMON, *windows, "model.dropout=0.3", "optimizer.ema_decay=0.9")
    full, path = (str(tmp_path / f"{name}.npz") for name in ("full", "run"))
    loop.run(short(*settings, mode=corpus_mode), full, RecordingCallbacks())
    with pytest.raises(KeyboardInterrupt):
        loop.run(short(*settings, mode=corpus_mode), path, Killed())
    resumed, saved = short(*settings, mode=corpus_mode), checkpoint.load(path)
    assert saved.step == 8
    resumed.restore(saved)
    loop.run(resumed, path, RecordingCallbacks())
    assert contents(path) == contents(full)
    assert metrics(tmp_path / "run.jsonl") == metrics(tmp_path / "full.jsonl")


def test_a_resumed_run_keeps_the_count_of_its_patience(short, tmp_path):
    """Validations without improvement count towards the patience across an interruption."""
    settings = (*COMMON, "train.patience=2", "output.validate_every=3", "train.steps=500",
                "optimizer.learning_rate=1e-12")  # fmt: skip
    full, path = (str(tmp_path / f"{name}.npz") for name in ("full", "run"))
    expected, run = short(*settings), short(*settings)
    loop.run(expected, full, RecordingCallbacks())
    assert expected.step < 500
    interrupt(run, path, expected.step - 1)
    resumed = short(*settings)
    resumed.restore(checkpoint.load(path))
    assert resumed.training_state.waited == 1
    loop.run(resumed, path, RecordingCallbacks())
    assert contents(path) == contents(full)


@pytest.mark.parametrize("cell", CELLS)
def test_a_resumed_plateau_schedule_keeps_its_state(short, tmp_path, cell):
    """A resumed plateau schedule keeps its factor, its best loss and its waiting time."""
    settings = (*COMMON, f"model.cell={cell}", "optimizer.schedule=plateau", "train.patience=99",
                "optimizer.plateau_patience=2", "optimizer.learning_rate=3",
                "output.validate_every=1")  # fmt: skip
    full, path = (str(tmp_path / f"{name}.npz") for name in ("full", "run"))
    loop.run(short(*settings), full, RecordingCallbacks())
    run, states = short(*settings), []
    for stop_at in range(5, 24, 2):
        interrupt(run, path, stop_at)
        states.append((run.schedule.factor, run.training_state.waited % 2))
        run = short(*settings)
        run.restore(checkpoint.load(path))
    loop.run(run, path, RecordingCallbacks())
    assert min(states)[0] < max(states)[0], "the validation loss of this run must get worse"
    assert {waited for _, waited in states} == {0, 1}
    assert contents(path) == contents(full)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("mode", "sections"),
    [
        ("stream", {"train": {"batch_size": 3, "seq_length": 4}, "model": {"dropout": 0.2}}),
        ("lines", {"train": {"batch_size": 3, "seq_length": 4}, "optimizer": {"ema_decay": 0.9}}),
        ("lines", {"optimizer": {"name": "adam", "schedule": "plateau", "learning_rate": 0.01}}),
    ],
)
def test_the_command_line_resumes_exactly(
    charrnn, config, tmp_path, monkeypatch, cell, mode, sections
):
    """A run interrupted twice resumes exactly, with the config or the checkpoint as argument."""
    text = "a line of text, and another\n" * 4 + "one more\nthe last of them all\n"
    sections = {**sections, "model": {**sections.get("model", {}), "cell": cell}}
    path = config(text, mode, **sections)
    full = charrnn("train", path, "-q", "--out", tmp_path / "full.npz").stdout.strip()
    out, stops = tmp_path / "run.npz", []

    def on_step(self, trainer):
        self._stop_requested = trainer.step in stops

    monkeypatch.setattr(progress.ProgressReporter, "on_step", on_step)
    for command, step in ((["train", path, "--out", out], 3), (["train", out, "--resume"], 14)):
        stops[:] = [step]
        result = charrnn(*command)
        assert (result.exit_code, result.stdout) == (130, "")
        assert checkpoint.load(str(out)).step == step
    stops.clear()
    assert charrnn("train", path, "--resume", "--out", out).exit_code == 0
    resumed, expected = contents(out), contents(full)
    for content in (resumed, expected):
        content["config"]["output"].pop("checkpoint")
    assert resumed == expected


def test_allowed_changes_are_listed(trainer, tmp_path):
    """The learning rate, steps, patience and outputs may change, and are listed."""
    saved = trainer().snapshot()
    longer = trainer("train.steps=90", "optimizer.learning_rate=0.05", "train.patience=4",
                     f"output.checkpoint={tmp_path}/other.npz")  # fmt: skip
    assert check_same_run(saved, longer.config, longer.corpus) == [
        "train.steps: 60 -> 90",
        "train.patience: null -> 4",
        "optimizer.learning_rate: 0.1 -> 0.05",
        f"output.checkpoint: {tmp_path}/run.npz -> {tmp_path}/other.npz",
    ]
    curve = trainer("output.log_every=7")
    assert check_same_run(saved, curve.config, curve.corpus) == ["output.log_every: 1000000 -> 7"]
    by_epochs = trainer("train.steps=null", "train.epochs=2")
    assert check_same_run(saved, by_epochs.config, by_epochs.corpus) == [
        "train.steps: 60 -> null",
        "train.epochs: null -> 2.0",
    ]


def test_a_corpus_may_move_to_another_path(trainer, tmp_path):
    """The path of a corpus may change, and its checksum may be added to the config."""
    saved = trainer().snapshot()
    (tmp_path / "copy.txt").write_bytes((tmp_path / "text.txt").read_bytes())
    moved = trainer(f"corpus.path={tmp_path}/copy.txt", f"corpus.sha256={saved.corpus_sha256}")
    assert check_same_run(saved, moved.config, moved.corpus) == [
        f"corpus.path: {tmp_path}/text.txt -> {tmp_path}/copy.txt",
        f"corpus.sha256: null -> {saved.corpus_sha256}",
    ]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("model.cell=lstm", "model.cell: rnn -> lstm"),
        ("model.hidden=13", "model.hidden: 12 -> 13"),
        ("model.layers=2", "model.layers: 1 -> 2"),
        ("model.dtype=float64", "model.dtype: float32 -> float64"),
        ("model.init=karpathy", "model.init: null -> karpathy"),
        ("train.seed=4", "train.seed: 3 -> 4"),
        ("train.batch_size=2", "train.batch_size: 1 -> 2"),
        ("train.seq_length=9", "train.seq_length: null -> 9"),
        ("optimizer.name=adam", "optimizer.name: adagrad -> adam"),
        ("optimizer.ema_decay=0.9", "optimizer.ema_decay: null -> 0.9"),
        ("optimizer.clip=null", "optimizer.clip: 5.0 -> null"),
        ("corpus.lowercase=true", "corpus.lowercase: false -> true"),
    ],
)
def test_another_run_is_refused(trainer, change, difference):
    """The error for another run lists the changed settings, without the allowed changes."""
    saved = trainer().snapshot()
    other = trainer(change, "train.steps=90")
    with pytest.raises(CheckpointError) as caught:
        check_same_run(saved, other.config, other.corpus)
    message, *lines, hint = caught.value.with_hint.split("\n")
    assert "belongs to another run" in message
    assert lines == [difference]
    assert "leave --resume out" in hint


def test_another_corpus_is_refused_with_its_new_and_missing_characters(charrnn, config, tmp_path):
    """The error for another corpus lists its checksum and its new and missing characters."""
    trained = charrnn("train", config("abcq\n" * 9, "stream"), "-q").stdout.strip()
    before = (tmp_path / "small.npz").read_bytes()
    texts = {
        "abcxé\n": "vocabulary: new 'x' (U+0078), '\\xe9' (U+00E9); gone 'q' (U+0071)",
        "abc\n": "vocabulary: gone 'q' (U+0071)",
        "abcqz\n": "vocabulary: new 'z' (U+007A)",
        "qcba\n": None,
    }
    for line, message in texts.items():
        (tmp_path / "corpus.txt").write_text(line * 9, encoding="utf-8")
        result = charrnn("train", trained, "--resume")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "corpus: sha256 " in result.stderr
        assert message in result.stderr if message else "vocabulary" not in result.stderr
        assert (tmp_path / "small.npz").read_bytes() == before


def leaves(tree, *path):
    """Yield the path, a tuple of keys, of every value in nested dictionaries."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield (*path, key)
            yield from leaves(value, *path, key)
        else:
            yield (*path, key)


NONSENSE = [None, "x", [], {}, True, -5, 0, 0.5, 1e308, 10**18, 10**400, float("nan"), -math.inf]


@pytest.mark.parametrize("mode", ["zero", "long lines"])
def test_a_forged_training_state_is_refused_or_harmless(short, tmp_path, mode):
    """Any value in the training state of a checkpoint is accepted or raises a CharrnnError."""
    corpus_mode, windows = MODES[mode]
    settings = (*COMMON, *windows, "model.dropout=0.3", "optimizer.schedule=plateau",
                "optimizer.name=adam")  # fmt: skip
    run, path = short(*settings, mode=corpus_mode), str(tmp_path / "run.npz")
    run.update()
    run.validate(lambda: None)
    saved = run.snapshot()
    key_paths = list(leaves(saved.training_state))
    refused = 0
    resumed = short(*settings, mode=corpus_mode)
    for (*parents, key), value in itertools.product(key_paths, NONSENSE):
        forged = copy.copy(saved)
        forged.training_state = copy.deepcopy(saved.training_state)
        section = forged.training_state
        for parent in parents:
            section = section[parent]
        section[key] = value
        checkpoint.save(forged, path)
        try:
            resumed.restore(checkpoint.load(path))
        except CheckpointError:
            refused += 1
            continue
        with contextlib.suppress(CharrnnError):
            resumed.update()
            resumed.validate(lambda: None)
            save(resumed, path)
    assert refused > len(key_paths) * len(NONSENSE) / 2


@pytest.mark.parametrize("key", ["step", "smooth_nats", "position", "schedule"])
def test_a_training_state_with_a_missing_key_is_refused(trainer, key):
    """A checkpoint whose training state lacks a key can be sampled and scored, but not resumed."""
    run = trainer()
    run.update()
    saved = run.snapshot()
    del saved.training_state[key]
    with pytest.raises(CheckpointError, match="can be sampled and scored, but not continued"):
        trainer().restore(saved)


FORGED = pytest.raises(CheckpointError, match="has no valid training state")


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("stream", {"offset": -3}),
        ("stream", {"offset": 10**9}),
        ("stream", {"epoch": -1}),
        ("lines", {"index": 10**9}),
        ("lines", {"index": -1}),
        ("lines", {"offset": -1}),
    ],
)
def test_a_position_outside_the_text_is_refused(trainer, mode, changes):
    """A checkpoint whose position is outside the text is refused."""
    run = trainer(mode=mode)
    run.update()
    saved = run.snapshot()
    saved.training_state["position"] |= changes
    with FORGED:
        trainer(mode=mode).restore(saved)


def test_a_state_with_another_batch_size_is_refused(trainer):
    """A state with another batch size is refused, because NumPy would broadcast it silently."""
    run = trainer("train.batch_size=4")
    run.update()
    saved = run.snapshot()
    saved.state = saved.state[:, :, :1]
    with FORGED:
        trainer("train.batch_size=4").restore(saved)


@pytest.mark.parametrize(("optimizer", "square"), [("adagrad", 0), ("rmsprop", -1), ("adam", -1)])
def test_impossible_sums_of_squares_are_refused(trainer, optimizer, square):
    """Sums of squares are refused if the optimizer cannot divide by their roots."""
    run = trainer(f"optimizer.name={optimizer}")
    run.update()
    saved = run.snapshot()
    saved.optimizer_state["squares"][7] = square
    with FORGED:
        trainer(f"optimizer.name={optimizer}").restore(saved)


@pytest.mark.parametrize("changes", [{"mean": None}, {"mean": None, "velocity": 0}, {"other": 0}])
def test_state_vectors_of_another_optimizer_are_refused(trainer, tmp_path, changes):
    """A checkpoint loads with missing or foreign optimizer vectors, but training cannot resume."""
    run, path = trainer("optimizer.name=adam"), str(tmp_path / "run.npz")
    run.update()
    saved = run.snapshot()
    for slot, factor in changes.items():
        saved.optimizer_state[slot] = None if factor is None else run.params.flat * factor
    saved.optimizer_state = {
        slot: vector for slot, vector in saved.optimizer_state.items() if vector is not None
    }
    checkpoint.save(saved, path)
    with FORGED:
        trainer("optimizer.name=adam").restore(checkpoint.load(path))


def test_a_checkpoint_without_a_seed_is_refused(charrnn, trained, tmp_path):
    """A checkpoint without a seed cannot be resumed, because the order of its lines is unknown."""
    from charrnn.config import loader as configs

    saved = checkpoint.load(trained)
    saved.config = configs.replace(saved.config, "train", seed=None)
    checkpoint.save(saved, trained)
    result = charrnn("train", trained, "--resume")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not contain the seed of its run" in result.stderr


def test_restore_copies_arrays(trainer):
    """A resumed run does not change the arrays of the loaded checkpoint."""
    run = trainer()
    run.update()
    run.validate(lambda: None)
    saved = copy.deepcopy(run.snapshot())
    original = copy.deepcopy(saved)
    resumed = trainer()
    resumed.restore(saved)
    resumed.update()
    resumed.validate(lambda: None)
    squares = saved.optimizer_state["squares"], original.optimizer_state["squares"]
    pairs = (saved.params.flat, original.params.flat), (saved.history, original.history), squares
    for actual, expected in pairs:
        np.testing.assert_array_equal(actual, expected)
