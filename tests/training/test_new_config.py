"""`charrnn new`: the profile of a text, the settings chosen for it, and training with them."""

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

from charrnn.cli.new import new as new_command
from charrnn.config import loader
from charrnn.data import corpus
from charrnn.errors import CharrnnError
from charrnn.training import new_config, presets
from charrnn.training.trainer import Trainer

NAMES = "".join(
    f"{first}{last}\n" for first in ("an", "bo", "cla", "die", "e", "fri") for last in "abcdefghijk"
)
PROSE = "The cat sat on the mat, and the dog, who was old, lay down on the log beside it.\n" * 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Measure the speed on a single update, and report no busy machine: no test depends on it."""
    monkeypatch.setattr(presets, "MEASURE_S", 0.0)
    monkeypatch.setattr(presets, "BUSY_SHARE", 0.0)


@pytest.fixture
def new(tmp_path, charrnn, monkeypatch):
    """Return a function that runs `charrnn new` on a text and returns the config and its YAML."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="mine.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        result = charrnn("new", name, "-q")
        assert (result.exit_code, result.stderr) == (0, "")
        Path("mine.yaml").write_bytes(result.stdout_bytes)
        return loader.load("mine.yaml"), result.stdout_bytes.decode()

    return write


def train_once(config):
    """Return a trainer of the config after one update."""
    trainer = Trainer(config, corpus.read_corpus(config.corpus, config.train.seed))
    trainer.update()
    return trainer


