"""The lock of a checkpoint: a second run is refused; the lock ends with its process."""

import contextlib
import errno
import logging
import os
import re
import signal

import pytest
from processes import read_until, start

from charrnn import checkpoint, lock
from charrnn.cli.terminal import logger
from charrnn.errors import CheckpointError

ENDLESS = {"steps": 10**9, "seed": 7}


@pytest.fixture
def path(tmp_path):
    """Return the path of a checkpoint that does not exist."""
    return str(tmp_path / "run.npz")


@pytest.fixture
def log_messages():
    """Yield the list of messages that are logged during a test."""
    handler, messages = logging.Handler(), []
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@contextlib.contextmanager
def running(*arguments):
    """Run `charrnn train` for the block and kill it at the end.

    The block starts when training has started; its value is the process.
    """
    with start("train", *arguments) as process:
        try:
            read_until(process, "initial loss")
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_and_the_first_is_named(config, charrnn, tmp_path):
    """A second run of a checkpoint is refused with the process id and start time of the first.

    The second run leaves no files.
    """
    settings = config(train=ENDLESS, output={"validate_every": 10**8})
    with running(settings) as first:
        before = sorted(os.listdir(tmp_path))
        for options in ((), ("--resume",)):
            second = charrnn("train", settings, *options, "--set", "train.steps=20")
            assert second.exit_code == 1
            pattern = rf"small\.npz is in use: process {first.pid} on .* since \d{{4}}-.*--out FILE"
            assert re.search(pattern, second.stderr)
        assert sorted(os.listdir(tmp_path)) == before
        assert first.poll() is None
        third = charrnn("train", settings, "--set", "train.steps=20", "--out", tmp_path / "b")
        assert third.exit_code == 0, third.stderr


def test_a_killed_run_leaves_no_lock(config, charrnn, tmp_path):
    """The lock file of a killed run stays and has its process id, but the next run starts."""
    settings = config(train=ENDLESS, output={"validate_every": 10**8})
    with running(settings) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert str(first.pid) in (tmp_path / ".small.lock").read_text()
    second = charrnn("train", settings, "--set", "train.steps=20", "-q")
    assert (second.exit_code, second.stderr) == (0, "")
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 20
    assert not (tmp_path / ".small.lock").exists()


def test_the_lock_file_is_removed_at_the_end_of_the_run(path, log_messages, tmp_path):
    """The lock file, with the process id and the checkpoint, is removed also after an error."""
    with lock.hold_lock(path):
        content = (tmp_path / ".run.lock").read_text()
        assert content.startswith(f"process {os.getpid()} on ")
        assert os.path.realpath(path) in content
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), lock.hold_lock(path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    assert log_messages == []


def test_a_link_and_a_name_without_suffix_are_the_same_run(path, log_messages, tmp_path):
    """A link to a checkpoint is the same run, and so are `run` and run.npz, with one metrics file.

    run.ckpt and run.old.npz are other runs.
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.npz").symlink_to(path)
    same_run = (path, str(tmp_path / "elsewhere" / "link.npz"), str(tmp_path / "run"))
    with lock.hold_lock(path):
        for same in same_run:
            with pytest.raises(CheckpointError, match="is in use"), lock.hold_lock(same):
                pass
        for different in ("run.old.npz", "run.ckpt"):
            with lock.hold_lock(str(tmp_path / different)) as is_locked:
                assert is_locked
    for same in same_run:
        with lock.hold_lock(same) as is_locked:
            assert is_locked


def test_a_lock_on_a_removed_file_does_not_count(path, log_messages, tmp_path, monkeypatch):
    """A run locks a new file if the first was removed between opening and locking."""
    original_lock, removed = lock._lock_or_raise, []

    def remove_then_lock(descriptor):
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            (tmp_path / ".run.lock").rename(tmp_path / "removed")
        original_lock(descriptor)

    monkeypatch.setattr(lock, "_lock_or_raise", remove_then_lock)
    with lock.hold_lock(path):
        assert removed
        with pytest.raises(CheckpointError, match="is in use"), lock.hold_lock(path):
            pass


def test_the_end_of_a_run_does_not_remove_the_lock_of_another(path, log_messages, tmp_path):
    """A run does not remove a lock file that a second run has created after its own was removed."""
    with lock.hold_lock(path):
        (tmp_path / ".run.lock").unlink()
        second = lock.hold_lock(path)
        second.__enter__()
    assert (tmp_path / ".run.lock").exists()
    with pytest.raises(CheckpointError, match="is in use"), lock.hold_lock(path):
        pass
    second.__exit__(None, None, None)
    assert not (tmp_path / ".run.lock").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_training_runs_where_files_cannot_be_locked(config, charrnn, tmp_path, monkeypatch, code):
    """Without locks, training prints a warning and leaves partial files, perhaps of another run."""

    def no_locks(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock, "_lock_or_raise", no_locks)
    part = tmp_path / ".small.npz.abcdefgh.part"
    part.write_bytes(b"perhaps another run's")
    result = charrnn("train", config())
    assert result.exit_code == 0
    assert f"small.lock cannot be locked ({os.strerror(code)})" in result.stderr
    assert part.exists()


@pytest.mark.parametrize("content", [b"", b"\x1b[2Jgotcha\n", b"\xff" * 10_000])
def test_invalid_content_of_a_lock_file_is_not_printed(path, log_messages, tmp_path, content):
    """Control characters and undecodable bytes in a lock file do not reach the terminal."""
    with lock.hold_lock(path):
        (tmp_path / ".run.lock").write_bytes(content)
        with (
            pytest.raises(CheckpointError, match=r"is in use: [^\x1b]*$"),
            lock.hold_lock(path),
        ):
            pass


def test_the_lock_works_on_a_full_disk(path, log_messages, monkeypatch):
    """On a full disk the lock file is empty, and the message does not name the process."""

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        first = lock.hold_lock(path)
        assert first.__enter__()
    with (
        pytest.raises(CheckpointError, match="in use: another process is writing it"),
        lock.hold_lock(path),
    ):
        pass
    first.__exit__(None, None, None)


def test_partial_files_of_killed_runs_are_removed(config, charrnn, tmp_path):
    """A run removes the partial files of its own files, and not those of similar names."""
    stale = [f".small{ending}.ab_de0gh.part" for ending in (".npz", ".old.npz", ".jsonl")]
    other_run_files = [".small.npz.x.abcdefgh.part", ".small.npz.part", ".tall.npz.abcdefgh.part"]
    for name in (*stale, *other_run_files):
        (tmp_path / name).write_bytes(b"part")
    assert charrnn("train", config(), "-q").exit_code == 0
    remaining = [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert sorted(remaining) == sorted(other_run_files)


def test_partial_files_of_another_run_stay(config, charrnn, tmp_path, path, log_messages):
    """A run that cannot acquire the lock does not remove the partial files of the other run."""
    part = tmp_path / ".small.npz.abcdefgh.part"
    part.write_bytes(b"being written")
    with lock.hold_lock(str(tmp_path / "small.npz")):
        assert charrnn("train", config(), "-q").exit_code == 1
    assert part.exists()
