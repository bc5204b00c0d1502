"""Real processes: closed pipes, signals, encodings of the terminal, and resumed runs."""

import contextlib
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from processes import CHARRNN, read_until, start
from run_helpers import LINES
from tqdm import tqdm

import charrnn as package
from charrnn import checkpoint
from charrnn.cli.progress import ProgressReporter
from charrnn.training.state import TrainingState


def test_a_closed_pipe_ends_a_text_quietly(trained):
    """`charrnn sample CKPT --n -1 | head -c 100` exits with 0 and without a message."""
    with start("sample", trained, "--n", -1, "-q") as process:
        text = process.stdout.read(100)
        process.stdout.close()
        stderr = process.stderr.read()
        assert process.wait(60) == 0
    assert (len(text), stderr) == (100, b"")


def test_a_checkpoint_may_come_through_a_pipe(charrnn, trained):
    """`charrnn sample <(cat CKPT)` and `charrnn sample - < CKPT` print the same as with a file."""
    raw = Path(trained).read_bytes()
    expected = charrnn("sample", trained, "--seed", 1).stdout
    read_fd, write_fd = os.pipe()
    with open(read_fd, "rb"), open(write_fd, "wb", buffering=0) as pipe:
        assert pipe.write(raw) == len(raw)
        pipe.close()
        assert charrnn("sample", f"/dev/fd/{read_fd}", "--seed", 1).stdout == expected
    assert charrnn("sample", "-", "--seed", 1, stdin=raw).stdout == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_saved_and_prints_how_to_resume(config, tmp_path, number):
    """A run stopped by a signal saves, prints the command that resumes it and exits with 130."""
    path = tmp_path / "small.npz"
    with start("train", config(train={"steps": 10**9, "seed": 7})) as process:
        read_until(process, "initial loss")  # printed after the handlers are set
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == b""
    assert f"charrnn train {path} --resume" in stderr.decode()
    assert b"Traceback" not in stderr
    assert checkpoint.load(str(path)).step > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_is_one_stop(config, tmp_path, number):
    """After Ctrl-C in a terminal all ranks stop at the same step, and rank 0 saves."""
    train = {"steps": 10**9, "seed": 7, "batch_size": 4, "workers": 2}
    settings, path = config(train=train), tmp_path / "small.npz"
    with start("train", settings, start_new_session=True) as process:
        read_until(process, "step")
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.killpg(process.pid, number)
        _, stderr = process.communicate(timeout=60)
    assert len(workers) == 1
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert b"stopped at step" in stderr
    assert checkpoint.load(str(path)).step > 0
    assert not Path(f"/proc/{workers[0]}").exists()


# Replaces a function by one that first prints a line on stderr and waits for a byte on stdin, so
# that a signal can be sent while the function runs.
WAITING = """
import os, sys, {module}
original = {module}.{name}
def waiting(*arguments, **options):
    print("{line}", file=sys.stderr, flush=True)
    os.read(0, 1)
    return original(*arguments, **options)
{module}.{name} = waiting
"""
ENDLESS = {"train": {"steps": 10**9, "seed": 7}, "output": {"validate_every": 10**8}}


