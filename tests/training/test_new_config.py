"""A config for any text: what is seen in it, what is chosen for it, and that it always trains."""

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.config import loader
from charrnn.data import corpus, text_profile
from charrnn.errors import CharrnnError
from charrnn.training import new_config, presets
from charrnn.training.trainer import Trainer

NAMES = "".join(
    f"{first}{last}\n" for first in ("an", "bo", "cla", "die", "e", "fri") for last in "abcdefghijk"
)
PROSE = "The cat sat on the mat, and the dog, who was old, lay down on the log beside it.\n" * 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The speed is taken from the first updates; no test looks at it."""
    monkeypatch.setattr(presets, "MEASURE_S", 0.0)


@pytest.fixture
def new(tmp_path, charrnn, monkeypatch):
    """Runs `charrnn new` on a text in the current folder; returns the config and its YAML."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="mine.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        result = charrnn("new", name, "-q")
        assert (result.exit_code, result.stderr) == (0, "")
        Path("mine.yaml").write_bytes(result.stdout_bytes)
        return loader.load("mine.yaml"), result.stdout_bytes.decode()

    return write


def trains(written):
    """One update of what the config asks for."""
    text = corpus.read_corpus(written.corpus, written.train.seed)
    trainer = Trainer(written, text)
    trainer.update()
    return trainer


