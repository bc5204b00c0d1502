"""Complete runs: equal to the textbook loop, reproducible, and as the config says."""

import json
import math

import min_char_rnn
import networks
import numpy as np
import pytest
from run_helpers import TEXT, RecordingCallbacks, save

from charrnn import checkpoint, lock
from charrnn.errors import CheckpointError, DivergedError
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.nn.cells import CELLS
from charrnn.training import loop as train


@pytest.mark.parametrize(("steps", "rate", "hidden"), [(100, 0.01, 100), (1000, 0.01, 20)])
def test_a_run_equals_the_textbook_loop(trainer, steps, rate, hidden):
    """From equal weights, a float64 run and the textbook loop agree to 1e-8 after many steps."""
    weights = min_char_rnn.init(len(set(TEXT)), hidden, seed=5)
    fused = trainer(
        "model.dtype=float64", f"model.hidden={hidden}", f"optimizer.learning_rate={rate}"
    )
    fused.params.flat[:] = networks.from_textbook(weights)[1].flat
    loop = min_char_rnn.Trainer(fused.corpus.training, weights, learning_rate=rate)
    for _ in range(steps):
        expected, loss = loop.step(), fused.update()
    assert loss == pytest.approx(expected, abs=1e-8)
    for name, textbook_name in networks.TEXTBOOK_NAMES.items():
        expected = loop.weights[textbook_name].T.reshape(fused.params[name].shape)
        np.testing.assert_allclose(fused.params[name], expected, rtol=0, atol=1e-8)


def test_the_textbook_run_wraps_and_clips_too(trainer):
    """The run equals the textbook loop also at the end of the text and for clipped gradients."""
    fused = trainer("model.dtype=float64", "optimizer.clip=0.5", "optimizer.learning_rate=0.01")
    fused.corpus.training.setflags(write=False)
    weights = min_char_rnn.init(len(fused.corpus.vocab), 12, seed=5)
    fused.params.flat[:] = networks.from_textbook(weights)[1].flat
    loop = min_char_rnn.Trainer(fused.corpus.training, weights, learning_rate=0.01, clip=0.5)
    for _ in range(fused.batches.per_epoch() + 20):
        expected, loss = loop.step(), fused.update()
    assert fused.batches.epoch == 1
    assert loss == pytest.approx(expected, abs=1e-8)


def test_the_same_seed_gives_the_same_run(trainer):
    """Equal seeds give equal weights, and another seed gives other weights."""
    runs = [trainer(), trainer(), trainer("train.seed=4")]
    for run in runs:
        for _ in range(30):
            run.update()
    first, repeated, different = (run.params.flat.tobytes() for run in runs)
    assert first == repeated
    assert first != different


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_one_line_can_be_memorized(trainer, tmp_path, mode):
    """A network memorizes a line of twenty-four characters in 300 updates."""
    line = "tyrannosaurus rex, king\n"
    (tmp_path / "text.txt").write_text(line * 20, encoding="utf-8")
    (tmp_path / "lines.txt").write_text(line, encoding="utf-8")
    run = trainer("corpus.validation=0", "model.hidden=40", mode=mode)
    for _ in range(300):
        run.update()
    run.training_state.recent_nats, run.training_state.recent_chars = 0.0, 0
    for _ in range(5):
        run.update()
    assert run.training_state.recent_nats / run.training_state.recent_chars < 0.05


def test_the_first_loss_is_that_of_guessing(trainer, tmp_path):
    """The loss before the first update is close to that of guessing, ln V."""
    run, callbacks = trainer("model.init=karpathy"), RecordingCallbacks()
    train.run(run, str(tmp_path / "run.npz"), callbacks)
    assert callbacks.initial_nats == pytest.approx(math.log(len(set(TEXT))), abs=0.01)


def test_metrics_hold_one_object_per_validation(trainer, tmp_path):
    """The metrics file has one object per validation, also after a resume."""
    path = str(tmp_path / "run.npz")
    run, callbacks = trainer("train.steps=40"), RecordingCallbacks()
    train.run(run, path, callbacks)
    longer = trainer()
    longer.restore(checkpoint.load(path))
    train.run(longer, path, callbacks)
    rows = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    for row, report in zip(rows, callbacks.reports, strict=True):
        assert row["validation_nats"] == report.validation.nats
        assert row["train_bits"] == pytest.approx(row["train_nats"] / math.log(2))


def test_the_training_loss_is_the_mean_since_the_last_report(trainer, tmp_path):
    """The reported training loss is the mean over the windows since the last report."""
    path = str(tmp_path / "run.npz")
    copy, run, callbacks = trainer(), trainer(), RecordingCallbacks()
    losses = [copy.update() for _ in range(60)]
    train.run(run, path, callbacks)
    for n, report in enumerate(callbacks.reports):
        window = losses[20 * n : 20 * n + 20]
        assert report.train_nats == pytest.approx(np.mean(window) / 25, rel=1e-9)


