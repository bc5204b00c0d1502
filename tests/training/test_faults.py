"""Full disks, read-only or removed folders: training continues, and earlier saves remain."""

import errno
import os
import shutil

import numpy as np
import pytest
from run_helpers import RecordingCallbacks, contents, metrics

from charrnn import atomic, checkpoint
from charrnn.cli import progress
from charrnn.config import loader as configs
from charrnn.data import corpus
from charrnn.errors import CheckpointError
from charrnn.training import loop
from charrnn.training.trainer import Trainer

SETTINGS = {
    "train": {"steps": 60, "seed": 7, "seq_length": 5},
    "output": {"validate_every": 10},
}
FILES = ("small.npz",)


def no_space(*_, **__):
    """Raise OSError, as a function of the system does on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def at_step(monkeypatch):
    """Return a function that sets an action before the validations at `steps`.

    Before all other validations, `otherwise` is called.
    """

    def at_step(steps, action, otherwise=lambda: None):
        validate = Trainer.validate

        def act_and_validate(trainer, stop_requested):
            (action if trainer.step in steps else otherwise)()
            return validate(trainer, stop_requested)

        monkeypatch.setattr(Trainer, "validate", act_and_validate)

    return at_step


@pytest.fixture
def full_disk(monkeypatch, at_step):
    """Return a function that makes a function of a module fail in the saves at `steps`.

    `steps` is a container, and the test may change it later.
    """

    def full_disk(steps, module, name):
        original = getattr(module, name)
        at_step(
            steps,
            lambda: monkeypatch.setattr(module, name, no_space),
            lambda: monkeypatch.setattr(module, name, original),
        )

    return full_disk


@pytest.fixture
def expected_files(config, charrnn, tmp_path):
    """Return the contents of `files` after a run without faults, and delete these files."""
    config(**SETTINGS)
    assert charrnn("train", tmp_path / "small.yaml", "-q").exit_code == 0
    expected = files(tmp_path)
    for name in (*FILES, "small.jsonl"):
        (tmp_path / name).unlink()
    return expected


def files(folder):
    """Return the contents of both checkpoints and of the metrics, without measured times."""
    return [contents(folder / name) for name in FILES], metrics(folder / "small.jsonl")


FAULTS = [(os, "fsync"), (os, "replace"), (np.lib.format, "write_array")]


@pytest.mark.parametrize(("module", "name"), FAULTS)
def test_a_disk_that_is_full_for_a_while_loses_no_data(
    config, charrnn, tmp_path, full_disk, expected_files, module, name
):
    """Each failed save prints one line, also with -q, and the final files are complete."""
    full_disk({20, 30}, module, name)
    result = charrnn("train", tmp_path / "small.yaml", "-q")
    path = tmp_path / "small.npz"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert result.stderr.splitlines() == [
        f"step {step}: {path} cannot be written: No space left on device; the next save tries again"
        for step in (20, 30)
    ]
    assert files(tmp_path) == expected_files
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize(("module", "name"), FAULTS)
def test_a_disk_that_stays_full_ends_in_exit_code_1(
    config, charrnn, tmp_path, full_disk, expected_files, module, name
):
    """When the last save fails, the earlier checkpoint is valid, and resuming completes the run."""
    steps = {30, 40, 50, 60}
    full_disk(steps, module, name)
    result = charrnn("train", tmp_path / "small.yaml", "-q")
    path = tmp_path / "small.npz"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[3:] == [
        f"Error: {path} cannot be written: No space left on device. Step 60 is not saved, but step "
        f"20 is. Free disk space, and resume from it: charrnn train {path} --resume"
    ]
    assert checkpoint.load(str(path)).step == 20
    steps.clear()
    assert charrnn("train", path, "--resume", "-q").exit_code == 0
    assert files(tmp_path) == expected_files


def test_a_run_that_never_saved_reports_it(config, charrnn, tmp_path, full_disk):
    """A run without any successful save prints that no step is saved, and leaves no file."""
    full_disk(range(100), os, "replace")
    result = charrnn("train", config(**SETTINGS), "-q")
    assert result.exit_code == 1
    assert (
        "Step 60 is not saved, and no step before it. Free disk space, or choose" in result.stderr
    )
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
    assert result.stderr.count("the next save tries again") == 5


def test_a_file_size_limit_leaves_the_earlier_file(config, charrnn, tmp_path, at_step):
    """When the system ends a write in the middle, the run prints one line and continues."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit_file_size(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    at_step((20,), lambda: limit_file_size(2000), lambda: limit_file_size(soft))
    try:
        result = charrnn("train", config(**SETTINGS), "-q")
    finally:
        limit_file_size(soft)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "step 20: " in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr
    assert len(metrics(tmp_path / "small.jsonl")) == 6


