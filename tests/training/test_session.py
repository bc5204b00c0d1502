"""Runs without the command line: from the path of a config to a checkpoint."""

import contextlib

import pytest
from run_helpers import RecordingCallbacks

from charrnn import checkpoint
from charrnn.config.loader import Assignment
from charrnn.errors import ConfigError
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
