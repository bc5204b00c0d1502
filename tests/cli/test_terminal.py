"""Control characters of a text: escapes on a terminal unless --raw, unchanged in a pipe."""

import contextlib
import doctest
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from charrnn import checkpoint
from charrnn.checkpoint import HISTORY_COLUMNS, Checkpoint
from charrnn.cli import terminal as console
from charrnn.cli.app import main
from charrnn.config.schema import Config, CorpusConfig, ModelConfig
from charrnn.data.vocabulary import Vocab
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params

CHARRNN = [sys.executable, "-m", "charrnn"]
CONTROLS = [*range(9), *range(11, 32), *range(0x7F, 0xA0)]
OVERRIDES = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HOSTILE = "".join(map(chr, CONTROLS + OVERRIDES))
HARMLESS = "\t\n2J[ab\xe9\u05d0\u0301\u200d\U0001f600"
COLOR = re.compile(r"\x1b\[(?:38;5;16;48;5;\d+|0)m")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return the path of a model with all weights 0, which samples many control characters."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = CorpusConfig(path=(f"{folder}/\x1b[2Jcorpus.txt",))
    config = Config(corpus=corpus, model=ModelConfig(hidden=2))
    vocab = Vocab("".join(sorted(HOSTILE + HARMLESS)))
    model = Model(config.model, len(vocab))
    params = Params(model.shapes(), model.dtype)
    slots = {"squares": np.full(params.flat.size, 1.0, model.dtype)}
    history = np.zeros((0, len(HISTORY_COLUMNS)))
    zero_model = Checkpoint(config, vocab, params, slots, model.zero_state(1), history, "0" * 64)
    path = str(folder / "model.npz")
    checkpoint.save(zero_model, path)
    return path


def run_piped(*arguments, stdin=b""):
    """Return the exit code, stdout and stderr of a real process that writes to pipes."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [*CHARRNN, *map(str, arguments)]
    result = subprocess.run(command, input=stdin, capture_output=True, env=environment)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def run_in_terminal(*arguments, stdin=b"", stream="stdout"):
    """Return the exit code of a real process and the stream it writes to a terminal."""
    controller, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: terminal}
    command = [*CHARRNN, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **streams) as process:
        os.close(terminal)
        process.stdin.write(stdin)
        process.stdin.close()
        text = read_all(controller)
    return process.returncode, text


def read_all(controller):
    """Return the text written to a terminal until its last writer closes it."""
    raw = b""
    with open(controller, "rb", buffering=0) as stream, contextlib.suppress(OSError):
        while chunk := stream.read(1 << 16):
            raw += chunk
    return raw.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal_output(monkeypatch):
    """Return a function that runs a command line in this process, with a terminal as stdout.

    It returns the text on the terminal, and is faster than `run_in_terminal`.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments, stdin=b"", code=0):
        controller, terminal_fd = pty.openpty()
        text = []
        reader = threading.Thread(target=lambda: text.append(read_all(controller)))
        reader.start()
        with open(terminal_fd, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as system_exit:
                main([str(argument) for argument in arguments])
        reader.join()
        assert system_exit.value.code == code
        return text[0]

    return run


def escaped(text):
    """Return the text with control characters as escapes, as a terminal must receive it."""
    return "".join(
        char.encode("unicode_escape").decode() if char in HOSTILE else char for char in text
    )


def test_a_terminal_receives_escapes_and_a_pipe_the_text_unchanged(hostile):
    """Control characters are escaped on a terminal without --raw, and unchanged in a pipe."""
    arguments = ["sample", hostile, "--n", 900, "--seed", 1, "-q"]
    code, text, stderr = run_piped(*arguments)
    assert (code, stderr) == (0, "")
    assert set(HOSTILE + HARMLESS) == set(text)
    assert run_in_terminal(*arguments) == (0, escaped(text))
    raw = run_in_terminal(*arguments, "--raw")[1]
    assert raw == text[:900].replace("\r\n", "\n")  # the terminal driver writes a newline as CRLF


def test_a_file_receives_the_text_unchanged(hostile, tmp_path):
    """A sample redirected to a file contains its control characters."""
    command = [*CHARRNN, "sample", hostile, "--n", "400", "--seed", "1", "-q"]
    with open(tmp_path / "out.txt", "wb") as file:
        assert subprocess.run(command, stdout=file).returncode == 0
    assert "\x1b" in (tmp_path / "out.txt").read_text(encoding="utf-8")


def test_separate_texts_are_escaped(hostile, terminal_output):
    """Several samples, samples as JSON and the prime are escaped on a terminal."""
    arguments = ["sample", hostile, "--seed", 1, "-q"]
    for options in (["--count", 9, "--n", 90], ["--count", 3, "-0"], ["--prime", HOSTILE]):
        text = terminal_output(*arguments, *options)
        assert not set(text) & set(HOSTILE)
        assert "\\x1b" in text
    rows = terminal_output(*arguments, "--count", 3, "--n", 90, "--json").splitlines()
    assert set(HOSTILE) & set("".join(json.loads(row)["text"] for row in rows))
    assert not set("".join(rows)) & set(HOSTILE)


@pytest.mark.parametrize("options", [["--per", "line"], ["--per", "char"], ["--above", 0]])
def test_the_text_in_rows_of_score_is_escaped(hostile, terminal_output, charrnn, options):
    """`score` prints lines and characters on a terminal without control characters."""
    text = f"ab\n{HOSTILE}\nb\x1b[2Ja\n".encode()
    arguments = ["score", hostile, "-", "--color", "never", *options]
    plain = terminal_output(*arguments, stdin=text)
    assert not set(plain) & set(HOSTILE)
    assert "\\x1b" in plain or "\\u001b" in plain
    expected = charrnn(*arguments, stdin=text).stdout
    assert terminal_output(*arguments, "--raw", stdin=text) == expected
    if "char" not in options:
        assert plain == escaped(expected)


def test_the_only_control_sequences_are_the_programs_colors(hostile, terminal_output, monkeypatch):
    """A terminal receives the colors of the program, and those of the text only with --raw."""
    arguments, text = ["score", hostile, "-"], f"ab\n{HOSTILE}\nb\x1b[2Ja\n"
    colored = run_in_terminal(*arguments, stdin=text.encode())[1]
    assert COLOR.search(colored)
    assert not set(COLOR.sub("", colored)) & set(HOSTILE)
    raw = terminal_output(*arguments, "--raw", stdin=text.encode())
    assert "b\x1b[2Ja" in COLOR.sub("", raw)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = terminal_output(*arguments, stdin=text.encode())
    assert not set(plain) & set(HOSTILE)
    assert [row.split("\t", 4)[4] for row in plain.splitlines()] == escaped(text).splitlines()


def test_names_in_messages_are_escaped(hostile, terminal_output, tmp_path):
    """File names, arguments and paths from a checkpoint are escaped in messages."""
    name = f"{tmp_path}/\x1b]0;gone\x07.txt"
    for arguments in (["eval", hostile, name], ["info", hostile, name]):
        code, text = run_in_terminal(*arguments, stream="stderr")
        assert code > 0
        assert "\\x1b]0;gone" in text
        assert not set(text) & set(HOSTILE)
    assert "\x1b]0;gone" in run_piped("eval", hostile, name)[2]
    text = terminal_output("info", hostile)
    assert "\\x1b[2Jcorpus.txt" in text
    assert not set(text) & set(HOSTILE)


def test_samples_of_a_training_run_are_escaped(config, charrnn):
    """A sample printed during training has no control characters on a terminal."""
    path = config("\x9b\u202ea\u2067\n" * 60, mode="stream", output={"sample_every": 10})
    code, text = run_in_terminal("train", path, stream="stderr")
    assert code == 0
    stderr = charrnn("train", path).stderr
    for char in "\x9b\u202e\u2067":
        assert char in stderr
        assert char not in text
        assert escaped(char) in text


def test_stdout_may_be_closed(monkeypatch):
    """A result is printed without an error when stdout is closed."""
    assert console.escape_controls(HOSTILE, None) == HOSTILE
    monkeypatch.setattr(sys, "stdout", None)
    console.print_result(HOSTILE)


def test_the_example_in_the_docstring_runs():
    """The examples in the docstrings of `charrnn.cli.terminal` have the printed results."""
    result = doctest.testmod(console)
    assert result.attempted >= 3
    assert result.failed == 0
