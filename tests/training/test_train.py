"""Whole runs: equal to the textbook loop, to themselves, and to what a config says."""

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
from charrnn.training.outputs import best_path


@pytest.mark.parametrize(("steps", "rate", "hidden"), [(100, 0.01, 100), (1000, 0.01, 20)])
def test_a_whole_run_equals_the_textbook_loop(trainer, steps, rate, hidden):
    """Loss and weights after so many steps from the same weights, in float64, to 1e-8."""
    weights = min_char_rnn.init(len(set(TEXT)), hidden, seed=5)
    fused = trainer(
        "model.dtype=float64", f"model.hidden={hidden}", f"optimizer.learning_rate={rate}"
    )
    fused.params.flat[:] = networks.from_textbook(weights)[1].flat
    loop = min_char_rnn.Trainer(fused.corpus.training, weights, learning_rate=rate)
    for _ in range(steps):
        expected, loss = loop.step(), fused.update()
    assert loss == pytest.approx(expected, abs=1e-8)
    assert fused.training_state.smooth_loss == pytest.approx(loop.smooth_loss, abs=1e-8)
    for name, letter in networks.TEXTBOOK_NAMES.items():
        wanted = loop.weights[letter].T.reshape(fused.params[name].shape)
        np.testing.assert_allclose(fused.params[name], wanted, rtol=0, atol=1e-8)


def test_the_textbook_run_wraps_and_clips_too(trainer):
    """The comparison above covers the end of the text and gradients over the limit."""
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
    """And another seed another one."""
    runs = [trainer(), trainer(), trainer("train.seed=4")]
    for run in runs:
        for _ in range(30):
            run.update()
    same, again, other = (run.params.flat.tobytes() for run in runs)
    assert same == again
    assert same != other


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_one_line_can_be_memorised(trainer, tmp_path, mode):
    """A network that cannot learn twenty characters by heart has a bug."""
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
    """What the first line of a run says, beside ln V."""
    run, watch = trainer("model.init=karpathy"), RecordingCallbacks()
    train.run(run, str(tmp_path / "run.npz"), watch)
    step, steps, nats, size = watch.initial
    assert (step, steps, size) == (0, 60, len(set(TEXT)))
    assert nats == pytest.approx(math.log(size), abs=0.01)


def test_metrics_hold_one_object_a_validation(trainer, tmp_path):
    """Also after a resume, without repeats."""
    path = str(tmp_path / "run.npz")
    run, watch = trainer("train.steps=40"), RecordingCallbacks()
    train.run(run, path, watch)
    longer = trainer()
    longer.restore(checkpoint.load(path))
    train.run(longer, path, watch)
    rows = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    for row, report in zip(rows, watch.reports, strict=True):
        assert row["validation_nats"] == report.validation.nats
        assert row["train_bits"] == pytest.approx(row["train_nats"] / math.log(2))
        assert row["smooth_nats"] == pytest.approx(row["smooth_loss"] / 25)


def test_the_training_figure_is_the_mean_since_the_last_report(trainer, tmp_path):
    """Computed here from the loss of every window."""
    path = str(tmp_path / "run.npz")
    by_hand, run, watch = trainer(), trainer(), RecordingCallbacks()
    losses = [by_hand.update() for _ in range(60)]
    train.run(run, path, watch)
    for n, report in enumerate(watch.reports):
        window = losses[20 * n : 20 * n + 20]
        assert report.train_nats == pytest.approx(np.mean(window) / 25, rel=1e-9)


def test_a_loss_that_is_not_finite_ends_the_run(trainer, tmp_path):
    """With exit code 3, advice, and the last good checkpoint kept."""
    path = tmp_path / "run.npz"
    run = trainer("optimizer.clip=null")
    save(run, path)
    before = path.read_bytes()
    run.params.flat[:] = np.inf
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="the loss is nan") as e:
        train.run(run, str(path), RecordingCallbacks())
    assert e.value.exit_code == 3
    assert "learning_rate=0.01" in e.value.hint
    with pytest.raises(DivergedError, match="the largest weight is inf"):
        save(run, path)
    assert path.read_bytes() == before
    checkpoint.load(str(path))


def test_epochs_count_windows(trainer):
    """Two epochs end with the last window of the second pass."""
    run = trainer("train.steps=null", "train.epochs=2", mode="lines")
    assert run.steps == 2 * len(run.corpus.training)
    for _ in range(run.steps):
        run.update()
    assert run.batches.epoch == 1
    run.update()
    assert run.batches.epoch == 2


def test_three_times_the_first_loss_after_an_epoch_ends_the_run(trainer, tmp_path):
    """A loss may be finite and still tell that the run is lost; the checkpoint before is kept."""
    path = tmp_path / "run.npz"
    run = trainer("optimizer.name=sgd", "optimizer.learning_rate=50", "optimizer.clip=null",
                  "train.steps=5000")  # fmt: skip
    save(run, path)
    before = path.read_bytes()
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        train.run(run, str(path), RecordingCallbacks())
    assert "nats per character, and it began at" in str(caught.value)
    assert "clip_by=norm" in caught.value.hint
    assert run.batches.epoch >= 1
    assert path.read_bytes() == before or np.isfinite(checkpoint.load(str(path)).params.flat).all()