def words(count):
    """Prose of so many characters, with paragraphs."""
    rng = random.Random(count)
    drawn = ("".join(rng.choices("abcdefgh", k=rng.randint(2, 9))) for _ in range(count // 4))
    lines = (f"{word}\n\n" if rng.random() < 0.05 else f"{word} " for word in drawn)
    return "".join(lines)[:count]


def test_short_lines_are_a_list(new):
    """Each is a record, the longest of them fits a window, and a comment says why."""
    written, text = new(NAMES)
    assert written.corpus.mode == "lines"
    assert written.corpus.validation == 0.1
    assert written.train.seq_length == max(map(len, NAMES.split())) + 1
    assert re.search(r"^  mode: lines  # 66 short lines, half of them of .", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "mode_reason"),
    [
        (PROSE, "fewer than 8 lines"),
        (PROSE * 9, "half of its lines have 80 characters or more"),
        ("To be, or not\nto be: that\nis the\n\n" * 9, "8 empty lines part it into paragraphs"),
        (("to be\n" * 4 + "x" * 90 + "\n") * 9, "one line in ten has 90 characters or more"),
        (NAMES + "x" * 9000, "one of its lines has 9,000 characters"),
    ],
)
def test_prose_is_a_stream(new, content, mode_reason):
    """Long lines, paragraphs, or too few lines for a list; a comment says which."""
    written, text = new(content)
    assert written.corpus.mode == "stream"
    assert mode_reason in text
    trains(written)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_longer_text_gets_a_larger_network(new, mode, monkeypatch):
    """With larger batches, and fewer passes in the end, on a machine that is fast enough."""
    monkeypatch.setattr(presets, "_chars_per_s", lambda profile, recipe: 1e6)
    chosen = []
    for chars in (1_000, 10_000, 60_000):
        content = words(chars)
        written, _ = new(content if mode == "stream" else "\n".join(content.split()))
        assert written.corpus.mode == mode
        chosen.append(written)
    for sizes in ([c.model.hidden for c in chosen], [c.train.batch_size for c in chosen]):
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
    assert chosen[0].train.epochs > chosen[-1].train.epochs


def test_a_slow_machine_gets_a_smaller_network_and_fewer_passes(new, monkeypatch):
    """So that the run still ends within its time."""
    monkeypatch.setattr(presets, "_chars_per_s", lambda profile, recipe: 320_000 / recipe.hidden)
    written, text = new(words(300_000))
    assert written.model.hidden == presets.MIN_HIDDEN
    assert written.train.epochs < 10
    assert "# Takes about 2 min on the machine" in text


def test_what_the_text_is_made_of_stands_in_comments(new):
    """Sizes, rare characters with their code points, repeated and empty lines, mark, CRLF."""
    lines = [*NAMES.split(), "", "anna", "anna", "bell\x07", "é\u2028\tz"]
    _, text = new("\ufeff" + "\r\n".join(lines) + "\r\n")
    seen = {line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")}
    assert {
        "70 lines of 2 to 5 characters, median 4",
        r"5 of them fewer than 3 times: '\x07' U+0007, '\t' U+0009, 'z' U+007A, 'é' U+00E9, "
        r"'\u2028' U+2028",
        "1 empty lines",
        "1 lines repeat an earlier one",
        "mine.txt has 71 Windows line ends (CRLF); they are read as LF",
        "mine.txt opens with a byte order mark; it is left out",
    } - seen == set()


@pytest.mark.parametrize(
    ("content", "encoding", "note"),
    [
        ("é\n" * 3 + NAMES, "utf-8", ""),
        ("ce n'était pas“\n".encode("cp1252") * 9, "cp1252", "byte 5 (counted from 0) is 0xe9"),
        (b"a\x81\xe9bc\n" * 9, "latin-1", "byte 1 (counted from 0) is 0x81"),
        ((NAMES + "é").encode("utf-16"), "utf-16", "byte 0 (counted from 0) is 0xff"),
        ((NAMES + "é").encode("utf-32"), "utf-32", "byte 0 (counted from 0) is 0xff"),
    ],
)
def test_the_encoding_that_decodes_is_written(charrnn, tmp_path, content, encoding, note):
    """And where the text is not UTF-8 stands in a comment and on stderr."""
    path = tmp_path / "mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = charrnn("new", path)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["corpus"]["encoding"] == encoding
    assert note in result.stderr
    assert note in result.stdout
    assert ("is not UTF-8" in result.stderr) == (encoding != "utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n\n", "is empty"),
        (b"a\n", "has a single character, 'a'"),
        (b"aaaa", "has a single character, 'a'"),
        (b"\x89PNG\0\0", "character 5 is NUL"),
        (b"text\0text", "character 5 is NUL"),
        (bytes(range(1, 256)) * 9, "control characters"),
        (bytes(range(32, 256)) * 9, "distinct characters, which is too many"),
        (b"\xff\xfea", "is not utf-16 text: byte 2 (counted from 0)"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 30_001))).encode(), "30,001 distinct"),
    ],
)
def test_what_is_no_text_is_one_error(charrnn, tmp_path, content, message):
    """With exit code 1, and nothing on stdout."""
    (tmp_path / "mine.txt").write_bytes(content)
    result = charrnn("new", tmp_path / "mine.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_file_that_is_not_there_is_one_error(charrnn, tmp_path):
    """And so is a folder."""
    for path, message in ((tmp_path / "none.txt", "no such text file"), (tmp_path, "is a folder")):
        result = charrnn("new", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr


def test_stdin_needs_a_corpus_later(charrnn, tmp_path):
    """The config says so, and trains when --corpus names the text."""
    result = charrnn("new", "-", stdin=NAMES)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  path: '-'  # standard input is read once: train with --corpus FILE\n" in result.stdout
    (tmp_path / "mine.yaml").write_text(result.stdout, encoding="utf-8")
    (tmp_path / "mine.txt").write_text(NAMES, encoding="utf-8")
    short = ("--set", "train.steps=3", "--set", "train.epochs=null", "-q")
    trained = charrnn("train", tmp_path / "mine.yaml", "--corpus", tmp_path / "mine.txt", *short)
    assert (trained.exit_code, trained.stdout) == (0, f"{tmp_path / 'charrnn.npz'}\n")


@pytest.mark.parametrize(
    "name",
    ["my text.txt", "a: b.txt", "a #1.txt", "Ñandú 日本.txt", "yes", "1.5", "~me.txt", "-x.txt",
     "it's.txt", "texts/mine.txt", "a\nb.txt", "\U0001f600.txt", "[a].txt", "...", "mine.jsonl"],
)  # fmt: skip
def test_a_path_is_quoted_where_yaml_needs_it(tmp_path, monkeypatch, name):
    """Relative to the current folder; the checkpoint takes its name, and never its place."""
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(NAMES, encoding="utf-8")
    Path("mine.yaml").write_text(
        new_config.config_text(text_profile.profile_text(name), name), encoding="utf-8"
    )
    written = loader.load("mine.yaml")
    assert written.corpus.path == (str(path.absolute()),)
    checkpoint = Path(written.output.checkpoint or "")
    assert checkpoint.parent == tmp_path
    assert checkpoint.name in (f"{path.stem}.npz", f"{path.stem}-model.npz")
    assert checkpoint.with_suffix(".jsonl") != path.absolute()


def test_a_path_that_is_not_utf8_is_one_error(tmp_path, monkeypatch):
    """YAML cannot hold it."""
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(NAMES, encoding="utf-8")
    with pytest.raises(CharrnnError, match="rename the file"):
        new_config.config_text(text_profile.profile_text("mine.txt"), "\udcff")


def test_new_then_train(tmp_path):
    """As in the README, in a shell, with nothing but the config on stdout."""
    (tmp_path / "mine.txt").write_text(NAMES, encoding="utf-8")
    program = f'"{sys.executable}" -m charrnn'
    short = "--set train.steps=3 --set train.epochs=null"
    result = subprocess.run(
        f"{program} new mine.txt > mine.yaml && {program} train mine.yaml {short}",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'mine.npz'}\n"


LINE = st.text(max_size=12) | st.text("abc \r\t", max_size=60)
TEXTS = st.builds(
    lambda lines, times: ("\n".join(lines) * times).encode("utf-8", "replace"),
    st.lists(LINE, max_size=70),
    st.sampled_from([1, 1, 2, 60]),
)


@settings(deadline=None, max_examples=200)
@given(raw=TEXTS | st.binary(max_size=300))
@example(raw=b"ab")
@example(raw=b"a\na\nb")
@example(raw=b"\r\r")
@example(raw="日本語\n".encode() * 400)
@example(raw="".join(map(chr, range(0x4E00, 0x4E00 + 9_000))).encode())
def test_what_is_written_always_trains(raw):
    """For any bytes there is a config that loads and makes an update, or a CharrnnError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.txt"
        path.write_bytes(raw)
        try:
            text = new_config.config_text(text_profile.profile_text(str(path)), str(path))
        except CharrnnError:
            return
        (Path(folder) / "mine.yaml").write_text(text, encoding="utf-8")
        trainer = trains(loader.load(str(Path(folder) / "mine.yaml")))
        assert trainer.step == 1
