"""One run at a time: the lock refuses the second, and ends with its holder, however that ends."""

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
    """A checkpoint's, which is not there."""
    return str(tmp_path / "run.npz")


@pytest.fixture
def notes():
    """What the lock says."""
    handler, said = logging.Handler(), []
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


@contextlib.contextmanager
def running(*words):
    """A run that has begun; killed at the end of the block."""
    with start("train", *words) as process:
        try:
            read_until(process, "initial loss")
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_and_the_first_named(config, charrnn, tmp_path):
    """By its process and the time it began; the refused run leaves no trace."""
    settings = config(train=ENDLESS, output={"validate_every": 10**8})
    with running(settings) as first:
        before = sorted(os.listdir(tmp_path))
        for also in ((), ("--resume",)):
            second = charrnn("train", settings, *also, "--set", "train.steps=20")
            assert second.exit_code == 1
            wanted = rf"small\.npz is taken: process {first.pid} on .* since \d{{4}}-.*--out FILE"
            assert re.search(wanted, second.stderr)
        assert sorted(os.listdir(tmp_path)) == before
        assert first.poll() is None
        elsewhere = charrnn("train", settings, "--set", "train.steps=20", "--out", tmp_path / "b")
        assert elsewhere.exit_code == 0, elsewhere.stderr


def test_a_killed_run_leaves_no_lock(config, charrnn, tmp_path):
    """Its file stays, names it, and hinders nobody."""
    settings = config(train=ENDLESS, output={"validate_every": 10**8})
    with running(settings) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert str(first.pid) in (tmp_path / ".small.lock").read_text()
    second = charrnn("train", settings, "--set", "train.steps=20", "-q")
    assert (second.exit_code, second.stderr) == (0, "")
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 20
    assert not (tmp_path / ".small.lock").exists()


def test_the_file_goes_when_the_run_ends(path, notes, tmp_path):
    """Well or not; while it lasts, the file tells whose it is."""
    with lock.held(path):
        said = (tmp_path / ".run.lock").read_text()
        assert said.startswith(f"process {os.getpid()} on ")
        assert os.path.realpath(path) in said
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), lock.held(path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    assert notes == []


def test_a_link_and_a_name_without_its_ending_are_the_same_run(path, notes, tmp_path):
    """A link leads to the same checkpoint, and `run` has the metrics of run.npz; not run.ckpt."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.npz").symlink_to(path)
    others = (path, str(tmp_path / "elsewhere" / "link.npz"), str(tmp_path / "run"))
    with lock.held(path):
        for other in others:
            with pytest.raises(CheckpointError, match="is taken"), lock.held(other):
                pass
        for different in ("run.best.npz", "run.ckpt"):
            with lock.held(str(tmp_path / different)) as alone:
                assert alone
    for other in others:
        with lock.held(other) as alone:
            assert alone


def test_a_lock_on_a_file_that_is_removed_meanwhile_does_not_count(
    path, notes, tmp_path, monkeypatch
):
    """Opened, then removed by its holder, then locked: the third run would lock another file."""
    true_try, removed = lock._try, []

    def removed_first(descriptor):
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            (tmp_path / ".run.lock").rename(tmp_path / "removed")
        true_try(descriptor)

    monkeypatch.setattr(lock, "_try", removed_first)
    with lock.held(path):
        assert removed
        with pytest.raises(CheckpointError, match="is taken"), lock.held(path):
            pass


def test_the_end_of_a_run_does_not_remove_the_lock_of_another(path, notes, tmp_path):
    """As when the folder was removed, made again, and used by a new run."""
    with lock.held(path):
        (tmp_path / ".run.lock").unlink()
        second = lock.held(path)
        second.__enter__()
    assert (tmp_path / ".run.lock").exists()
    with pytest.raises(CheckpointError, match="is taken"), lock.held(path):
        pass
    second.__exit__(None, None, None)
    assert not (tmp_path / ".run.lock").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_training_goes_on(
    config, charrnn, tmp_path, monkeypatch, code
):
    """With a note, and without clearing away what may be another run's."""

    def no_locks(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock, "_try", no_locks)
    part = tmp_path / ".small.npz.abcdefgh.part"
    part.write_bytes(b"perhaps another run's")
    result = charrnn("train", config())
    assert result.exit_code == 0
    assert f"small.lock cannot be locked ({os.strerror(code)})" in result.stderr
    assert part.exists()


@pytest.mark.parametrize("content", [b"", b"\x1b[2Jgotcha\n", b"\xff" * 10_000])
def test_a_lock_file_of_nonsense_is_not_repeated(path, notes, tmp_path, content):
    """Anybody may have written it, and a terminal obeys some characters."""
    with lock.held(path):
        (tmp_path / ".run.lock").write_bytes(content)
        with (
            pytest.raises(CheckpointError, match=r"is taken: [^\x1b]*$"),
            lock.held(path),
        ):
            pass


def test_a_lock_without_space_for_a_name_holds(path, notes, monkeypatch):
    """A full disk takes the name, not the lock."""

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        held = lock.held(path)
        assert held.__enter__()
    with (
        pytest.raises(CheckpointError, match="taken: another process is writing it"),
        lock.held(path),
    ):
        pass
    held.__exit__(None, None, None)


def test_parts_of_killed_runs_are_cleared_away(config, charrnn, tmp_path):
    """Those of the run's own files; a name that only begins alike is another run's."""
    stale = [f".small{ending}.ab_de0gh.part" for ending in (".npz", ".best.npz", ".jsonl")]
    others = [".small.npz.x.abcdefgh.part", ".small.npz.part", ".tall.npz.abcdefgh.part"]
    for name in (*stale, *others):
        (tmp_path / name).write_bytes(b"part")
    assert charrnn("train", config(), "-q").exit_code == 0
    left = [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert sorted(left) == sorted(others)


def test_parts_of_a_live_run_stay(config, charrnn, tmp_path, path, notes):
    """Nothing is cleared before the lock is held."""
    part = tmp_path / ".small.npz.abcdefgh.part"
    part.write_bytes(b"being written")
    with lock.held(str(tmp_path / "small.npz")):
        assert charrnn("train", config(), "-q").exit_code == 1
    assert part.exists()
