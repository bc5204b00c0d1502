"""Full disks, folders that are locked or gone: training goes on, and what was saved stays."""

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
    "output": {"validate_every": 10, "keep": "best"},
}
FILES = ("small.npz", "small.best.npz")


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def at_step(monkeypatch):
    """Calls a function before the validation at each of some steps, and another at all others."""

    def at_step(steps, here, elsewhere=lambda: None):
        validate = Trainer.validate

        def after(trainer, check):
            (here if trainer.step in steps else elsewhere)()
            return validate(trainer, check)

        monkeypatch.setattr(Trainer, "validate", after)

    return at_step


@pytest.fixture
def full_disk(monkeypatch, at_step):
    """Lets one function of the system fail in the saves at a set of steps, until it is emptied."""

    def full_disk(steps, module, name):
        true = getattr(module, name)
        at_step(
            steps,
            lambda: monkeypatch.setattr(module, name, no_space),
            lambda: monkeypatch.setattr(module, name, true),
        )

    return full_disk


@pytest.fixture
def whole(config, charrnn, tmp_path):
    """The files of a run that nothing happened to: two checkpoints and the metrics."""
    config(**SETTINGS)
    assert charrnn("train", tmp_path / "small.yaml", "-q").exit_code == 0
    found = files(tmp_path)
    for name in (*FILES, "small.jsonl"):
        (tmp_path / name).unlink()
    return found


def files(folder):
    return [contents(folder / name) for name in FILES], metrics(folder / "small.jsonl")


FAULTS = [(os, "fsync"), (os, "replace"), (np.lib.format, "write_array")]


@pytest.mark.parametrize(("module", "name"), FAULTS)
def test_a_full_disk_for_a_while_costs_nothing(
    config, charrnn, tmp_path, full_disk, whole, module, name
):
    """Each failed save is one line, also with -q, and in the end all files are the same."""
    full_disk({20, 30}, module, name)
    result = charrnn("train", tmp_path / "small.yaml", "-q")
    path = tmp_path / "small.npz"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert result.stderr.splitlines() == [
        f"step {step}: {path} cannot be written: No space left on device; the next save tries again"
        for step in (20, 30)
    ]
    assert files(tmp_path) == whole
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize(("module", "name"), FAULTS)
def test_a_disk_that_stays_full_ends_in_exit_code_1(
    config, charrnn, tmp_path, full_disk, whole, module, name
):
    """The checkpoint before it is whole, and the command that is named ends as if nothing was."""
    steps = {30, 40, 50, 60}
    full_disk(steps, module, name)
    result = charrnn("train", tmp_path / "small.yaml", "-q")
    path = tmp_path / "small.npz"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[3:] == [
        f"Error: {path} cannot be written: No space left on device. Step 60 is not saved, but step "
        f"20 is. Make room there, and resume from it: charrnn train {path} --resume"
    ]
    assert checkpoint.load(str(path)).step == 20
    steps.clear()
    assert charrnn("train", path, "--resume", "-q").exit_code == 0
    assert files(tmp_path) == whole


def test_a_run_that_could_never_save_says_so(config, charrnn, tmp_path, full_disk):
    """There is nothing to resume."""
    full_disk(range(100), os, "replace")
    result = charrnn("train", config(**SETTINGS), "-q")
    assert result.exit_code == 1
    assert "Step 60 is not saved, nor is any before it. Make room, or choose" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]
    assert result.stderr.count("the next save tries again") == 5