def test_a_resumed_run_removes_invalid_lines_of_metrics(config, charrnn, tmp_path, expected_files):
    """A resumed run drops incomplete and foreign lines from the metrics."""
    path = tmp_path / "small.jsonl"
    assert charrnn("train", tmp_path / "small.yaml", "--set", "train.steps=30", "-q").exit_code == 0
    written = path.read_bytes()
    path.write_bytes(written + b"no line\n" + written.splitlines()[-1][:20])
    options = ("--resume", "--set", "train.steps=60", "-q")
    assert charrnn("train", tmp_path / "small.npz", *options).exit_code == 0
    assert metrics(path) == expected_files[1]


def test_the_best_weights_are_saved_late_if_need_be(config, charrnn, tmp_path, full_disk):
    """A checkpoint has the weights of the best validation also if the save there failed."""
    rate = {"learning_rate": 0.7}
    assert charrnn("train", config(**SETTINGS, optimizer=rate), "-q").exit_code == 0
    best = checkpoint.load(str(tmp_path / "small.npz")).training_state["best_step"]
    assert best < 50, "the validation loss of this run must rise before its end"
    expected = files(tmp_path)
    for name in FILES:
        (tmp_path / name).unlink()
    full_disk({best, best + 10}, os, "replace")
    assert charrnn("train", tmp_path / "small.yaml", "-q").exit_code == 0
    assert files(tmp_path) == expected


def test_a_failed_write_of_the_metrics_is_an_error(config, charrnn, tmp_path, at_step):
    """When only the metrics fail, the checkpoint is saved; exit code 1."""
    blocked = "small.jsonl"
    at_step((10,), (tmp_path / blocked).mkdir)
    result = charrnn("train", config(**SETTINGS), "-q")
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"Error: {tmp_path / blocked} cannot be written: ")
    assert "The checkpoint of step 60 is saved" in error
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 60


@pytest.mark.parametrize("blocked", ["small.jsonl", "small.old.npz"])
def test_a_folder_with_the_name_of_a_file_is_an_error_before_training(
    config, charrnn, tmp_path, blocked
):
    """A folder with the name of an output file is an error before the first step."""
    (tmp_path / blocked).mkdir()
    result = charrnn("train", config(**SETTINGS))
    assert result.exit_code == 1
    assert f"{blocked} is a folder" in result.stderr
    assert not (tmp_path / "small.npz").exists()


