"""Real processes: closed pipes, signals, terminals that lack characters; and runs resumed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LINES

from charrnn import checkpoint

CHARRNN = [sys.executable, "-m", "charrnn"]


def start(*words, **options):
    return subprocess.Popen(
        [*CHARRNN, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


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
        said = b""
        while not said.startswith(b"initial loss"):  # the handlers are set before it is told
            said = process.stderr.readline()
            assert said, "the run ended by itself"
        process.send_signal(number)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    assert f"charrnn train {path} --resume" in said.decode()
    assert b"Traceback" not in said
    assert checkpoint.load(str(path)).step > 0


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
    assert "going on at step 20 of 40" in result.stderr
    charrnn("train", config, "--set", "train.steps=40", "--out", whole)
    expected, found = checkpoint.load(str(whole)), checkpoint.load(trained)
    assert found.params.flat.tobytes() == expected.params.flat.tobytes()


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