def start_waiting(function, line, *arguments):
    """Start charrnn with `module:name` replaced by a function that prints `line` and waits."""
    module, _, name = function.partition(":")
    code = WAITING.format(module=module, name=name, line=line)
    return start(*arguments, code=code, stdin=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("line", "function", "options"),
    [
        ("scoring", "charrnn.evaluation.evaluator:Evaluator._window", []),
        ("drawing", "charrnn.sampling.drawing:RowSampler.draw", []),
        (
            "scoring",
            "charrnn.evaluation.evaluator:Evaluator._window",
            ["--set", "output.sample_every=null"],
        ),
    ],
)
def test_a_stop_does_not_wait_for_a_validation_or_a_sample(
    config, charrnn, tmp_path, number, line, function, options
):
    """A signal ends a validation or a sample early, and the resumed run does it again."""
    settings = config(
        "tick tock " * 400,
        "stream",
        train={"steps": 20, "seed": 7},
        output={"validate_every": 10, "sample_every": 10},
    )
    path = tmp_path / "small.npz"
    with start_waiting(function, line, "train", settings, *options) as process:
        read_until(process, line)
        process.send_signal(number)
        stdout, stderr = process.communicate(b"go", timeout=60)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode().splitlines() == [
        f"stopped at step 10 of 20 and saved. To resume: charrnn train {path} --resume"
    ]
    stderr = charrnn("train", path, "--resume").stderr
    assert ["step 10/20" in stderr, "step 20/20" in stderr] == [True, True]
    if not options:
        assert ["sample at step 10" in stderr, "sample at step 20" in stderr] == [True, True]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_exits_during_a_save(config, charrnn, trained, tmp_path, second):
    """A second signal during a save exits at once and leaves the last checkpoint unchanged."""
    before, files = Path(trained).read_bytes(), sorted(os.listdir(tmp_path))
    options = ["--set", "train.steps=1000000000", "--set", "output.validate_every=100000000"]
    arguments = ["train", trained, "--resume", *options]
    with start_waiting("os:fsync", "saving", *arguments) as process:
        read_until(process, "resuming")
        process.send_signal(signal.SIGINT)
        read_until(process, "saving")
        process.send_signal(second)
        assert process.wait(60) == 130
        stdout, stderr = process.communicate()
    assert (stdout, stderr.decode().splitlines()) == (
        b"",
        ["stopped at once, without saving; the last checkpoint is unchanged"],
    )
    assert Path(trained).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == files


def test_a_second_signal_does_not_wait_for_the_last_message(config, tmp_path):
    """A second signal after the save exits at once, although the last message is blocked."""
    settings = config(**ENDLESS)
    with start_waiting("charrnn.cli.app:note", "last message", "train", settings) as process:
        read_until(process, "initial loss")
        process.send_signal(signal.SIGINT)
        read_until(process, "last message")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate() == (b"", b"")
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


def test_a_stop_while_the_corpus_is_read_exits_at_once(config, tmp_path):
    """A signal before training starts exits with 130 and leaves no file."""
    with start_waiting("charrnn.data.corpus:read_corpus", "reading", "train", config()) as process:
        read_until(process, "reading")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate() == (b"", b"")
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]


def test_a_signal_stops_a_run_whose_messages_are_blocked(config, tmp_path):
    """A run stops and saves although the line of its first validation cannot be written."""
    settings = config(train=ENDLESS["train"])
    code = """
import os, click
echo = click.echo
def waiting(message, **options):
    echo(message, **options)
    if "validation" in str(message):
        os.read(0, 1)
click.echo = waiting
"""
    with start("train", settings, code=code, stdin=subprocess.PIPE) as process:
        read_until(process, "step")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        assert b"stopped at step 10 of" in process.communicate()[1]
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 10


def test_a_stopped_run_is_saved_though_stderr_is_closed(config, tmp_path):
    """A stopped run with closed stderr saves and exits with 130."""
    with start("train", config(**ENDLESS)) as process:
        read_until(process, "initial loss")
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_hangs_up_stops_a_run_but_not_under_nohup(config, tmp_path, ignored):
    """SIGHUP saves and stops a run, except under nohup, which ignores the signal."""
    steps = 3000 if ignored else 10**9
    path = config(train={"steps": steps, "seed": 7}, output={"validate_every": 10**8})
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    with start("train", path, preexec_fn=lambda: signal.signal(signal.SIGHUP, handler)) as process:
        read_until(process, "initial loss")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == (0 if ignored else 130)
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