def test_a_loss_that_is_not_finite_ends_the_run(trainer, tmp_path):
    """A NaN loss ends the run with exit code 3 and advice; the last checkpoint stays."""
    path = tmp_path / "run.npz"
    run = trainer("optimizer.clip=null")
    save(run, path)
    before = path.read_bytes()
    run.params.flat[:] = np.inf
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="the loss is nan") as raised:
        train.run(run, str(path), RecordingCallbacks())
    assert raised.value.exit_code == 3
    assert "learning_rate=0.01" in raised.value.hint
    with pytest.raises(DivergedError, match="the largest weight is inf"):
        save(run, path)
    assert path.read_bytes() == before
    checkpoint.load(str(path))


def test_epochs_count_windows(trainer):
    """A run of two epochs ends with the last window of the second pass over the text."""
    run = trainer("train.steps=null", "train.epochs=2", mode="lines")
    assert run.steps == 2 * len(run.corpus.training)
    for _ in range(run.steps):
        run.update()
    assert run.batches.epoch == 1
    run.update()
    assert run.batches.epoch == 2


def test_thirty_times_the_loss_of_guessing_ends_the_run(trainer, tmp_path):
    """A finite loss of over thirty times that of guessing ends the run as diverged."""
    path = tmp_path / "run.npz"
    run = trainer("optimizer.name=sgd", "optimizer.learning_rate=50", "optimizer.clip=null",
                  "train.steps=5000")  # fmt: skip
    save(run, path)
    before = path.read_bytes()
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as raised:
        train.run(run, str(path), RecordingCallbacks())
    assert "nats per character at step" in str(raised.value)
    assert "clip_by=norm" in raised.value.hint
    assert path.read_bytes() == before or np.isfinite(checkpoint.load(str(path)).params.flat).all()


def test_the_average_of_the_weights_is_validated_and_saved(trainer, tmp_path):
    """The averaged weights are validated and saved; the checkpoint also has those to resume."""
    path = str(tmp_path / "run.npz")
    run, callbacks = trainer("optimizer.ema_decay=0.95", "train.steps=40"), RecordingCallbacks()
    train.run(run, path, callbacks)
    saved = checkpoint.load(path)
    assert (saved.params.flat == run.eval_params.flat).all()
    assert (saved.training_weights == run.params.flat).all()
    assert (saved.training_weights != saved.params.flat).any()
    score = Evaluator(saved.model, saved.params).validation(run.corpus)
    assert score.nats == callbacks.reports[-1].validation.nats


@pytest.mark.parametrize("average", [(), ("optimizer.ema_decay=0.5",)])
def test_a_checkpoint_has_the_weights_of_the_best_validation(trainer, tmp_path, average):
    """The model has the weights of the best validation; those of the last step resume the run."""
    path, settings = str(tmp_path / "run.npz"), ("optimizer.learning_rate=0.5", *average)
    run, callbacks = trainer("train.steps=200", *settings), RecordingCallbacks()
    train.run(run, path, callbacks)
    nats = [point.validation.nats for point in callbacks.reports]
    best = callbacks.reports[int(np.argmin(nats))]
    assert best.step < 200, "the validation loss of this run must rise before its end"
    saved = checkpoint.load(path)
    assert (saved.step, saved.training_state["best_step"]) == (200, best.step)
    assert Evaluator(saved.model, saved.params).validation(run.corpus).nats == min(nats)
    assert (saved.training_weights == run.params.flat).all()
    assert (saved.average_weights is None) == (not average)
    again = trainer("train.steps=200", *settings)
    again.restore(saved)
    assert (again.params.flat == run.params.flat).all()
    assert (again.eval_params.flat == run.eval_params.flat).all()
    assert again.evaluator.validation(run.corpus).nats == nats[-1]
    assert checkpoint.load(path).params.flat.tobytes() == again.snapshot().params.flat.tobytes()
    last = trainer("train.steps=200", "output.keep=last", *settings)
    train.run(last, path, RecordingCallbacks())
    assert (
        Evaluator(last.model, checkpoint.load(path).params).validation(run.corpus).nats == nats[-1]
    )


def test_patience_ends_a_run_that_no_longer_gets_better(trainer, tmp_path):
    """A run ends after `patience` validations without a better one, also when it is resumed."""
    path = str(tmp_path / "run.npz")
    run, callbacks = (
        trainer("train.patience=2", "train.steps=5000", "optimizer.learning_rate=0.5"),
        RecordingCallbacks(),
    )
    train.run(run, path, callbacks)
    nats = [report.validation.nats for report in callbacks.reports]
    assert len(nats) - 1 - int(np.argmin(nats)) == 2
    assert run.step < 5000
    resumed = trainer("train.patience=2", "train.steps=5000", "optimizer.learning_rate=0.5")
    resumed.restore(checkpoint.load(path))
    train.run(resumed, path, RecordingCallbacks())
    assert resumed.step == run.step


