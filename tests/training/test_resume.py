"""A run that was interrupted ends bit for bit as one that never was; another run is refused."""

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
from charrnn.training.outputs import best_path
from charrnn.training.resume import check_same_run

CELLS = ("rnn", "gru", "lstm")
OPTIMIZERS = {
    "sgd": ("optimizer.momentum=0.9", "optimizer.learning_rate=0.01"),
    "adagrad": (),
    "rmsprop": ("optimizer.learning_rate=0.005", "optimizer.clip_by=norm"),
    "adam": ("optimizer.learning_rate=0.01", "optimizer.weight_decay=0.01"),
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
# Every cell with every optimiser in every mode. Schedules and extras are dealt out so that all
# pairs of choices occur.
MATRIX = [
    (CELLS[c], AXES[1][o], AXES[2][(o + m) % 4], AXES[3][m], AXES[4][(c + o + 2 * m) % 4])
    for c, o, m in itertools.product(range(3), range(4), range(4))
]
COMMON = ("model.hidden=6", "train.steps=24", "output.validate_every=8", "output.sample_every=5",
          "output.keep=best", "train.patience=9")  # fmt: skip
STOPS = (1, 8, 8, 13)  # 8 is before a validation, then during it; the others are between two


@pytest.fixture(autouse=True)
def _attentive(monkeypatch):
    """A run looks after every step whether to stop, and does not wait for the disk."""
    monkeypatch.setattr(loop, "STEP_INTERVAL_S", -1)
    monkeypatch.setattr(trainers, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def short(trainer, tmp_path):
    """Makes trainers of a text that 24 updates go through more than once."""
    for path in (tmp_path / "text.txt", tmp_path / "lines.txt"):
        path.write_text(path.read_text(encoding="utf-8")[:600], encoding="utf-8")
    return trainer


def test_the_matrix_has_every_pair_of_choices():
    """Of any two axes."""
    for one, other in itertools.combinations(range(len(AXES)), 2):
        pairs = {(row[one], row[other]) for row in MATRIX}
        assert pairs == set(itertools.product(AXES[one], AXES[other]))


def interrupt(run, path, stop_at):
    """Let a run go on until it is stopped at a step."""
    watch = RecordingCallbacks(stop_at)
    watch.trainer = run
    with pytest.raises(Interrupted) as caught:
        loop.run(run, path, watch)
    assert caught.value.hint.endswith("--resume")
    assert run.step == stop_at


@pytest.mark.parametrize(("cell", "optimizer", "schedule", "mode", "extra"), MATRIX)
def test_interrupted_four_times_equals_never(
    short, tmp_path, cell, optimizer, schedule, mode, extra
):
    """To the last bit of every array and number but the clock's, also in the best checkpoint."""
    corpus_mode, windows = MODES[mode]
    settings = (
        *(*COMMON, *windows, f"model.cell={cell}", f"optimizer.name={optimizer}"),
        *(*OPTIMIZERS[optimizer], f"optimizer.schedule={schedule}", *SCHEDULES[schedule]),
        *EXTRAS[extra],
    )
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    expected = short(*settings, mode=corpus_mode)
    loop.run(expected, whole, RecordingCallbacks())
    assert expected.batches.epoch, "this run is meant to go through its text more than once"

    run = short(*settings, mode=corpus_mode)
    for stop_at in STOPS:
        interrupt(run, path, stop_at)
        saved, run = checkpoint.load(path), short(*settings, mode=corpus_mode)
        assert check_same_run(saved, run.config, run.corpus) == []
        run.restore(saved)
    loop.run(run, path, RecordingCallbacks())
    assert contents(path) == contents(whole)
    assert contents(best_path(path)) == contents(best_path(whole))
    assert metrics(tmp_path / "run.jsonl") == metrics(tmp_path / "whole.jsonl")


def test_a_resume_falls_within_a_record_and_goes_on_there(short, tmp_path):
    """Of lines longer than a window: with their state, and not from their beginnings."""
    settings = (*COMMON, *MODES["long lines"][1])
    run, path = short(*settings, mode="lines"), str(tmp_path / "run.npz")
    interrupt(run, path, 1)
    again = short(*settings, mode="lines")
    again.restore(checkpoint.load(path))
    assert again.batches.position()["offset"] == 9
    assert not again._peek_batch().from_zero
    assert again.state.any()
    assert again.update() == run.update()


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_was_killed_goes_on_from_its_last_save(short, tmp_path, mode):
    """What it did after that is done again, and does not stand twice in the metrics."""

    class Killed(RecordingCallbacks):
        def on_step(self, step, smooth_nats):
            if step == 13:
                raise KeyboardInterrupt

    corpus_mode, windows = MODES[mode]
    settings = (*COMMON, *windows, "model.dropout=0.3", "optimizer.ema_decay=0.9")
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    loop.run(short(*settings, mode=corpus_mode), whole, RecordingCallbacks())
    with pytest.raises(KeyboardInterrupt):
        loop.run(short(*settings, mode=corpus_mode), path, Killed())
    again, saved = short(*settings, mode=corpus_mode), checkpoint.load(path)
    assert saved.step == 8
    again.restore(saved)
    loop.run(again, path, RecordingCallbacks())
    assert contents(path) == contents(whole)
    assert metrics(tmp_path / "run.jsonl") == metrics(tmp_path / "whole.jsonl")


def test_patience_counts_on(short, tmp_path):
    """Validations without a better one before an interruption count after it."""
    settings = (*COMMON, "train.patience=2", "output.validate_every=3", "train.steps=500",
                "optimizer.learning_rate=1e-12")  # fmt: skip
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    expected, run = short(*settings), short(*settings)
    loop.run(expected, whole, RecordingCallbacks())
    assert expected.step < 500
    interrupt(run, path, expected.step - 1)
    again = short(*settings)
    again.restore(checkpoint.load(path))
    assert again.training_state.waited == 1
    loop.run(again, path, RecordingCallbacks())
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("cell", CELLS)
def test_a_plateau_goes_on_falling(short, tmp_path, cell):
    """With the rate it had fallen to, the best it had seen, and how long it had waited."""
    settings = (*COMMON, f"model.cell={cell}", "optimizer.schedule=plateau", "train.patience=99",
                "optimizer.plateau_patience=2", "optimizer.learning_rate=3",
                "output.validate_every=1")  # fmt: skip
    whole, path = (str(tmp_path / f"{name}.npz") for name in ("whole", "run"))
    loop.run(short(*settings), whole, RecordingCallbacks())
    run, seen = short(*settings), []
    for stop_at in range(5, 24, 2):
        interrupt(run, path, stop_at)
        seen.append((run.schedule.factor, run.training_state.waited % 2))
        run = short(*settings)
        run.restore(checkpoint.load(path))
    loop.run(run, path, RecordingCallbacks())
    assert min(seen)[0] < max(seen)[0], "this run is meant to get worse"
    assert {waited for _, waited in seen} == {0, 1}
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("mode", "sections"),
    [
        ("stream", {"train": {"batch_size": 3, "seq_length": 4}, "model": {"dropout": 0.2}}),
        ("lines", {"train": {"batch_size": 3, "seq_length": 4}, "optimizer": {"ema_decay": 0.9}}),
        ("lines", {"optimizer": {"name": "adam", "schedule": "plateau", "learning_rate": 0.01}}),
    ],
)
def test_the_command_resumes_as_exactly(
    charrnn, config, tmp_path, monkeypatch, cell, mode, sections
):
    """Interrupted twice, resumed once by the config and once by the checkpoint."""
    text = "a line of text, and another\n" * 4 + "one more\nthe last of them all\n"
    sections = {**sections, "model": {**sections.get("model", {}), "cell": cell}}
    path = config(text, mode, **sections)
    whole = charrnn("train", path, "-q", "--out", tmp_path / "whole.npz").stdout.strip()
    out, stop = tmp_path / "run.npz", []

    def on_step(self, step, smooth_nats):
        self._asked = step in stop

    monkeypatch.setattr(progress.ProgressReporter, "on_step", on_step)
    for words, at in ((["train", path, "--out", out], 3), (["train", out, "--resume"], 14)):
        stop[:] = [at]
        stopped = charrnn(*words)
        assert (stopped.exit_code, stopped.stdout) == (130, "")
        assert checkpoint.load(str(out)).step == at
    stop.clear()
    assert charrnn("train", path, "--resume", "--out", out).exit_code == 0
    one, other = contents(out), contents(whole)
    for paths in (one, other):
        paths["config"]["output"].pop("checkpoint")
    assert one == other


def test_what_may_change_is_said(trainer, tmp_path):
    """The rate, the length and the place; nothing is said as null."""
    saved = trainer().snapshot()
    longer = trainer("train.steps=90", "optimizer.learning_rate=0.05", "train.patience=4",
                     f"output.checkpoint={tmp_path}/other.npz")  # fmt: skip
    assert check_same_run(saved, longer.config, longer.corpus) == [
        "train.steps: 60 -> 90",
        "train.patience: null -> 4",
        "optimizer.learning_rate: 0.1 -> 0.05",
        f"output.checkpoint: {tmp_path}/run.npz -> {tmp_path}/other.npz",
    ]
    by_epochs = trainer("train.steps=null", "train.epochs=2")
    assert check_same_run(saved, by_epochs.config, by_epochs.corpus) == [
        "train.steps: 60 -> null",
        "train.epochs: null -> 2.0",
    ]


def test_a_text_in_another_place_is_the_same_text(trainer, tmp_path):
    """Paths are shown as they are, and its checksum may be asked for from now on."""
    saved = trainer().snapshot()
    (tmp_path / "copy.txt").write_bytes((tmp_path / "text.txt").read_bytes())
    moved = trainer(f"corpus.path={tmp_path}/copy.txt", f"corpus.sha256={saved.corpus_sha256}")
    assert check_same_run(saved, moved.config, moved.corpus) == [
        f"corpus.path: {tmp_path}/text.txt -> {tmp_path}/copy.txt",
        f"corpus.sha256: null -> {saved.corpus_sha256}",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
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
def test_another_run_is_not_continued(trainer, change, named):
    """The setting is named with both values, and the settings that may change are not."""
    saved = trainer().snapshot()
    other = trainer(change, "train.steps=90")
    with pytest.raises(CheckpointError) as caught:
        check_same_run(saved, other.config, other.corpus)
    said, *lines, advice = caught.value.with_hint.split("\n")
    assert "belongs to another run" in said
    assert lines == [named]
    assert "leave --resume out" in advice


def test_another_text_is_named_by_the_characters_that_came_and_went(charrnn, config, tmp_path):
    """Or by its checksum alone, when it has the same ones."""
    trained = charrnn("train", config("abcq\n" * 9, "stream"), "-q").stdout.strip()
    before = (tmp_path / "small.npz").read_bytes()
    texts = {
        "abcxé\n": "vocabulary: new 'x' (U+0078), '\\xe9' (U+00E9); gone 'q' (U+0071)",
        "abc\n": "vocabulary: gone 'q' (U+0071)",
        "abcqz\n": "vocabulary: new 'z' (U+007A)",
        "qcba\n": None,
    }
    for line, said in texts.items():
        (tmp_path / "corpus.txt").write_text(line * 9, encoding="utf-8")
        result = charrnn("train", trained, "--resume")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "corpus: sha256 " in result.stderr
        assert said in result.stderr if said else "vocabulary" not in result.stderr
        assert (tmp_path / "small.npz").read_bytes() == before


def leaves(tree, *path):
    """The path to every value in nested dictionaries."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield (*path, key)
            yield from leaves(value, *path, key)
        else:
            yield (*path, key)


NONSENSE = [None, "x", [], {}, True, -5, 0, 0.5, 1e308, 10**18, 10**400, float("nan"), -math.inf]


@pytest.mark.parametrize("mode", ["zero", "long lines"])
def test_a_standing_that_was_forged_is_refused_or_harmless(short, tmp_path, mode):
    """Whatever stands in one place of it, with an error of ours or none."""
    corpus_mode, windows = MODES[mode]
    settings = (*COMMON, *windows, "model.dropout=0.3", "optimizer.schedule=plateau",
                "optimizer.name=adam")  # fmt: skip
    run, path = short(*settings, mode=corpus_mode), str(tmp_path / "run.npz")
    run.update()
    run.validate(lambda: None)
    honest = run.snapshot()
    places = list(leaves(honest.training_state))
    refused = 0
    again = short(*settings, mode=corpus_mode)
    for place, value in itertools.product(places, NONSENSE):
        forged = copy.copy(honest)
        forged.training_state = copy.deepcopy(honest.training_state)
        inner = forged.training_state
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        checkpoint.save(forged, path)
        try:
            again.restore(checkpoint.load(path))
        except CheckpointError:
            refused += 1
            continue
        with contextlib.suppress(CharrnnError):
            again.update()
            again.validate(lambda: None)
            save(again, path)
    assert refused > len(places) * len(NONSENSE) / 2


@pytest.mark.parametrize("key", ["step", "smooth_loss", "position", "schedule"])
def test_a_standing_with_a_part_missing_is_refused(trainer, key):
    """The model can still be sampled and scored, and the message says so."""
    run = trainer()
    run.update()
    saved = run.snapshot()
    del saved.training_state[key]
    with pytest.raises(CheckpointError, match="can be sampled and scored, but not continued"):
        trainer().restore(saved)


FORGED = pytest.raises(CheckpointError, match="has no valid training state")


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        ("stream", {"offset": -3}),
        ("stream", {"offset": 10**9}),
        ("stream", {"epoch": -1}),
        ("lines", {"index": 10**9}),
        ("lines", {"index": -1}),
        ("lines", {"offset": -1}),
    ],
)
def test_a_position_outside_the_text_is_refused(trainer, mode, wrong):
    """A checkpoint from a stranger can be wrong in any number."""
    run = trainer(mode=mode)
    run.update()
    saved = run.snapshot()
    saved.training_state["position"] |= wrong
    with FORGED:
        trainer(mode=mode).restore(saved)


def test_a_state_of_other_rows_is_refused(trainer):
    """It would be repeated silently over the rows of the batch."""
    run = trainer("train.batch_size=4")
    run.update()
    saved = run.snapshot()
    saved.state = saved.state[:, :, :1]
    with FORGED:
        trainer("train.batch_size=4").restore(saved)


@pytest.mark.parametrize(("optimizer", "small"), [("adagrad", 0), ("rmsprop", -1), ("adam", -1)])
def test_sums_of_squares_that_cannot_be_are_refused(trainer, optimizer, small):
    """Their roots would be divided by."""
    run = trainer(f"optimizer.name={optimizer}")
    run.update()
    saved = run.snapshot()
    saved.optimizer_state["squares"][7] = small
    with FORGED:
        trainer(f"optimizer.name={optimizer}").restore(saved)


@pytest.mark.parametrize("changes", [{"mean": None}, {"mean": None, "velocity": 0}, {"other": 0}])
def test_vectors_of_another_optimiser_are_not_continued(trainer, tmp_path, changes):
    """The model can still be sampled; which vectors there should be is for training to know."""
    run, path = trainer("optimizer.name=adam"), str(tmp_path / "run.npz")
    run.update()
    saved = run.snapshot()
    for slot, source in changes.items():
        saved.optimizer_state[slot] = run.params.flat * source if source is not None else None
    saved.optimizer_state = {
        slot: vector for slot, vector in saved.optimizer_state.items() if vector is not None
    }
    checkpoint.save(saved, path)
    with FORGED:
        trainer("optimizer.name=adam").restore(checkpoint.load(path))


def test_a_checkpoint_without_a_seed_is_not_continued(charrnn, trained, tmp_path):
    """The order of its lines could not be found again."""
    from charrnn.config import loader as configs

    saved = checkpoint.load(trained)
    saved.config = configs.replace(saved.config, "train", seed=None)
    checkpoint.save(saved, trained)
    result = charrnn("train", trained, "--resume")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not tell the seed of its run" in result.stderr


def test_history_and_weights_are_copies(trainer):
    """Going on does not change what was loaded."""
    run = trainer()
    run.update()
    run.validate(lambda: None)
    saved = copy.deepcopy(run.snapshot())
    kept = copy.deepcopy(saved)
    again = trainer()
    again.restore(saved)
    again.update()
    again.validate(lambda: None)
    squares = saved.optimizer_state["squares"], kept.optimizer_state["squares"]
    pairs = (saved.params.flat, kept.params.flat), (saved.history, kept.history), squares
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
