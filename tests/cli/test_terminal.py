"""What a text may do to a terminal: nothing, unless --raw; a pipe gets every byte as it is."""

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
TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HOSTILE = "".join(map(chr, CONTROLS + TURNING))
HARMLESS = "\t\n2J[ab\xe9\u05d0\u0301\u200d\U0001f600"
COLOUR = re.compile(r"\x1b\[(?:38;5;16;48;5;\d+|0)m")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A model that writes control characters all the time: all of its weights are 0."""
    folder = tmp_path_factory.mktemp("hostile")
    named = CorpusConfig(path=(f"{folder}/\x1b[2Jcorpus.txt",))
    config = Config(corpus=named, model=ModelConfig(hidden=2))
    vocab = Vocab("".join(sorted(HOSTILE + HARMLESS)))
    model = Model(config.model, len(vocab))
    params = Params(model.shapes(), model.dtype)
    slots = {"squares": np.full(params.flat.size, 1.0, model.dtype)}
    history = np.zeros((0, len(HISTORY_COLUMNS)))
    made = Checkpoint(config, vocab, params, slots, model.zero_state(1), history, "0" * 64)
    path = str(folder / "model.npz")
    checkpoint.save(made, path)
    return path


def piped(*words, stdin=b""):
    """Exit code, stdout and stderr of a real process, both of them pipes."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    words = [*CHARRNN, *map(str, words)]
    done = subprocess.run(words, input=stdin, capture_output=True, env=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def seen(*words, stdin=b"", on="stdout"):
    """Exit code and what a real process writes to a terminal, its stdout or its stderr."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, on: theirs}
    words = [*CHARRNN, *map(str, words)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment, **streams) as process:
        os.close(theirs)
        process.stdin.write(stdin)
        process.stdin.close()
        shown = read_all(ours)
    return process.returncode, shown


def read_all(ours):
    """What comes out of a terminal until its other end is closed."""
    raw = b""
    with open(ours, "rb", buffering=0) as stream, contextlib.suppress(OSError):
        while piece := stream.read(1 << 16):
            raw += piece
    return raw.decode().replace("\r\n", "\n")


@pytest.fixture
def shown(monkeypatch):
    """What a command line run in this process, which is quicker, writes to a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def shown(*words, stdin=b"", code=0):
        ours, theirs = pty.openpty()
        text = []
        reader = threading.Thread(target=lambda: text.append(read_all(ours)))
        reader.start()
        with open(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
        reader.join()
        assert ended.value.code == code
        return text[0]

    return shown


def escaped(text):
    """What a terminal should be given."""
    return "".join(
        char.encode("unicode_escape").decode() if char in HOSTILE else char for char in text
    )


def test_a_terminal_is_given_escapes_and_a_pipe_what_is_there(hostile):
    """The same text, and with --raw the terminal gets it too."""
    words = ["sample", hostile, "--n", 900, "--seed", 1, "-q"]
    code, text, said = piped(*words)
    assert (code, said) == (0, "")
    assert set(HOSTILE + HARMLESS) == set(text)
    assert seen(*words) == (0, escaped(text))
    raw = seen(*words, "--raw")[1]
    assert raw == text[:900].replace("\r\n", "\n")  # as a terminal's driver writes a newline


def test_a_file_gets_what_is_there(hostile, tmp_path):
    """As after `>`."""
    words = [*CHARRNN, "sample", hostile, "--n", "400", "--seed", "1", "-q"]
    with open(tmp_path / "out.txt", "wb") as file:
        assert subprocess.run(words, stdout=file).returncode == 0
    assert "\x1b" in (tmp_path / "out.txt").read_text(encoding="utf-8")


def test_texts_one_by_one_are_harmless(hostile, shown):
    """Many at once, as JSON, with their separators, and what was given to begin with."""
    words = ["sample", hostile, "--seed", 1, "-q"]
    for more in (["--count", 9, "--n", 90], ["--count", 3, "-0"], ["--prime", HOSTILE]):
        text = shown(*words, *more)
        assert not set(text) & set(HOSTILE)
        assert "\\x1b" in text
    rows = shown(*words, "--count", 3, "--n", 90, "--json").splitlines()
    assert set(HOSTILE) & set("".join(json.loads(row)["text"] for row in rows))
    assert not set("".join(rows)) & set(HOSTILE)


@pytest.mark.parametrize("words", [["--per", "line"], ["--per", "char"], ["--above", 0]])
def test_what_score_shows_of_a_text_is_harmless(hostile, shown, charrnn, words):
    """Rows, and the lines that were asked for."""
    text = f"ab\n{HOSTILE}\nb\x1b[2Ja\n".encode()
    words = ["score", hostile, "-", "--color", "never", *words]
    plain = shown(*words, stdin=text)
    assert not set(plain) & set(HOSTILE)
    assert "\\x1b" in plain or "\\u001b" in plain
    assert shown(*words, "--raw", stdin=text) == charrnn(*words, stdin=text).stdout
    if "char" not in words:
        assert plain == escaped(charrnn(*words, stdin=text).stdout)


def test_colours_are_the_programs_own(hostile, shown, monkeypatch):
    """The text has none; with NO_COLOR it is plain and still harmless; --raw shows all of it."""
    words, text = ["score", hostile, "-"], f"ab\n{HOSTILE}\nb\x1b[2Ja\n"
    coloured = seen(*words, stdin=text.encode())[1]
    assert COLOUR.search(coloured)
    assert not set(COLOUR.sub("", coloured)) & set(HOSTILE)
    assert "b\x1b[2Ja" in COLOUR.sub("", shown(*words, "--raw", stdin=text.encode()))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(*words, stdin=text.encode())
    assert not set(plain) & set(HOSTILE)
    assert [row.split("\t", 4)[4] for row in plain.splitlines()] == escaped(text).splitlines()


def test_names_in_messages_are_harmless(hostile, shown, tmp_path):
    """Of a file that is not there, of an argument too many, and of what a checkpoint names."""
    name = f"{tmp_path}/\x1b]0;gone\x07.txt"
    for words in (["eval", hostile, name], ["info", hostile, name]):
        code, text = seen(*words, on="stderr")
        assert code > 0
        assert "\\x1b]0;gone" in text
        assert not set(text) & set(HOSTILE)
    assert "\x1b]0;gone" in piped("eval", hostile, name)[2]
    text = shown("info", hostile)
    assert "\\x1b[2Jcorpus.txt" in text
    assert not set(text) & set(HOSTILE)


def test_samples_of_a_training_run_are_harmless(config, charrnn):
    """Beside the bar, which moves the cursor itself."""
    path = config("\x9b\u202ea\u2067\n" * 60, mode="stream", output={"sample_every": 10})
    code, text = seen("train", path, on="stderr")
    assert code == 0
    said = charrnn("train", path).stderr
    for char in "\x9b\u202e\u2067":
        assert char in said
        assert char not in text
        assert escaped(char) in text


def test_stdout_may_be_closed(monkeypatch):
    """Then there is no terminal either."""
    assert console.escape_controls(HOSTILE, None) == HOSTILE
    monkeypatch.setattr(sys, "stdout", None)
    console.tell(HOSTILE)


def test_the_example_in_the_docstring_runs():
    """And shows what it says."""
    result = doctest.testmod(console)
    assert result.attempted >= 3
    assert result.failed == 0