def test_a_bar_on_a_closed_terminal_does_not_end_the_run():
    """A run continues without messages when every write of its bar fails."""

    class ClosedTerminal(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ProgressReporter() as reporter:
        bar = tqdm(total=10, file=io.StringIO(), mininterval=0)
        reporter._bar, bar.fp = bar, ClosedTerminal()
        bar.sp = bar.status_printer(bar.fp)
        trainer = types.SimpleNamespace(training_state=TrainingState(), step=0)
        for trainer.step in (1, 2):
            reporter.on_step(trainer)
        reporter.on_end("not printed")
    # tqdm does not release its lock when a write fails; threads of a later test would wait for it.
    with contextlib.suppress(AssertionError, RuntimeError):
        while True:
            tqdm.get_lock().release()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_outside_the_encoding_of_stdout_are_escaped(charrnn, config, encoding):
    """A model of Greek text writes escapes to an ASCII terminal, and loses no character."""
    path = charrnn(
        "train", config("".join(f"{a}{b}γ\n" for a in "αβγδ" for b in "αβγδ")), "-q"
    ).stdout.strip()
    expected = charrnn("sample", path, "--n", 40, "--seed", 1, "-q").stdout
    with start(
        "sample", path, "--n", 40, "--seed", 1, env={**os.environ, "PYTHONIOENCODING": encoding}
    ) as process:
        text, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")
    assert text == expected.encode(encoding, "backslashreplace")
    assert set(expected) & set("αβγδ")


def test_python_m_charrnn_is_the_same_program():
    """`python -m charrnn` has the name, the messages and the exit codes of `charrnn`."""
    usage = subprocess.run([*CHARRNN, "-h"], capture_output=True, text=True)
    assert (usage.returncode, usage.stderr) == (0, "")
    assert usage.stdout.startswith("Usage: charrnn ")
    failure = subprocess.run([*CHARRNN, "info", "none.npz"], capture_output=True, text=True)
    assert (failure.returncode, failure.stdout) == (1, "")
    assert failure.stderr == "Error: none.npz: no such checkpoint\n"


@pytest.mark.parametrize("argument", ["config", "checkpoint"])
def test_resume_continues_from_the_checkpoint(charrnn, trained, tmp_path, argument):
    """A run resumed by its config or checkpoint ends with the weights of an uninterrupted run."""
    config, uninterrupted = tmp_path / "small.yaml", tmp_path / "uninterrupted.npz"
    source = config if argument == "config" else trained
    result = charrnn("train", source, "--resume", "--set", "train.steps=40")
    assert (result.exit_code, result.stdout) == (0, f"{trained}\n")
    assert "train.steps: 20 -> 40" in result.stderr
    assert "resuming at step 20 of 40" in result.stderr
    charrnn("train", config, "--set", "train.steps=40", "--out", uninterrupted)
    expected, resumed = checkpoint.load(str(uninterrupted)), checkpoint.load(trained)
    assert resumed.params.flat.tobytes() == expected.params.flat.tobytes()


def test_a_resumed_run_does_not_repeat_its_last_validation_and_sample(charrnn, config):
    """A resumed run starts after the validation and the sample of its checkpoint."""
    path = config(output={"sample_every": 10})
    assert "sample at step 20" in charrnn("train", path).stderr
    stderr = charrnn("train", path, "--resume", "--set", "train.steps=30").stderr
    assert ["step 20/" in stderr, "sample at step 20" in stderr] == [False, False]
    assert ["step 30/30" in stderr, "sample at step 30" in stderr] == [True, True]


def test_a_checkpoint_of_any_name_can_be_resumed(charrnn, config, tmp_path):
    """The command that `info` prints resumes a checkpoint whose name does not end in `.npz`."""
    out = tmp_path / "model.ckpt"
    assert charrnn("train", config(), "--out", out).exit_code == 0
    command = json.loads(charrnn("info", out, "--json").stdout)["resume"].split()
    assert command == ["charrnn", "train", str(out), "--resume"]
    assert charrnn(*command[1:], "--set", "train.steps=30").exit_code == 0
    assert checkpoint.load(str(out)).step == 30


def test_resume_refuses_another_network_or_text(charrnn, trained, tmp_path):
    """--resume with another network or text is an error, and the checkpoint stays unchanged."""
    before = Path(trained).read_bytes()
    network = charrnn("train", trained, "--resume", "--set", "model.hidden=9")
    (tmp_path / "corpus.txt").write_text(LINES.replace("karla", "klara"))
    text = charrnn("train", trained, "--resume")
    for result, difference in ((network, "model.hidden: 8 -> 9"), (text, "corpus: sha256 ")):
        assert result.exit_code == 1
        assert "another run" in result.stderr
        assert difference in result.stderr
    assert Path(trained).read_bytes() == before


def test_resume_may_change_the_learning_rate_and_the_path(charrnn, trained, tmp_path):
    """--resume prints a changed learning rate, and --out must name a checkpoint."""
    out = tmp_path / "copy.npz"
    command = ["train", trained, "--resume", "--out", out, "--set", "optimizer.learning_rate=0.05"]
    assert f"{out}: no such checkpoint" in charrnn(*command).stderr
    out.write_bytes(Path(trained).read_bytes())
    result = charrnn(*command)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert "changed since the checkpoint: optimizer.learning_rate: 0.1 -> 0.05" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ('eval "$1" - <&-', "Error: standard input is closed"),
        ('sample "$1" -q >&-', "Error: standard output is closed"),
        ('sample "$1" -q >/dev/full', "Error: the output cannot be written"),
        ('info "$1" >&-', "Error: standard output is closed"),
        ('info "$1" >/dev/full', "Error: the output cannot be written"),
        ("--version >&-", "Error: standard output is closed"),
        ("--version >/dev/full", "Error: the output cannot be written"),
        ("info --help >/dev/full", "Error: the output cannot be written"),
    ],
)
def test_a_closed_or_full_stream_is_an_error(trained, command, message):
    """A closed stdin, a closed stdout and a full disk are errors of one line, with exit code 1."""
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    result = subprocess.run(
        ["bash", "-c", f'"$0" -m charrnn {command}', sys.executable, trained],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_a_deleted_current_folder_is_an_error(tmp_path):
    """The error in a deleted current folder names the folder, not the output."""
    (tmp_path / "gone").mkdir()
    command = f'cd "{tmp_path}/gone" && rmdir ../gone && "$0" -m charrnn train x.yaml'
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent)}
    result = subprocess.run(
        ["bash", "-c", command, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "Error: the current folder no longer exists. Change to another one: cd FOLDER"
    ]


def test_other_errors_of_the_system_are_printed(charrnn, trained, monkeypatch):
    """The message of an OSError contains its file and the text of the system."""

    def fails(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "some/file")

    monkeypatch.setattr("charrnn.cli.info.facts", fails)
    result = charrnn("info", trained)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: some/file: {os.strerror(errno.EIO)}\n"


@pytest.mark.parametrize("name", ["corpus.npz", "corpus.old.npz", "corpus.jsonl"])
def test_training_does_not_write_over_its_corpus(charrnn, config, tmp_path, name):
    """Training refuses a corpus at the path of one of its output files."""
    path = config(name="corpus")
    text = tmp_path / name
    text.write_text(LINES, encoding="utf-8")
    result = charrnn("train", path, "--corpus", text, "-q")
    assert result.exit_code == 2
    assert "is the corpus, and training would overwrite it" in result.stderr
    assert text.read_text(encoding="utf-8") == LINES


@pytest.mark.parametrize("name", ["small.yaml", "small.jsonl"])
def test_training_does_not_write_over_its_config(charrnn, config, tmp_path, name):
    """Training refuses a config at the path of one of its output files."""
    path = config().rename(tmp_path / name)
    before = path.read_bytes()
    out = path if name == "small.yaml" else tmp_path / "small.npz"
    result = charrnn("train", path, "--out", out, "-q")
    assert result.exit_code == 2
    assert "is the config, and training would overwrite it" in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("command", ["train {} --force", "sample {}", "info {} none.npz"])
def test_a_message_that_cannot_be_printed_costs_no_result(
    config, trained, tmp_path, command, redirection
):
    """Stderr that was closed before the start, or that is full, does not stop a command."""
    path = shlex.quote(str(config()) if command.startswith("train") else trained)
    result = subprocess.run(
        ["bash", "-c", f'"$0" -m charrnn {command.format(path)} {redirection}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == (1 if "none.npz" in command else 0)
    assert result.stdout


def test_training_continues_when_stderr_is_closed(config, tmp_path):
    """A run whose stderr is closed ends normally and writes its checkpoint."""
    path = config(train={"steps": 4000}, output={"validate_every": 200})
    process = start("train", path)
    process.stderr.readline()
    process.stderr.close()
    assert process.stdout.read().decode().strip() == str(tmp_path / "small.npz")
    process.stdout.close()
    assert process.wait() == 0
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 4000