def test_a_file_that_may_not_grow_leaves_the_one_before(config, charrnn, tmp_path, at_step):
    """The system itself breaks off in the middle of a write, and the program says one line."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    at_step((20,), lambda: limit(2000), lambda: limit(soft))
    try:
        result = charrnn("train", config(**SETTINGS), "-q")
    finally:
        limit(soft)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "step 20: " in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr
    assert len(metrics(tmp_path / "small.jsonl")) == 6


def test_half_a_line_of_metrics_is_mended(config, charrnn, tmp_path, whole):
    """It goes when the run that it is of goes on, and so does all that is no line of its own."""
    path = tmp_path / "small.jsonl"
    assert charrnn("train", tmp_path / "small.yaml", "--set", "train.steps=30", "-q").exit_code == 0
    written = path.read_bytes()
    path.write_bytes(written + b"no line\n" + written.splitlines()[-1][:20])
    words = ("--resume", "--set", "train.steps=60", "-q")
    assert charrnn("train", tmp_path / "small.npz", *words).exit_code == 0
    assert metrics(path) == whole[1]


def test_the_best_checkpoint_is_written_later_as_it_was(config, charrnn, tmp_path, full_disk):
    """Its weights are kept while the run goes on with its own."""
    rate = {"learning_rate": 0.7}
    assert charrnn("train", config(**SETTINGS, optimizer=rate), "-q").exit_code == 0
    best = checkpoint.load(str(tmp_path / "small.best.npz")).step
    assert best < 50, "this run is meant to get worse before its end"
    whole = files(tmp_path)
    for name in FILES:
        (tmp_path / name).unlink()
    full_disk({best, best + 10}, os, "replace")
    assert charrnn("train", tmp_path / "small.yaml", "-q").exit_code == 0
    assert files(tmp_path) == whole


@pytest.mark.parametrize("blocked", ["small.jsonl", "small.best.npz"])
def test_what_stands_beside_the_checkpoint_counts_too(config, charrnn, tmp_path, at_step, blocked):
    """The checkpoint is saved all the same; at the end the exit code tells of the rest."""
    at_step((10,), (tmp_path / blocked).mkdir)
    result = charrnn("train", config(**SETTINGS), "-q")
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"Error: {tmp_path / blocked} cannot be written: ")
    assert "The checkpoint of step 60 is saved" in error
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 60


@pytest.mark.parametrize("blocked", ["small.jsonl", "small.best.npz"])
def test_a_folder_in_the_place_of_a_file_is_found_before_training(
    config, charrnn, tmp_path, blocked
):
    """Not after hours of it."""
    (tmp_path / blocked).mkdir()
    result = charrnn("train", config(**SETTINGS))
    assert result.exit_code == 1
    assert f"{blocked} is a folder" in result.stderr
    assert not (tmp_path / "small.npz").exists()


def test_a_folder_that_is_removed_is_made_again(config, charrnn, tmp_path, at_step, whole):
    """With all that belongs into it, the metrics of earlier validations too."""
    out = tmp_path / "deep" / "runs" / "small.npz"
    at_step((30,), lambda: shutil.rmtree(tmp_path / "deep"))
    result = charrnn("train", tmp_path / "small.yaml", "--out", out, "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert checkpoint.load(str(out)).step == 60
    assert metrics(out.with_suffix(".jsonl")) == whole[1]
    assert not [name for name in os.listdir(out.parent) if name.startswith(".")]


def test_a_folder_that_cannot_be_made_again_is_a_failed_save(config, charrnn, tmp_path, at_step):
    """As when a disk is taken away and brought back."""
    folder, away = tmp_path / "runs", tmp_path / "away"

    def take():
        if folder.is_dir():
            folder.rename(away)
            folder.write_text("not a folder")

    def bring():
        if away.is_dir():
            folder.unlink()
            away.rename(folder)

    at_step((30, 40), take, bring)
    result = charrnn("train", config(**SETTINGS), "--out", folder / "small.npz", "-q")
    assert result.exit_code == 0, result.stderr
    assert [line.partition(" cannot")[0] for line in result.stderr.splitlines()] == [
        f"step {step}: {folder / 'small.npz'}" for step in (30, 40)
    ]
    assert checkpoint.load(str(folder / "small.npz")).step == 60
    assert len(metrics(folder / "small.jsonl")) == 6


def test_a_folder_that_becomes_read_only_is_a_failed_save(config, charrnn, tmp_path, at_step):
    """And when it can be written again, so are the files."""
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("nothing is read-only to this user")
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
    """Exit code 1, because 130 says that it was saved."""
    full_disk({20, 30}, os, "fsync")

    def stop(watch, report):
        watch._asked = report.step == 30

    monkeypatch.setattr(progress.ProgressReporter, "on_validation", stop)
    result = charrnn("train", config(**SETTINGS))
    assert result.exit_code == 1
    assert "No space left on device. Step 30 is not saved, but step 10 is." in result.stderr


@pytest.mark.parametrize(
    ("sabotage", "code"),
    [("train.seq_length=400", 1), ("optimizer.learning_rate=1e38", 3)],
)
def test_a_start_that_fails_leaves_no_file(config, charrnn, tmp_path, sabotage, code):
    """No empty metrics, no lock, nothing half done."""
    text = "tick tock " * 30
    path = config(text, "stream", optimizer={"name": "sgd", "clip": None}, **SETTINGS)
    result = charrnn("train", path, "--set", sabotage)
    assert result.exit_code == code, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]


def test_the_metrics_of_an_earlier_run_go_with_its_checkpoint(config, charrnn, tmp_path):
    """A run that fails before its first save leaves both as they are."""
    path = config("tick tock " * 30, "stream", optimizer={"name": "sgd", "clip": None}, **SETTINGS)
    assert charrnn("train", path, "-q", "--set", "optimizer.learning_rate=0.01").exit_code == 0
    before = [(tmp_path / name).read_bytes() for name in ("small.npz", "small.jsonl")]
    assert charrnn("train", path, "-q", "--set", "optimizer.learning_rate=1e38").exit_code == 3
    assert [(tmp_path / name).read_bytes() for name in ("small.npz", "small.jsonl")] == before


def test_a_diverged_run_is_diverged_also_when_it_could_not_save(
    config, charrnn, tmp_path, full_disk, monkeypatch
):
    """Exit code 3 tells more than 1."""
    full_disk({20, 30}, os, "replace")
    true_validate = Trainer.validate

    def spoil(trainer, check):
        report = true_validate(trainer, check)
        if trainer.step == 30:
            trainer.params.flat[0] = np.nan
        return report

    monkeypatch.setattr(Trainer, "validate", spoil)
    assert charrnn("train", config(**SETTINGS), "-q").exit_code == 3
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


def test_run_raises_what_the_command_says(config, tmp_path, full_disk, monkeypatch):
    """For those who call it from Python."""
    full_disk(range(100), os, "replace")
    settings = configs.load(str(config(**SETTINGS)))
    trainer = Trainer(settings, corpus.read_corpus(settings.corpus, 7))
    told = []
    monkeypatch.setattr(RecordingCallbacks, "on_warning", lambda _, message: told.append(message))
    with pytest.raises(CheckpointError, match="nor is any before it"):
        loop.run(trainer, str(tmp_path / "small.npz"), RecordingCallbacks())
    assert [message.split(":")[0] for message in told] == [f"step {n}0" for n in range(1, 6)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    """A device or a named pipe is not replaced by a file of the same name."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic.replace_file(pipe) as stream:
        stream.write(b"a page")
    assert os.read(reading, 100) == b"a page"
    os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
