"""Real processes: closed pipes, signals, terminals that lack characters; and runs resumed."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import CHARRNN, read_until, start
from run_helpers import LINES
from tqdm import tqdm

import charrnn as package
from charrnn import checkpoint
from charrnn.cli.progress import ProgressReporter


def test_a_closed_pipe_ends_a_text_quietly(trained):
    """As in `charrnn sample CKPT --n -1 | head -c 100`."""
    with start("sample", trained, "--n", -1, "-q") as process:
        text = process.stdout.read(100)
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert (len(text), said) == (100, b"")


def test_a_checkpoint_may_come_through_a_pipe(charrnn, trained):
    """As in `charrnn sample <(cat CKPT)`, or as `-` from standard input."""
    raw = Path(trained).read_bytes()
    expected = charrnn("sample", trained, "--seed", 1).stdout
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb", buffering=0) as pipe:
        assert pipe.write(raw) == len(raw)
        pipe.close()
        assert charrnn("sample", f"/dev/fd/{reading}", "--seed", 1).stdout == expected
    assert charrnn("sample", "-", "--seed", 1, stdin=raw).stdout == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_saved_and_tells_how_to_go_on(config, tmp_path, number):
    """Exit code 130; the command it names goes on from there."""
    path = tmp_path / "small.npz"
    with start("train", config(train={"steps": 10**9, "seed": 7})) as process:
        read_until(process, "initial loss")  # the handlers are set before it is told
        process.send_signal(number)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    assert f"charrnn train {path} --resume" in said.decode()
    assert b"Traceback" not in said
    assert checkpoint.load(str(path)).step > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run_is_one_stop(config, tmp_path, number):
    """As Ctrl-C in a terminal: all ranks stop after the same step, and the first one saves."""
    train = {"steps": 10**9, "seed": 7, "batch_size": 4, "workers": 2}
    settings, path = config(train=train), tmp_path / "small.npz"
    with start("train", settings, start_new_session=True) as process:
        read_until(process, "step")
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert len(workers) == 1
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert b"stopped at step" in said
    assert checkpoint.load(str(path)).step > 0
    assert not Path(f"/proc/{workers[0]}").exists()


# Lets a function of the program say a word on stderr and wait, so that a signal can meet it there.
WAITING = """
import os, sys, {module}
true = {module}.{name}
def waiting(*arguments, **options):
    print("{word}", file=sys.stderr, flush=True)
    os.read(0, 1)
    return true(*arguments, **options)
{module}.{name} = waiting
"""
ENDLESS = {"train": {"steps": 10**9, "seed": 7}, "output": {"validate_every": 10**8}}


def start_waiting(where, word, *words):
    module, _, name = where.partition(":")
    code = WAITING.format(module=module, name=name, word=word)
    return start(*words, code=code, stdin=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("word", "where", "then"),
    [
        ("scoring", "charrnn.evaluation.evaluator:Evaluator._window", []),
        ("drawing", "charrnn.sampling.sampler:RowSampler.draw", []),
        (
            "scoring",
            "charrnn.evaluation.evaluator:Evaluator._window",
            ["--set", "output.sample_every=null"],
        ),
    ],
)
def test_a_stop_does_not_wait_for_a_validation_or_a_sample(
    config, charrnn, tmp_path, number, word, where, then
):
    """Neither for more than one part of it; both are done when the run goes on."""
    settings = config(
        "tick tock " * 400,
        "stream",
        train={"steps": 20, "seed": 7},
        output={"validate_every": 10, "sample_every": 10},
    )
    path = tmp_path / "small.npz"
    with start_waiting(where, word, "train", settings, *then) as process:
        read_until(process, word)
        process.send_signal(number)
        printed, said = process.communicate(b"go", timeout=60)
    assert (process.returncode, printed) == (130, b"")
    assert said.decode().splitlines() == [
        f"Error: stopped at step 10 of 20 and saved. To go on: charrnn train {path} --resume"
    ]
    said = charrnn("train", path, "--resume").stderr
    assert ["step 10/20" in said, "step 20/20" in said] == [True, True]
    if not then:
        assert ["sample at step 10" in said, "sample at step 20" in said] == [True, True]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_in_the_middle_of_a_save(config, charrnn, trained, tmp_path, second):
    """Without a traceback; the checkpoint before it is whole, and nothing else is left."""
    before, there = Path(trained).read_bytes(), sorted(os.listdir(tmp_path))
    longer = ["--set", "train.steps=1000000000", "--set", "output.validate_every=100000000"]
    words = ["train", trained, "--resume", *longer]
    with start_waiting("os:fsync", "saving", *words) as process:
        read_until(process, "resuming")
        process.send_signal(signal.SIGINT)
        read_until(process, "saving")
        process.send_signal(second)
        assert process.wait(60) == 130
        printed, said = process.communicate()
    assert (printed, said.decode().splitlines()) == (
        b"",
        ["Error: stopped at once, without saving; the last checkpoint is unchanged"],
    )
    assert Path(trained).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == there


def test_a_second_signal_does_not_wait_for_the_last_words(config, tmp_path):
    """Nobody may be reading them; the run is saved."""
    with start_waiting("charrnn.cli.app:note", "last words", "train", config(**ENDLESS)) as process:
        read_until(process, "initial loss")
        process.send_signal(signal.SIGINT)
        read_until(process, "last words")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate() == (b"", b"")
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


def test_a_stop_while_the_corpus_is_read_leaves_at_once(config, tmp_path):
    """There is nothing to save, so no file is left either."""
    with start_waiting("charrnn.data.corpus:read_corpus", "reading", "train", config()) as process:
        read_until(process, "reading")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate() == (b"", b"")
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "small.yaml"]


def test_a_stop_gets_through_to_a_run_whose_messages_nobody_takes(config, tmp_path):
    """Here the line of the first validation waits for a reader who never comes."""
    settings = config(train=ENDLESS["train"])
    code = """
