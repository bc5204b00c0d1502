"""A run that does not learn is reported early; one that overfits is reported once."""

import math
from pathlib import Path

import numpy as np
import pytest
from run_helpers import RecordingCallbacks

from charrnn import checkpoint
from charrnn.errors import DivergedError
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.parallel import local
from charrnn.training import loop

ROOT = Path(__file__).parents[2]
GUESSING = "where guessing costs ln"


class Warnings(RecordingCallbacks):
    """Callbacks that collect the warnings of a run."""

    def __init__(self):
        super().__init__()
        self.warnings = []

    def on_warning(self, message):
        self.warnings.append(message)


@pytest.fixture
def first_nats(monkeypatch):
    """Return a function that sets the loss of the checks, by step; it is 0 at all other steps."""

    def first_nats(run, nats_by_step):
        monkeypatch.setattr(run.evaluator, "first_nats", lambda *_: nats_by_step.get(run.step, 0.0))

    return first_nats


def run_until_the_end(run, tmp_path):
    """Train, and return the warnings; raises what the run raises."""
    callbacks = Warnings()
    loop.run(run, str(tmp_path / "run.npz"), callbacks)
    return callbacks.warnings


def test_a_run_that_is_worse_than_guessing_twice_ends_with_exit_code_3(
    trainer, tmp_path, first_nats
):
    """The first check warns with figures and what to try; the second ends the run and saves it."""
    run, callbacks = trainer("train.steps=2000"), Warnings()
    first_nats(run, {200: 9.0, 500: 9.5})
    with pytest.raises(DivergedError, match=r"does not learn: at step 500 .* 9\.5 nats") as raised:
        loop.run(run, str(tmp_path / "run.npz"), callbacks)
    assert raised.value.exit_code == 3
    assert "--set optimizer.learning_rate=0.01" in raised.value.hint
    (warning,) = callbacks.warnings
    assert "at step 200 the model predicts worse than guessing: 9 nats" in warning
    assert f"{GUESSING} {run.model.vocab_size} = {run.guessing_nats:.4g}" in warning
    assert "--set optimizer.learning_rate=0.01" in warning
    assert checkpoint.load(str(tmp_path / "run.npz")).step == 500


def test_a_run_that_recovers_is_warned_of_once_each_time(trainer, tmp_path, first_nats):
    """Two checks that are not in a row are two warnings, and the run goes to its end."""
    run = trainer("train.steps=2000", "output.validate_every=500")
    first_nats(run, {200: 9.0, 1000: 9.0, 1500: 1.0})
    assert [GUESSING in warning for warning in run_until_the_end(run, tmp_path)][:2] == [True] * 2
    assert run.step == 2000


@pytest.mark.parametrize(("steps", "exit_code"), [(400, 0), (600, 3)])
def test_a_run_of_500_updates_may_not_end_worse_than_guessing(
    trainer, tmp_path, first_nats, steps, exit_code
):
    """A run of 500 updates or more that ends above guessing ends with exit code 3."""
    run = trainer(f"train.steps={steps}")
    first_nats(run, {steps: 9.0})
    if exit_code == 0:
        assert run_until_the_end(run, tmp_path) == []
    else:
        with pytest.raises(DivergedError, match="does not learn: at step 600"):
            run_until_the_end(run, tmp_path)
    assert checkpoint.load(str(tmp_path / "run.npz")).step == steps


@pytest.mark.parametrize(
    ("settings", "exit_code"),
    [
        ([], 0),
        (["optimizer.name=adam"], 0),
        (["optimizer.name=rmsprop"], 0),
        (["optimizer.name=sgd"], 0),
        (["optimizer.learning_rate=0.1", "train.state_reset=0"], 3),
    ],
)
def test_a_wide_network_learns_with_the_default_rate(charrnn, tmp_path, settings, exit_code):
    """200 units learn with the rate that suits them; with that of 100 units they saturate.

    The loss of the saturated network, from the carried state, stays finite and below guessing.
    """
    config, corpus = ROOT / "configs" / "tinyshakespeare.yaml", ROOT / "data" / "dinos.txt"
    overrides = ["model.hidden=200", "train.steps=700", "output.sample_every=null", *settings]
    overrides += ["corpus.url=null", "corpus.sha256=null"]
    options = [word for override in overrides for word in ("--set", override)]
    out = tmp_path / "run.npz"
    result = charrnn("train", config, "--corpus", corpus, "--out", out, *options)
    assert result.exit_code == exit_code, result.stderr
    saved = checkpoint.load(str(out))
    if exit_code == 3:
        assert "the run does not learn: at step 500" in result.stderr
        assert saved.history[-1, 2] < math.log(27)
    else:
        assert saved.training_state["best_nats"] < 3.0


def test_a_model_that_overfits_has_learnt(trainer, tmp_path, monkeypatch):
    """Held-out text that costs more than guessing is no failure if the training text does not."""
    run = trainer("train.steps=600")
    nats = {len(run.corpus.validation): 9.0, len(run.corpus.training): 1.0}
    monkeypatch.setattr(run.evaluator, "first_nats", lambda corpus, ids: nats[len(ids)])
    assert not [message for message in run_until_the_end(run, tmp_path) if GUESSING in message]


