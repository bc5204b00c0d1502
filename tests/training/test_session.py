"""Runs without the command line: from the path of a config to a checkpoint."""

import contextlib

import pytest
from run_helpers import RecordingCallbacks

from charrnn import checkpoint
from charrnn.config.loader import Assignment
from charrnn.errors import ConfigError, Interrupted
from charrnn.parallel.group import SingleProcess
from charrnn.training import session


def test_a_run_needs_no_command_line(config, tmp_path):
    """A session resolves a config, trains to the last step and resumes from the checkpoint."""
    path, callbacks = str(config()), RecordingCallbacks()
    resolved, out = session.resolve_config(
        path, ["train.steps=30"], [], False, None, SingleProcess()
    )
    assert (resolved.train.steps, out) == (30, str(tmp_path / "small.npz"))
    session.run(resolved, out, False, None, SingleProcess(), contextlib.nullcontext(callbacks))
    assert [report.step for report in callbacks.reports] == [10, 20, 30]
    longer, out = session.resolve_config(out, ["train.steps=40"], [], True, None, SingleProcess())
    session.run(longer, out, True, None, SingleProcess(), contextlib.nullcontext(callbacks))
    assert checkpoint.load(out).step == 40


def test_a_run_keeps_its_random_seed(config):
    """A run without a seed draws one, and the resumed run has the same seed."""
    path = str(config(train={"seed": None}))
    first, out = session.resolve_config(path, [], [], False, None, SingleProcess())
    assert first.train.seed is not None
    session.run(
        first, out, False, None, SingleProcess(), contextlib.nullcontext(RecordingCallbacks())
    )
    again, _ = session.resolve_config(path, [], [], True, None, SingleProcess())
    assert again.train.seed == first.train.seed


def test_the_checkpoint_cannot_replace_the_corpus(config, tmp_path):
    """A run whose options name its corpus as the checkpoint is refused."""
    path = str(config())
    extra = [Assignment("output.checkpoint", str(tmp_path / "corpus.txt"))]
    with pytest.raises(ConfigError, match="is the corpus"):
        session.resolve_config(path, [], extra, False, None, SingleProcess())


def test_the_rule_of_the_learning_rate_follows_the_optimizer(config, charrnn, tmp_path):
    """The resolved rate is saved as a number; a config from a checkpoint follows the rule again."""
    out = charrnn("train", config(), "-q").stdout.strip()
    assert checkpoint.load(out).config.optimizer.learning_rate == 0.1
    for overrides, rate in (
        (["optimizer.name=adam"], 0.002),
        (["optimizer.name=adam", "optimizer.learning_rate=0.5"], 0.5),
        ([], 0.1),
    ):
        resolved, _ = session.resolve_config(out, overrides, [], False, None, SingleProcess())
        assert resolved.optimizer.learning_rate == rate
    own = ("--set", "optimizer.learning_rate=0.07", "--out", tmp_path / "own.npz")
    assert charrnn("train", config(), "-q", *own).exit_code == 0
    resolved, _ = session.resolve_config(
        str(tmp_path / "own.npz"), ["optimizer.name=adam"], [], False, None, SingleProcess()
    )
    assert resolved.optimizer.learning_rate == 0.07


def test_a_resumed_run_keeps_its_learning_rate(config, charrnn, tmp_path):
    """A config without a rate resumes with that of the run, and one with a rate changes it."""
    path, out = config(), tmp_path / "small.npz"
    first = ("--set", "optimizer.learning_rate=0.07", "--set", "train.steps=10")
    assert charrnn("train", path, "-q", *first).exit_code == 0
    assert charrnn("train", path, "-q", "--resume").exit_code == 0
    assert checkpoint.load(str(out)).config.optimizer.learning_rate == 0.07


def test_a_finished_run_is_kept_beside_a_new_one(config, charrnn, tmp_path):
    """A new run keeps a finished one as NAME.old.npz, one generation, and says so in one line."""
    path, out, old = config(), tmp_path / "small.npz", tmp_path / "small.old.npz"
    runs = []
    for seed in (1, 2, 3):
        result = charrnn("train", path, "--seed", seed)
        assert result.exit_code == 0, result.stderr
        runs.append(out.read_bytes())
        assert result.stderr.count(f"its run is kept as {old}") == (seed > 1)
        if seed > 1:
            assert old.read_bytes() == runs[-2]
    assert charrnn("sample", old, "--n", 5).exit_code == 0


def test_a_run_that_would_be_lost_is_not_replaced(config, charrnn, tmp_path):
    """An unfinished run, another network or another file needs --force, --out or --resume."""
    path, out = config(), tmp_path / "small.npz"
    assert charrnn("train", path, "-q", "--set", "train.steps=10").exit_code == 0
    unfinished = checkpoint.load(str(out))
    unfinished.training_state["finished"] = False
    checkpoint.save(unfinished, str(out))
    cases = [
        ([], "has a run that is not finished (step 10). Resume it with --resume"),
        (["--set", "model.hidden=9"], "has a run of another network (rnn 1 x 8)"),
    ]
    for options, message in cases:
        before = out.read_bytes()
        result = charrnn("train", path, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
        assert "--out FILE, or replace it with --force" in result.stderr
        assert out.read_bytes() == before
    assert charrnn("train", path, "-q", "--force", "--set", "model.hidden=9").exit_code == 0
    assert checkpoint.load(str(out)).config.model.hidden == 9
    assert checkpoint.load(str(tmp_path / "small.old.npz")).config.model.hidden == 8
    finished = out.read_bytes()
    assert charrnn("train", path, "-q", "--force").exit_code == 0
    checkpoint.save(unfinished, str(out))
    result = charrnn("train", path, "--force")  # does not displace the finished run
    assert (tmp_path / "small.old.npz").read_bytes() == finished
    assert "its run is replaced at the first save" in result.stderr
    out.write_text("my notes", encoding="utf-8")
    result = charrnn("train", path)
    assert (result.exit_code, out.read_text(encoding="utf-8")) == (2, "my notes")
    assert "is not a checkpoint of this version" in result.stderr


def test_an_interrupted_run_may_be_started_again_with_resume(config, charrnn, tmp_path):
    """A run that was stopped is not finished, so the command that started it asks for --resume."""
    path = config(train={"steps": 40, "seed": 7})
    resolved, out = session.resolve_config(str(path), [], [], False, None, SingleProcess())
    callbacks = RecordingCallbacks()
    callbacks.stop_requested = lambda: True
    with pytest.raises(Interrupted):
        session.run(resolved, out, False, None, SingleProcess(), contextlib.nullcontext(callbacks))
    assert not checkpoint.load(out).training_state["finished"]
    assert charrnn("train", path, "-q").exit_code == 2
    assert charrnn("train", path, "-q", "--resume").exit_code == 0
    assert checkpoint.load(out).training_state["finished"]