def test_the_average_of_the_weights_is_validated_and_saved(trainer, tmp_path):
    """And the weights themselves are kept to go on from."""
    path = str(tmp_path / "run.npz")
    run, watch = trainer("optimizer.ema_decay=0.95", "train.steps=40"), RecordingCallbacks()
    train.run(run, path, watch)
    saved = checkpoint.load(path)
    assert (saved.params.flat == run.eval_params.flat).all()
    assert (saved.training_weights == run.params.flat).all()
    assert (saved.training_weights != saved.params.flat).any()
    score = Evaluator(saved.model, saved.params).validation(run.corpus)
    assert score.nats == watch.reports[-1].validation.nats


def test_the_best_validation_is_kept_beside_the_last(trainer, tmp_path):
    """With the step and the score it had then."""
    path = str(tmp_path / "run.npz")
    run, watch = (
        trainer("output.keep=best", "train.steps=200", "optimizer.learning_rate=0.5"),
        RecordingCallbacks(),
    )
    train.run(run, path, watch)
    nats = [report.validation.nats for report in watch.reports]
    best = watch.reports[int(np.argmin(nats))]
    assert best.step < 200, "this run is meant to get worse before its end"
    kept = checkpoint.load(best_path(path))
    assert kept.step == best.step
    assert Evaluator(kept.model, kept.params).validation(run.corpus).nats == min(nats)
    assert checkpoint.load(path).step == 200


def test_patience_ends_a_run_that_no_longer_gets_better(trainer, tmp_path):
    """After so many validations in a row; a resumed run stays ended."""
    path = str(tmp_path / "run.npz")
    run, watch = (
        trainer("train.patience=2", "train.steps=5000", "optimizer.learning_rate=0.5"),
        RecordingCallbacks(),
    )
    train.run(run, path, watch)
    nats = [report.validation.nats for report in watch.reports]
    assert len(nats) - 1 - int(np.argmin(nats)) == 2
    assert run.step < 5000
    again = trainer("train.patience=2", "train.steps=5000", "optimizer.learning_rate=0.5")
    again.restore(checkpoint.load(path))
    train.run(again, path, RecordingCallbacks())
    assert again.step == run.step


def test_the_norm_of_the_gradient_is_reported(trainer, tmp_path):
    """Its mean since the last report, as it was before clipping by norm."""
    run, watch = trainer("optimizer.clip_by=norm", "optimizer.clip=0.1"), RecordingCallbacks()
    train.run(run, str(tmp_path / "run.npz"), watch)
    assert all(report.gradient_norm > 0.1 for report in watch.reports)


@pytest.mark.parametrize("init", ["karpathy", "uniform", "orthogonal"])
@pytest.mark.parametrize("cell", CELLS)
def test_first_weights_are_what_their_name_says(trainer, cell, init):
    """Spread, orthogonality, and the forget gate's bias of 1."""
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


def test_metrics_that_are_no_text_do_not_stop_a_resume(trainer, tmp_path):
    """They are replaced; a checkpoint may not take their place."""
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
    """It must neither count as the best nor be saved."""
    run = trainer("train.steps=20")
    score = Score(float("inf"), 10)
    monkeypatch.setattr(run.evaluator, "validation", lambda *arguments: score)
    with pytest.raises(DivergedError, match="the validation loss is inf at step 20"):
        train.run(run, str(tmp_path / "run.npz"), RecordingCallbacks())
    assert not (tmp_path / "run.npz").exists()


def test_runs_whose_names_differ_behind_a_dot_share_no_file(config, charrnn, tmp_path):
    """Only `.npz` is an ending: metrics, best checkpoint and lock carry the rest of the name."""
    for name in ("lr0.01", "lr0.003"):
        result = charrnn(
            "train", config(), "-q", "--out", tmp_path / name, "--set", "output.keep=best"
        )
        assert result.exit_code == 0, result.stderr
    for name in ("lr0.01", "lr0.003"):
        assert (tmp_path / f"{name}.jsonl").exists()
        assert checkpoint.load(str(tmp_path / f"{name}.best.npz")).step
    assert lock.lock_path("runs/lr0.01") != lock.lock_path("runs/lr0.003")


def test_a_config_whose_name_has_a_dot_keeps_it(config, charrnn, tmp_path, monkeypatch):
    """Its checkpoint is named after all of it but `.yaml`."""
    monkeypatch.chdir(tmp_path)
    path = config(output={"checkpoint": None}).rename(tmp_path / "lr0.01.yaml")
    assert charrnn("train", path, "-q").stdout.strip() == str(tmp_path / "lr0.01.npz")
    path = path.rename(tmp_path / "lr0.003")
    assert charrnn("train", path, "-q").stdout.strip() == str(tmp_path / "lr0.003.npz")


def test_a_run_without_samples_shows_none(trainer, tmp_path):
    """Not at its end either."""
    for every, expected in ((None, []), (40, [40, 60])):
        watch = RecordingCallbacks()
        watch.on_sample = lambda step, text, seen=(seen := []): seen.append(step)
        overrides = [] if every is None else [f"output.sample_every={every}"]
        train.run(trainer(*overrides), str(tmp_path / "run.npz"), watch)
        assert seen == expected