def test_the_checked_loss_is_that_of_the_first_characters(trainer):
    """The check scores the first 2,000 characters of a part from the zero state, as `eval` does."""
    for mode in ("stream", "lines"):
        run = trainer(mode=mode)
        for part in (run.corpus.validation, run.corpus.training):
            nats = run.evaluator.first_nats(run.corpus, part)
            if mode == "stream":
                ids = part[:2001]
                scored, _ = run.evaluator.score_sequence(ids, run.model.zero_state(1))
                expected = scored.mean()
            else:
                lengths = run.corpus.records.lengths(part)
                count = np.flatnonzero(lengths.cumsum() >= 2000)[:1] + 1
                part = part[: int(count[0])] if len(count) else part
                batches = run.evaluator._score_batches(run.corpus.records, part)
                expected = np.concatenate([values[0] for _, values in batches]).mean()
            assert nats == pytest.approx(expected, abs=1e-5)


def test_a_rising_validation_is_reported_once(trainer, tmp_path, monkeypatch):
    """When the best validation is a third of the run ago, one warning names its step."""
    run = trainer("train.steps=900", "output.validate_every=100")
    monkeypatch.setattr(
        run.evaluator, "validation", lambda *_: Score(100 + abs(run.step - 200), 100)
    )
    (warning,) = run_until_the_end(run, tmp_path)
    assert "has risen since step 200: the model overfits" in warning
    assert "--set model.dropout" in warning


def test_a_loss_curve_has_about_200_points(trainer, tmp_path):
    """Each point has the mean loss of all updates since the one before, the first included."""
    run, copy = (
        trainer("train.steps=400", "output.log_every=null", "output.validate_every=130")
        for _ in range(2)
    )
    loop.run(run, str(tmp_path / "run.npz"), RecordingCallbacks())
    history = checkpoint.load(str(tmp_path / "run.npz")).history
    assert history[:, 0].tolist() == [*range(2, 401, 2)]
    losses = np.array([copy.update() for _ in range(400)]) / 25
    np.testing.assert_allclose(history[:, 2], losses.reshape(-1, 2).mean(axis=1), rtol=1e-9)
    validated = history[np.isfinite(history[:, 3]), 0].tolist()
    assert validated == [130, 260, 390, 400]
    lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 200


def test_points_of_the_loss_curve_do_not_change_a_run(trainer, tmp_path):
    """A run with many points has the same weights as one with few."""
    weights = []
    for every in (1, 1000):
        run = trainer(f"output.log_every={every}")
        loop.run(run, str(tmp_path / "run.npz"), RecordingCallbacks())
        weights.append(run.params.flat.tobytes())
    assert weights[0] == weights[1]


def test_the_shown_loss_is_the_mean_of_about_100_updates(trainer):
    """The live training loss is the plain mean at first, and later follows within 100 updates."""
    run = trainer("train.steps=400")
    losses = [run.update() / 25 for _ in range(50)]
    assert run.training_state.train_nats == pytest.approx(np.mean(losses))
    losses += [run.update() / 25 for _ in range(350)]
    expected = losses[0]
    for n, nats in enumerate(losses):
        expected += (nats - expected) / min(n + 1, 100)
    assert run.training_state.train_nats == pytest.approx(expected)
    assert not math.isnan(run.training_state.train_nats)


def test_a_validation_scores_as_eval_does(trainer):
    """Pieces that start in another state than the text gives are not used: the text is scored."""
    run = trainer("model.hidden=1", "model.dtype=float64")
    params, vocab = run.params, run.corpus.vocab
    # One hidden unit that keeps its sign, and that only the first character of the text sets.
    params["layer0.Whh"][:] = 20
    params["layer0.Wxh"][:] = 0
    params["layer0.bh"][:] = 1e-9
    first = run.corpus.validation[0]
    text = np.concatenate([[first], np.delete(vocab.encode(vocab.chars), first)])
    ids = np.concatenate([text[:1], np.tile(text[1:], 600)])
    params["layer0.Wxh"][first] = -1
    params["Why"][0] = np.where(np.arange(len(vocab)) % 2, 3, -3)
    evaluator = Evaluator(run.model, params)
    corpus = run.corpus.__class__(vocab, ids[:0], ids, "")
    scored, _ = evaluator.score_sequence(ids, run.model.zero_state(1))
    for size in (1, 3, 10):  # also where each rank has one piece
        nats = local.run(size, lambda group: evaluator.validation(corpus, group).nats, "fork")
        assert nats == pytest.approx(scored.mean(), abs=1e-9)
    pieces = np.concatenate([*evaluator._stream_pieces(ids, run.group, *np.zeros((2, 64)))])
    assert abs(pieces.mean() - scored.mean()) > 0.05, "the pieces of this text must differ"