import os, click
echo = click.echo
def waiting(message, **options):
    echo(message, **options)
    if "smooth loss" in str(message):
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
    """The exit code is all that is left to tell it by."""
    with start("train", config(**ENDLESS)) as process:
        read_until(process, "initial loss")
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_hangs_up_stops_a_run_but_not_under_nohup(config, tmp_path, ignored):
    """It is saved, as at any other end that comes from outside."""
    steps = 3000 if ignored else 10**9
    path = config(train={"steps": steps, "seed": 7}, output={"validate_every": 10**8})
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    with start("train", path, preexec_fn=lambda: signal.signal(signal.SIGHUP, handler)) as process:
        read_until(process, "initial loss")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == (0 if ignored else 130)
    assert checkpoint.load(str(tmp_path / "small.npz")).step > 0


def test_a_bar_on_a_terminal_that_is_gone_does_not_end_the_run():
    """Every write to it fails, and the run goes on in silence."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ProgressReporter() as watch:
        bar = tqdm(total=10, file=io.StringIO(), mininterval=0)
        watch._bar, bar.fp = bar, Gone()
        bar.sp = bar.status_printer(bar.fp)
        watch.on_step(1, 2.0)
        watch.on_step(2, 2.0)
        watch.on_end("unheard")
    # tqdm keeps its lock when a write fails, and threads of a later test would wait for ever.
    with contextlib.suppress(AssertionError, RuntimeError):
        while True:
            tqdm.get_lock().release()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_a_terminal_lacks_are_escaped(charrnn, config, encoding):
    """A model of Greek writes to an ASCII terminal, and nothing is lost."""
    path = charrnn(
        "train", config("".join(f"{a}{b}γ\n" for a in "αβγδ" for b in "αβγδ")), "-q"
    ).stdout.strip()
    expected = charrnn("sample", path, "--n", 40, "--seed", 1, "-q").stdout
    with start(
        "sample", path, "--n", 40, "--seed", 1, env={**os.environ, "PYTHONIOENCODING": encoding}
    ) as process:
        text, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert text == expected.encode(encoding, "backslashreplace")
    assert set(expected) & set("αβγδ")


def test_python_m_charrnn_is_the_same_program():
    """Under its own name in the usage line, and with its exit codes."""
    good = subprocess.run([*CHARRNN, "-h"], capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("Usage: charrnn ")
    bad = subprocess.run([*CHARRNN, "info", "none.npz"], capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "Error: none.npz: no such checkpoint\n"


@pytest.mark.parametrize("by", ["config", "checkpoint"])
def test_resume_goes_on_where_the_checkpoint_stopped(charrnn, trained, tmp_path, by):
    """Both ways to name the run end with the weights of one that was never stopped."""
    config, whole = tmp_path / "small.yaml", tmp_path / "whole.npz"
    what = config if by == "config" else trained
    result = charrnn("train", what, "--resume", "--set", "train.steps=40")
    assert (result.exit_code, result.stdout) == (0, f"{trained}\n")
    assert "train.steps: 20 -> 40" in result.stderr
    assert "resuming at step 20 of 40" in result.stderr
    charrnn("train", config, "--set", "train.steps=40", "--out", whole)
    expected, found = checkpoint.load(str(whole)), checkpoint.load(trained)
    assert found.params.flat.tobytes() == expected.params.flat.tobytes()


def test_what_was_shown_is_not_shown_again(charrnn, config):
    """A resumed run begins after the validation and the sample that it was saved with."""
    path = config(output={"sample_every": 10})
    assert "sample at step 20" in charrnn("train", path).stderr
    said = charrnn("train", path, "--resume", "--set", "train.steps=30").stderr
    assert ["step 20/" in said, "sample at step 20" in said] == [False, False]
    assert ["step 30/30" in said, "sample at step 30" in said] == [True, True]


def test_a_checkpoint_of_any_name_can_be_resumed_as_info_says(charrnn, config, tmp_path):
    """A checkpoint is known by what is in it, not by `.npz`."""
    out = tmp_path / "model.ckpt"
    assert charrnn("train", config(), "--out", out).exit_code == 0
    command = json.loads(charrnn("info", out, "--json").stdout)["resume"].split()
    assert command == ["charrnn", "train", str(out), "--resume"]
    assert charrnn(*command[1:], "--set", "train.steps=30").exit_code == 0
    assert checkpoint.load(str(out)).step == 30


def test_resume_refuses_another_network_or_text(charrnn, trained, tmp_path):
    """The difference is named, and the checkpoint stays."""
    before = Path(trained).read_bytes()
    hidden = charrnn("train", trained, "--resume", "--set", "model.hidden=9")
    (tmp_path / "corpus.txt").write_text(LINES.replace("karla", "klara"))
    text = charrnn("train", trained, "--resume")
    for result, difference in ((hidden, "model.hidden: 8 -> 9"), (text, "corpus: sha256 ")):
        assert result.exit_code == 1
        assert "another run" in result.stderr
        assert difference in result.stderr
    assert Path(trained).read_bytes() == before


def test_resume_may_change_rate_and_place_and_says_so(charrnn, trained, tmp_path):
    """Each change is a line on stderr; there must be a checkpoint at the place."""
    out = tmp_path / "copy.npz"
    words = ["train", trained, "--resume", "--out", out, "--set", "optimizer.learning_rate=0.05"]
    assert f"{out}: no such checkpoint" in charrnn(*words).stderr
    out.write_bytes(Path(trained).read_bytes())
    result = charrnn(*words)
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
def test_streams_that_are_closed_or_full_are_said(trained, command, message):
    """With exit code 1 and one line."""
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


def test_a_folder_that_is_gone_is_not_taken_for_the_output(tmp_path):
    """Nor is any other error of the system; what happened is said."""
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


def test_another_error_of_the_system_is_told_as_it_is(charrnn, trained, monkeypatch):
    """With the file that it is about, if it is about one."""

    def fails(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "some/file")

    monkeypatch.setattr("charrnn.cli.checkpoint_facts.facts", fails)
    result = charrnn("info", trained)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: some/file: {os.strerror(errno.EIO)}\n"


@pytest.mark.parametrize("name", ["corpus.npz", "corpus.best.npz", "corpus.jsonl"])
def test_training_does_not_write_over_its_corpus(charrnn, config, tmp_path, name):
    """Neither with the checkpoint nor with what stands beside it."""
    path = config(name="corpus")
    text = tmp_path / name
    text.write_text(LINES, encoding="utf-8")
    result = charrnn("train", path, "--corpus", text, "-q")
    assert result.exit_code == 2
    assert "is the corpus, and training would write there" in result.stderr
    assert text.read_text(encoding="utf-8") == LINES


@pytest.mark.parametrize("name", ["small.yaml", "small.jsonl"])
def test_training_does_not_write_over_its_config(charrnn, config, tmp_path, name):
    """Neither with the checkpoint nor with what stands beside it."""
    path = config().rename(tmp_path / name)
    before = path.read_bytes()
    out = path if name == "small.yaml" else tmp_path / "small.npz"
    result = charrnn("train", path, "--out", out, "-q")
    assert result.exit_code == 2
    assert "is the config, and training would write there" in result.stderr
    assert path.read_bytes() == before


def test_training_goes_on_when_nobody_reads_its_messages(config, tmp_path):
    """A pipe of stderr that closes early costs nothing but the messages."""
    path = config(train={"steps": 4000}, output={"validate_every": 200})
    train = start("train", path)
    train.stderr.readline()
    train.stderr.close()
    assert train.stdout.read().decode().strip() == str(tmp_path / "small.npz")
    train.stdout.close()
    assert train.wait() == 0
    assert checkpoint.load(str(tmp_path / "small.npz")).step == 4000