def test_the_norm_of_the_gradient_is_reported(trainer, tmp_path):
    """The reported gradient norm is that before clipping, so it may exceed the limit."""
    run, callbacks = trainer("optimizer.clip_by=norm", "optimizer.clip=0.1"), RecordingCallbacks()
    train.run(run, str(tmp_path / "run.npz"), callbacks)
    assert all(report.gradient_norm > 0.1 for report in callbacks.reports)


@pytest.mark.parametrize("init", ["karpathy", "uniform", "orthogonal"])
@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_follow_their_setting(trainer, cell, init):
    """Every `init` gives weights of its spread; LSTM forget gates start with a bias of 1."""
    params = trainer(f"model.cell={cell}", f"model.init={init}", "model.hidden=40").params
    Whh, Why, bh = params["layer0.Whh"], params["Why"], params["layer0.bh"]
    if init == "karpathy":
        assert Why.std() == pytest.approx(0.01, rel=0.1)
    else:
        assert abs(Why).max() <= 1 / np.sqrt(40)
        assert Why.std() == pytest.approx(1 / np.sqrt(3 * 40), rel=0.1)
    for gate in np.split(Whh, Whh.shape[1] // 40, axis=1):
        is_orthogonal = np.allclose(gate @ gate.T, np.eye(40), atol=1e-5)
        assert is_orthogonal == (init == "orthogonal")
    expected = np.zeros_like(bh)
    if cell == "lstm":
        expected[40:80] = 1
    assert (bh == expected).all()


def test_undecodable_metrics_do_not_prevent_a_resume(trainer, tmp_path):
    """A resumed run replaces undecodable metrics; a checkpoint may not have their file name."""
    path = str(tmp_path / "run.npz")
    run = trainer("train.steps=20")
    train.run(run, path, RecordingCallbacks())
    (tmp_path / "run.jsonl").write_bytes(b"\xff\xfe\x00")
    longer = trainer()
    longer.restore(checkpoint.load(path))
    train.run(longer, path, RecordingCallbacks())
    assert len((tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    with pytest.raises(CheckpointError, match="the name of a metrics file"):
        checkpoint.check_writable(str(tmp_path / "run.jsonl"))


def test_a_validation_that_is_not_finite_ends_the_run(trainer, tmp_path, monkeypatch):
    """An infinite validation loss ends the run before it is recorded or saved."""
    run = trainer("train.steps=20")
    score = Score(float("inf"), 10)
    monkeypatch.setattr(run.evaluator, "validation", lambda *arguments: score)
    with pytest.raises(DivergedError, match="the validation loss is inf at step 20"):
        train.run(run, str(tmp_path / "run.npz"), RecordingCallbacks())
    assert not (tmp_path / "run.npz").exists()


def test_runs_whose_names_differ_after_a_dot_share_no_file(config, charrnn, tmp_path):
    """Only `.npz` is an extension: the metrics, earlier run and lock keep `.01` in the name."""
    for name in ("lr0.01", "lr0.003", "lr0.01", "lr0.003"):
        result = charrnn("train", config(), "-q", "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
    for name in ("lr0.01", "lr0.003"):
        assert (tmp_path / f"{name}.jsonl").exists()
        assert checkpoint.load(str(tmp_path / f"{name}.old.npz")).step
    assert lock.lock_path("runs/lr0.01") != lock.lock_path("runs/lr0.003")


def test_a_config_whose_name_has_a_dot_keeps_it(config, charrnn, tmp_path, monkeypatch):
    """A checkpoint has its config's name without `.yaml`, including any dot."""
    monkeypatch.chdir(tmp_path)
    path = config(output={"checkpoint": None}).rename(tmp_path / "lr0.01.yaml")
    assert charrnn("train", path, "-q").stdout.strip() == str(tmp_path / "lr0.01.npz")
    path = path.rename(tmp_path / "lr0.003")
    assert charrnn("train", path, "-q").stdout.strip() == str(tmp_path / "lr0.003.npz")


def test_a_run_without_samples_shows_none(trainer, tmp_path):
    """Without `sample_every`, a run never samples; with it, it also samples at the end."""
    for every, expected in ((None, []), (40, [40, 60])):
        callbacks = RecordingCallbacks()
        callbacks.on_sample = lambda step, text, steps=(steps := []): steps.append(step)
        overrides = [] if every is None else [f"output.sample_every={every}"]
        train.run(trainer(*overrides), str(tmp_path / "run.npz"), callbacks)
        assert steps == expected
