"""A run without the command line: from a config's path to a checkpoint."""

import contextlib

import pytest
from run_helpers import RecordingCallbacks

from charrnn import checkpoint
from charrnn.config.loader import Assignment
from charrnn.errors import ConfigError
from charrnn.parallel.group import SingleProcess
from charrnn.training import session


def test_a_run_needs_no_command_line(config, tmp_path):
    """Settled first, then trained to its end, and continued from there."""
    path, watch = str(config()), RecordingCallbacks()
    settled, out = session.resolve_config(
        path, ["train.steps=30"], [], False, None, SingleProcess()
    )
    assert (settled.train.steps, out) == (30, str(tmp_path / "small.npz"))
    session.run(settled, out, False, None, SingleProcess(), contextlib.nullcontext(watch))
    assert [report.step for report in watch.reports] == [10, 20, 30]
    longer, out = session.resolve_config(out, ["train.steps=40"], [], True, None, SingleProcess())
    session.run(longer, out, True, None, SingleProcess(), contextlib.nullcontext(watch))
    assert checkpoint.load(out).step == 40


def test_a_seed_is_settled_once(config):
    """A fresh one where none is set, that of the run where it is continued."""
    path = str(config(train={"seed": None}))
    first, out = session.resolve_config(path, [], [], False, None, SingleProcess())
    assert first.train.seed is not None
    session.run(
        first, out, False, None, SingleProcess(), contextlib.nullcontext(RecordingCallbacks())
    )
    again, _ = session.resolve_config(path, [], [], True, None, SingleProcess())
    assert again.train.seed == first.train.seed


def test_an_option_goes_before_the_config_and_files_are_kept_apart(config, tmp_path):
    """A run neither writes over its text nor reads two things from one pipe."""
    path = str(config())
    extra = [Assignment("output.checkpoint", str(tmp_path / "corpus.txt"))]
    with pytest.raises(ConfigError, match="is the corpus"):
        session.resolve_config(path, [], extra, False, None, SingleProcess())