def random_prose(size):
    """Return `size` characters of random words in paragraphs."""
    rng = random.Random(size)
    words = ("".join(rng.choices("abcdefgh", k=rng.randint(2, 9))) for _ in range(size // 4))
    parts = (f"{word}\n\n" if rng.random() < 0.05 else f"{word} " for word in words)
    return "".join(parts)[:size]


def test_short_lines_are_a_list(new):
    """A text of short lines gets the mode `lines`, with a window as long as the longest line."""
    config, text = new(NAMES)
    assert config.corpus.mode == "lines"
    assert config.corpus.validation == 0.1
    assert config.train.seq_length == max(map(len, NAMES.split())) + 1
    assert re.search(r"^  mode: lines  # 66 short lines, half of them of .", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "mode_reason"),
    [
        (PROSE, "fewer than 5 lines"),
        (PROSE * 9, "half of its lines have 80 characters or more"),
        ("To be, or not\nto be: that\nis the\n\n" * 9, "8 empty lines divide it into paragraphs"),
        (("to be\n" * 4 + "x" * 90 + "\n") * 9, "one line in ten has 90 characters or more"),
        (NAMES + "x" * 9000, "one of its lines has 9,000 characters"),
    ],
)
def test_prose_is_a_stream(new, content, mode_reason):
    """A text with long lines, paragraphs or few lines gets `stream`; a comment gives the reason."""
    config, text = new(content)
    assert config.corpus.mode == "stream"
    assert mode_reason in text
    train_once(config)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_longer_text_gets_a_larger_network(new, mode, monkeypatch):
    """A longer text gets more hidden units, larger batches and fewer epochs on a fast machine."""
    monkeypatch.setattr(presets, "_measure_speed", lambda profile, preset: (1e6, 1.0))
    configs = []
    for size in (2_000, 30_000, 60_000):
        content = random_prose(size)
        config, _ = new(content if mode == "stream" else "\n".join(content.split()))
        assert config.corpus.mode == mode
        configs.append(config)
    for sizes in ([c.model.hidden for c in configs], [c.train.batch_size for c in configs]):
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
    assert configs[0].train.epochs > configs[-1].train.epochs


def test_a_slow_machine_gets_a_smaller_network_and_fewer_epochs(new, monkeypatch):
    """A slow machine gets a smaller network and fewer epochs, so that a run takes two minutes."""
    monkeypatch.setattr(
        presets, "_measure_speed", lambda profile, preset: (320_000 / preset.hidden, 1.0)
    )
    config, text = new(random_prose(300_000))
    assert config.model.hidden == presets.MIN_HIDDEN
    assert config.train.epochs < 10
    assert "# Takes about 2 min on the machine" in text


def test_comments_describe_the_text(new):
    """Comments list sizes, rare characters, repeated and empty lines, CRLF and byte order mark."""
    lines = [*NAMES.split(), "", "anna", "anna", "bell\x07", "é\u2028\tz"]
    _, text = new("\ufeff" + "\r\n".join(lines) + "\r\n")
    facts = {line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")}
    assert {
        "70 lines of 2 to 5 characters, median 4",
        r"5 of them fewer than 3 times: '\x07' U+0007, '\t' U+0009, 'z' U+007A, 'é' U+00E9, "
        r"'\u2028' U+2028",
        "1 empty lines",
        "1 lines repeat an earlier one",
        "mine.txt has 71 Windows line ends (CRLF); they are read as LF",
        "mine.txt opens with a byte order mark; it is left out",
    } - facts == set()


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
    """The config has the encoding that decodes the text, and a note on the first non-UTF-8 byte."""
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
        (b"\x89PNG\0\0", "is a picture, not a text"),
        (b"text\0text", "character 5 is NUL"),
        (bytes(range(1, 256)) * 9, "control characters"),
        (bytes(range(32, 256)) * 9, "distinct characters, which is too many"),
        (b"\xff\xfea", "is not utf-16 text: byte 2 (counted from 0)"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 30_001))).encode(), "30,001 distinct"),
    ],
)
def test_a_file_that_is_not_text_is_one_error(charrnn, tmp_path, content, message):
    """A file without usable text is a one-line error with exit code 1."""
    (tmp_path / "mine.txt").write_bytes(content)
    result = charrnn("new", tmp_path / "mine.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_missing_file_is_one_error(charrnn, tmp_path):
    """A missing file, or a folder without texts, is an error with exit code 1."""
    for path, message in ((tmp_path / "none.txt", "no such text file"), (tmp_path, "has no text")):
        result = charrnn("new", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr


def test_a_config_from_stdin_trains_with_a_corpus_option(charrnn, tmp_path):
    """A config made from standard input trains when --corpus names the text."""
    result = charrnn("new", "-", stdin=NAMES)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  path: '-'  # standard input is read once: train with --corpus FILE\n" in result.stdout
    (tmp_path / "mine.yaml").write_text(result.stdout, encoding="utf-8")
    (tmp_path / "mine.txt").write_text(NAMES, encoding="utf-8")
    both = charrnn("new", "-", tmp_path / "mine.txt", stdin=NAMES).stdout
    assert "  path:  # standard input is read once: train with --corpus FILE\n" in both
    short = ("--set", "train.steps=3", "--set", "train.epochs=null", "-q")
    trained = charrnn("train", tmp_path / "mine.yaml", "--corpus", tmp_path / "mine.txt", *short)
    assert (trained.exit_code, trained.stdout) == (0, f"{tmp_path / 'charrnn.npz'}\n")


@pytest.mark.parametrize(
    "name",
    ["my text.txt", "a: b.txt", "a #1.txt", "Ñandú 日本.txt", "yes", "1.5", "~me.txt", "-x.txt",
     "it's.txt", "texts/mine.txt", "a\nb.txt", "\U0001f600.txt", "[a].txt", "...", "mine.jsonl"],
)  # fmt: skip
def test_a_path_is_quoted_where_yaml_needs_it(tmp_path, monkeypatch, name):
    """A path of any name loads from the config, and the run does not overwrite that file."""
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(NAMES, encoding="utf-8")
    Path("mine.yaml").write_bytes(new_config.config_text([name]))
    config = loader.load("mine.yaml")
    assert config.corpus.path == (str(path.absolute()),)
    checkpoint = Path(config.output.checkpoint or "")
    assert checkpoint.parent == tmp_path
    assert checkpoint.name in (f"{path.stem}.npz", f"{path.stem}-model.npz")
    assert checkpoint.with_suffix(".jsonl") != path.absolute()


def test_a_path_that_is_not_utf8_is_one_error(tmp_path, monkeypatch):
    """A path that is not UTF-8 cannot be written to YAML and is an error."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CharrnnError, match="rename the file"):
        new_config.config_text(["\udcff"])


def test_new_then_train(tmp_path):
    """The shell command of the README writes a config and trains with it."""
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


def test_a_config_lies_beside_its_checkpoint(charrnn, tmp_path, monkeypatch):
    """With -o, the paths of the texts and of the checkpoint start from the config's folder."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(NAMES, encoding="utf-8")
    result = charrnn("new", "a.txt", tmp_path / "b.txt", "-o", "runs/x.yaml", "--cell", "lstm")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "runs/x.yaml\n", "")
    config = loader.load("runs/x.yaml")
    assert config.corpus.path == (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    assert config.output.checkpoint == str(tmp_path / "runs" / "x.npz")
    assert config.model.cell == "lstm"
    content = Path("runs/x.yaml").read_text(encoding="utf-8")
    assert content.startswith("# New lines like 'a.txt' and 1 more: an lstm of ")
    assert "#   66 lines repeat an earlier one" in content
    again = charrnn("new", "a.txt", "-o", "a.txt")
    assert (again.exit_code, again.stdout) == (2, "")
    assert Path("a.txt").read_text(encoding="utf-8") == NAMES


def test_minutes_bound_the_run(new, charrnn, monkeypatch):
    """A run of fewer minutes gets fewer epochs, and the options' defaults are those of a plan."""
    monkeypatch.setattr(presets, "_measure_speed", lambda profile, preset: (20_000.0, 1.0))
    default, _ = new(random_prose(300_000))
    result = charrnn("new", "mine.txt", "--minutes", 1)
    epochs = yaml.safe_load(result.stdout)["train"]["epochs"]
    assert epochs == pytest.approx(default.train.epochs / 2, rel=0.1)
    assert "# Takes about 1 min on" in result.stdout
    defaults = {parameter.name: parameter.default for parameter in new_command.params}
    assert (defaults["minutes"], defaults["cell"]) == (presets.MINUTES, presets.CELL)


def test_a_busy_machine_is_planned_as_a_quiet_one(charrnn, tmp_path, monkeypatch):
    """Where training gets a quarter of the time, the plan is for all of it, and a line says so."""
    (tmp_path / "mine.txt").write_text(NAMES, encoding="utf-8")
    clocks = {"perf_counter": 0.0, "process_time": 0.0}

    def advance(trainer, stop_requested=None, update=Trainer.update):
        clocks["perf_counter"] += 1.0
        clocks["process_time"] += shares[-1]
        return update(trainer)

    monkeypatch.setattr(Trainer, "update", advance)
    monkeypatch.setattr(presets, "BUSY_SHARE", 0.8)
    for name in clocks:
        monkeypatch.setattr(presets.time, name, lambda name=name: clocks[name])
    results, shares = [], []
    for share in (1.0, 0.25):
        shares.append(share)
        results.append(charrnn("new", tmp_path / "mine.txt"))
    quiet, busy = results
    assert quiet.stderr == ""
    assert "this machine is busy: other programs leave training 25% of the time" in busy.stderr
    speeds = [float(re.search(r"\((\S+)k characters/s", r.stdout)[1]) for r in results]
    assert speeds[1] == pytest.approx(4 * speeds[0], rel=0.02)


@pytest.mark.parametrize(
    ("content", "mode", "nats"),
    [("anna\nbob\nclara\ndavid\nemma\n", "lines", 0.4), (PROSE[:83], "stream", 0.3)],
)
def test_a_tiny_text_is_memorized(new, charrnn, content, mode, nats):
    """Five lines are a list; a tiny text is trained without dropout until it is learnt."""
    config, text = new(content)
    assert (config.corpus.mode, config.corpus.validation, config.model.dropout) == (mode, 0, 0)
    assert f"\n# {presets.MEMORIZED}.\n" in text
    trainer = Trainer(config, corpus.read_corpus(config.corpus, config.train.seed))
    while trainer.step < trainer.steps // 2:
        trainer.update()
    assert trainer.log().train_nats < nats
    short = ("--set", "train.steps=3", "--set", "train.epochs=null")
    assert f"{presets.MEMORIZED}\n" in charrnn("train", "mine.yaml", *short).stderr


def test_files_of_two_encodings_are_one_error(charrnn, tmp_path):
    """Files that need different encodings cannot be one corpus; ASCII goes with all of them."""
    contents = {"a": b"ascii\n", "u": "caf\u00e9\n".encode(), "w": b"caf\xe9\n"}
    paths = {name: tmp_path / f"{name}.txt" for name in contents}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    result = charrnn("new", paths["a"], paths["w"])
    assert yaml.safe_load(result.stdout)["corpus"]["encoding"] == "cp1252"
    assert f"in {paths['w']}, byte 3 (counted from 0) is 0xe9" in result.stderr
    result = charrnn("new", *paths.values())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "u.txt is utf-8 and " in result.stderr


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
def test_a_written_config_always_trains(raw):
    """Any bytes give a config that loads and trains, or a CharrnnError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.txt"
        path.write_bytes(raw)
        try:
            content = new_config.config_text([str(path)])
        except CharrnnError:
            return
        (Path(folder) / "mine.yaml").write_bytes(content)
        trainer = train_once(loader.load(str(Path(folder) / "mine.yaml")))
        assert trainer.step == 1