def test_a_removed_folder_is_created_again(config, charrnn, tmp_path, at_step, expected_files):
    """A save creates a removed folder again, with the metrics of earlier validations."""
    out = tmp_path / "deep" / "runs" / "small.npz"
    at_step((30,), lambda: shutil.rmtree(tmp_path / "deep"))
    result = charrnn("train", tmp_path / "small.yaml", "--out", out, "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert checkpoint.load(str(out)).step == 60
    assert metrics(out.with_suffix(".jsonl")) == expected_files[1]
    assert not [name for name in os.listdir(out.parent) if name.startswith(".")]


def test_a_folder_that_cannot_be_created_is_a_failed_save(config, charrnn, tmp_path, at_step):
    """Saves fail while a disk is removed, and succeed after it is back."""
    folder, moved = tmp_path / "runs", tmp_path / "moved"

    def remove():
        if folder.is_dir():
            folder.rename(moved)
            folder.write_text("not a folder")

    def put_back():
        if moved.is_dir():
            folder.unlink()
            moved.rename(folder)

    at_step((30, 40), remove, put_back)
    result = charrnn("train", config(**SETTINGS), "--out", folder / "small.npz", "-q")
    assert result.exit_code == 0, result.stderr
    assert [line.partition(" cannot")[0] for line in result.stderr.splitlines()] == [
        f"step {step}: {folder / 'small.npz'}" for step in (30, 40)
    ]
    assert checkpoint.load(str(folder / "small.npz")).step == 60
    assert len(metrics(folder / "small.jsonl")) == 6


def test_a_folder_that_becomes_read_only_is_a_failed_save(config, charrnn, tmp_path, at_step):
    """Saves fail while the folder is read-only, and succeed after it is writable again."""
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user can write to read-only folders")
    folder.chmod(0o700)
    at_step((30, 40), lambda: folder.chmod(0o500), lambda: folder.chmod(0o700))
    out = folder / "small.npz"
    result = charrnn("train", config(**SETTINGS), "--out", out, "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == [
        f"step {step}: {out} cannot be written: Permission denied; the next save tries again"
        for step in (30, 40)
    ]
    folder.chmod(0o500)
    result = charrnn("train", out, "--resume")
    folder.chmod(0o700)
    assert result.exit_code == 1
    assert f"{folder} cannot be written: Permission denied" in result.stderr


def test_a_run_that_is_stopped_and_cannot_save_fails(config, charrnn, monkeypatch, full_disk):
    """A stopped run that cannot save ends with exit code 1, because 130 means that it is saved."""
    full_disk({20, 30}, os, "fsync")

    def stop(reporter, trainer, point):
        reporter._stop_requested = point.step == 30

    monkeypatch.setattr(progress.ProgressReporter, "on_validation", stop)
    result = charrnn("train", config(**SETTINGS))
    assert result.exit_code == 1
    assert "No space left on device. Step 30 is not saved, but step 10 is." in result.stderr


@pytest.mark.parametrize(
    ("override", "exit_code"),
    [("train.seq_length=400", 1), ("optimizer.learning_rate=1e38", 3)],
)
def test_a_start_that_fails_leaves_no_file(config, charrnn, tmp_path, override, exit_code):
    """A run that fails before its first save leaves no metrics, lock or partial file."""
    text = "tick tock " * 30
    path = config(text, "stream", optimizer={"name": "sgd", "clip": None}, **SETTINGS)
    result = charrnn("train", path, "--set", override)
    assert result.exit_code == exit_code, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]


def test_a_run_that_fails_before_a_save_leaves_earlier_files(config, charrnn, tmp_path):
    """A run that fails before its first save leaves an earlier checkpoint and its metrics."""
    path = config("tick tock " * 30, "stream", optimizer={"name": "sgd", "clip": None}, **SETTINGS)
    assert charrnn("train", path, "-q", "--set", "optimizer.learning_rate=0.01").exit_code == 0
    before = [(tmp_path / name).read_bytes() for name in ("small.npz", "small.jsonl")]
    assert charrnn("train", path, "-q", "--set", "optimizer.learning_rate=1e38").exit_code == 3
    assert [(tmp_path / name).read_bytes() for name in ("small.npz", "small.jsonl")] == before


def test_a_diverged_run_that_could_not_save_ends_as_diverged(
    config, charrnn, tmp_path, full_disk, monkeypatch
):
    """A run that diverges after failed saves ends with exit code 3, not 1."""
    full_disk({20, 30}, os, "replace")
    validate = Trainer.validate

    def validate_and_diverge(trainer, stop_requested):
        report = validate(trainer, stop_requested)
        if trainer.step == 30:
            trainer.params.flat[0] = np.nan
        return report

    monkeypatch.setattr(Trainer, "validate", validate_and_diverge)
    assert charrnn("train", config(**SETTINGS), "-q").exit_code == 3
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


def test_run_raises_the_error_that_the_command_prints(config, tmp_path, full_disk, monkeypatch):
    """A Python call of `loop.run` raises the last failure and reports the others as warnings."""
    full_disk(range(100), os, "replace")
    settings = configs.load(str(config(**SETTINGS)))
    trainer = Trainer(settings, corpus.read_corpus(settings.corpus, 7))
    messages = []
    monkeypatch.setattr(RecordingCallbacks, "on_warning", lambda _, text: messages.append(text))
    with pytest.raises(CheckpointError, match="no step before it"):
        loop.run(trainer, str(tmp_path / "small.npz"), RecordingCallbacks())
    assert [message.split(":")[0] for message in messages] == [f"step {n}0" for n in range(1, 6)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_written_to_and_not_replaced(tmp_path):
    """`replace_file` writes into a named pipe instead of replacing it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic.replace_file(pipe) as stream:
        stream.write(b"a page")
    assert os.read(reader, 100) == b"a page"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
