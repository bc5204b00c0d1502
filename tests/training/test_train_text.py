"""`charrnn train TEXT`: from a text to a config and a checkpoint."""

import os
import shutil
from pathlib import Path

import pytest

from charrnn import checkpoint
from charrnn.config import loader
from charrnn.parallel.group import SingleProcess
from charrnn.training import presets, session

SHORT = ("--set", "train.steps=3", "--set", "train.epochs=null")
NAMES = "anna\nbob\nclara\ndavid\nemma\n"


@pytest.fixture(autouse=True)
def _texts(tmp_path, monkeypatch):
    """Write texts into the current folder, and measure the speed on a single update."""
    monkeypatch.setattr(presets, "MEASURE_S", 0.0)
    monkeypatch.setattr(presets, "BUSY_SHARE", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("poems").mkdir()
    for name in ("mine.txt", "other.txt", "poems/b.txt", "poems/a.txt"):
        Path(name).write_text(NAMES, encoding="utf-8")


def test_a_text_gives_a_config_and_a_checkpoint(charrnn, tmp_path):
    """One command writes the config, trains, and ends with the command that samples."""
    result = charrnn("train", "mine.txt", *SHORT)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'mine.npz'}\n")
    assert "mine.yaml is written" in result.stderr
    assert result.stderr.endswith("try: charrnn sample mine.npz\n")
    assert loader.load("mine.yaml").corpus.path == (str(tmp_path / "mine.txt"),)


def test_a_config_that_is_there_is_used(charrnn):
    """An edited config is used as it is; a line says so. A run of the text can be resumed."""
    assert charrnn("train", "mine.txt", *SHORT, "-q").exit_code == 0
    path = Path("mine.yaml")
    path.write_text(path.read_text().replace("hidden: 64", "hidden: 9"), encoding="utf-8")
    edited = path.read_bytes()
    result = charrnn("train", "mine.txt", *SHORT, "--out", "nine.npz", "--seed", 5)
    assert result.exit_code == 0
    assert result.stderr.count("mine.yaml is there already: it is used as it is\n") == 1
    assert path.read_bytes() == edited
    saved = checkpoint.load("nine.npz").config
    assert (saved.model.hidden, saved.train.seed) == (9, 5)
    more = ("--set", "train.steps=4", "--set", "train.epochs=null")
    result = charrnn("train", "mine.txt", *more, "--out", "nine.npz", "--seed", 5, "--resume")
    assert checkpoint.load("nine.npz").step == 4, result.stderr


@pytest.mark.parametrize("inputs", [["other.txt"], ["other.txt", "mine.txt"], ["poems"]])
def test_a_config_of_other_texts_is_not_used(charrnn, inputs):
    """A config of the same name that is for other texts is an error, and stays as it is."""
    name = f"{Path(inputs[0]).stem}.yaml"
    for paths in ("mine.txt", "[mine.txt, poems/a.txt]"):
        Path(name).write_text(f"corpus: {{path: {paths}}}\n", encoding="utf-8")
        result = charrnn("train", *inputs)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{name} is there already, and is for other texts" in result.stderr


@pytest.mark.parametrize("content", [b"a: [", b"- 1", b"\xff", None])
def test_a_broken_config_of_the_same_name_is_explained(charrnn, content):
    """The message says why that config is read, and is not advice to train on it as a text."""
    path = Path("mine.yaml")
    path.symlink_to("nowhere") if content is None else path.write_bytes(content)
    result = charrnn("train", "mine.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mine.yaml, which has the name of the text, cannot be used: " in result.stderr
    assert "charrnn new TEXT -o OTHER.yaml" in result.stderr
    assert "charrnn new mine.yaml" not in result.stderr


def test_a_config_that_cannot_be_written_is_one_error(charrnn):
    """A config that the system refuses, here for its long name, is one error."""
    Path("x" * 250).write_text(NAMES, encoding="utf-8")
    result = charrnn("train", "x" * 250)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "x.yaml cannot be written: " in result.stderr
    assert "charrnn new TEXT -o FOLDER/NAME.yaml" in result.stderr


def test_a_folder_is_trained_on(charrnn, tmp_path):
    """A folder's texts are joined; config and checkpoint have its name."""
    for times in (1, 2):
        result = charrnn("train", "poems/", *SHORT)
        assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'poems.npz'}\n")
        assert result.stderr.count("it is used as it is") == times - 1
    paths = loader.load("poems.yaml").corpus.path
    assert [Path(path).name for path in paths] == ["a.txt", "b.txt"]
    result = charrnn("train", "mine.txt", "poems", *SHORT, "-q")
    assert result.stdout == f"{tmp_path / 'mine.npz'}\n"
    assert len(loader.load("mine.yaml").corpus.path) == 3


def test_content_decides_where_the_ending_does_not(charrnn, tmp_path):
    """A checkpoint and a config of any name are used as such; another zip file is not a text."""
    assert charrnn("train", "mine.txt", *SHORT, "-q").exit_code == 0
    shutil.copy("mine.npz", "model")
    assert charrnn("train", "model", *SHORT, "--resume").stdout == f"{tmp_path / 'model'}\n"
    shutil.copy("mine.yaml", "settings.txt")
    assert charrnn("train", "settings.txt", *SHORT, "-q").stdout == f"{tmp_path / 'mine.npz'}\n"
    shutil.make_archive("texts", "zip", "poems")
    result = charrnn("train", "texts.zip")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "texts.zip" in result.stderr
    assert not Path("texts.yaml").exists()


def test_a_config_in_another_folder_is_explained(charrnn, tmp_path):
    """A text that a moved config does not reach is an error that explains its paths."""
    Path("moved").mkdir()
    path = Path("moved/small.yaml")
    path.write_text("corpus: {path: mine.txt, validation: 0, mode: lines}\n", encoding="utf-8")
    result = charrnn("train", path, "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{tmp_path / 'moved' / 'mine.txt'}: no such text file. {path} names" in result.stderr
    assert "paths in a config start from the config's folder" in result.stderr
    assert charrnn("train", path, "-q", "--corpus", "mine.txt", *SHORT[:2]).exit_code == 0


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs /dev/fd")
def test_paths_in_a_piped_config_start_from_the_current_folder(charrnn, tmp_path):
    """A pipe, such as that of a shell's <(...), is a config of the current folder."""
    source, target = os.pipe()
    os.write(
        target,
        b"corpus: {path: mine.txt, mode: lines, validation: 0}\noutput: {checkpoint: a.npz}\n",
    )
    os.close(target)
    result = charrnn("train", f"/dev/fd/{source}", *SHORT[:2], "-q")
    os.close(source)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'a.npz'}\n"), result.stderr


def test_a_terminal_is_read_with_a_line_that_says_so(charrnn, monkeypatch):
    """On a terminal, a run whose text is standard input says so before it waits."""
    Path("piped.yaml").write_text("corpus: {path: '-', validation: 0}\n", encoding="utf-8")
    piped = charrnn("train", "piped.yaml", *SHORT[:2], stdin=NAMES)
    assert "from standard input" not in piped.stderr

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr(session.sys, "stdin", Terminal(), raising=False)
    monkeypatch.setattr(session, "read_corpus", lambda *args, **options: 1 / 0)
    config = loader.load("piped.yaml", ["train.seed=1"])
    lines = []
    monkeypatch.setattr(session.logger, "info", lines.append)
    with pytest.raises(ZeroDivisionError):
        session._read_corpus(config, None, SingleProcess())
    assert lines == ["reading the text from standard input: type it, and end it with Ctrl-D"]
