"""Messages for a wrong file, option or run, each with the command that the user needs instead."""

import gzip
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest
from run_helpers import LINES

from charrnn.config import loader as configs


def error(result, code=1):
    """Return the message of a command that failed without a result and without a traceback."""
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert isinstance(result.exception, SystemExit)
    return result.stderr.partition("Error: ")[2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The cat:\nBefore the dog comes, the cat runs.\n", "not YAML"),
        ("anna\nbob\n", "is not a config: it has none of the sections corpus, model,"),
        ("Juliet: O Romeo\nRomeo: Shall I speak?\n", "is not a config: it has none"),
        ("na\xefve\n".encode("latin-1"), "is not UTF-8 text"),
        ("anna\n" * 200_001, "is over 1,000,000 bytes: not a config"),
    ],
)
def test_a_text_that_is_named_as_a_config(charrnn, tmp_path, monkeypatch, text, reason):
    """A text that ends in .yaml is refused with the command that makes a config of it."""
    monkeypatch.chdir(tmp_path)
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "mine.yaml").write_bytes(content)
    message = error(charrnn("train", "mine.yaml"), code=2)
    assert reason in message
    command = "charrnn new mine.yaml > new-mine.yaml && charrnn train new-mine.yaml"
    assert message.endswith(f"If this is a text to train on: {command}\n")
    piped = error(charrnn("train", "-", stdin=content), code=2)
    assert piped.endswith("If this is a text to train on: charrnn train FILE\n")
    (tmp_path / "my text").write_bytes(content)
    other = error(charrnn("gradcheck", "my text"), code=2)
    assert other.endswith("If this is a text to train on: charrnn train 'my text'\n")


@pytest.mark.parametrize(
    "content",
    ["model: {hidden: [\n", '{\n  "corpus": {"path": [\n', "hidden: 3\n", "modle: {hidden: 3}\n"],
)
def test_a_config_with_mistakes_is_not_called_a_text(charrnn, tmp_path, content):
    """A config with a mistake, even in the name of its only section, is no text to train on."""
    (tmp_path / "mine.yaml").write_text(content)
    message = error(charrnn("train", tmp_path / "mine.yaml"), code=2)
    assert "mine.yaml:" in message
    assert "text to train on" not in message


@pytest.mark.parametrize("command", ["sample", "eval", "score", "info", "plot"])
def test_a_config_in_place_of_a_checkpoint(charrnn, config, command):
    """A config where a checkpoint is expected is named, with the command that trains it."""
    path = config()
    message = error(charrnn(command, path))
    assert message.startswith(f"{path} is a config, not a checkpoint. Train it first")
    assert message.endswith(f": charrnn train {path}\n")


def test_a_text_in_place_of_a_checkpoint(charrnn, tmp_path):
    """The message for any other file says what a checkpoint is."""
    (tmp_path / "mine.txt").write_text(LINES)
    for path, stdin in ((tmp_path / "mine.txt", None), ("-", LINES)):
        message = error(charrnn("sample", path, stdin=stdin))
        assert message.endswith("A checkpoint is the .npz file that charrnn train writes\n")


def test_a_checkpoint_in_place_of_a_text(charrnn, trained, config, tmp_path):
    """A checkpoint given as TEXT is named as one, from a file and from stdin."""
    page = tmp_path / "page.html"
    content = Path(trained).read_bytes()
    calls = [(name, trained, trained) for name in ("eval", "score")]
    calls += [("page", trained, trained, "-o", page), ("new", trained), ("eval", trained, "-")]
    calls += [("train", config(), "--corpus", trained, "--out", tmp_path / "other.npz")]
    for call in calls:
        message = error(charrnn(*call, stdin=content if "-" in call else None))
        assert "is a checkpoint, not a text. Name a text file; to compare two models: " in message
    assert not page.exists()
    assert not (tmp_path / "other.npz").exists()


def archive(path, *members):
    """Write a zip archive with members of these names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members_file:
        for name in members:
            members_file.writestr(name, LINES)


def test_a_binary_file_in_place_of_a_text(charrnn, trained, tmp_path, monkeypatch):
    """The message for a binary file says what it is and prints the command that makes a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gz").write_bytes(gzip.compress(LINES.encode()))
    archive("a.zip", "a.txt", "b.txt")
    archive("my a.docx", "[Content_Types].xml", "word/document.xml")
    archive("a.epub", "mimetype", "a.html")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    for name, (kind, command) in {
        "a.gz": ("a gzip file", "gunzip -c {}"),
        "a.zip": ("a zip archive", "unzip -p {}"),
        "my a.docx": ("a Word document", "pandoc -t plain {}"),
        "a.epub": ("an OpenDocument or EPUB document", "pandoc -t plain {}"),
        "a.pdf": ("a PDF", "pdftotext {} -"),
        "a.png": ("a picture", ""),
    }.items():
        for call in (("new", name), ("score", trained, name), ("eval", trained, "-")):
            piped = "-" in call
            message = error(charrnn(*call, stdin=(tmp_path / name).read_bytes() if piped else None))
            hint = "Name a text file"
            if command:
                target = "| charrnn ... -" if piped else f"> {shlex.quote(f'{name}.txt')}"
                file = "FILE" if piped else shlex.quote(name)
                hint = f"Make text of it: {command.format(file)} {target}"
            source = "standard input" if piped else name
            assert message == f"{source} is {kind}, not a text. {hint}\n"
    subprocess.run("gunzip -c a.gz > a.gz.txt", shell=True, check=True)
    assert charrnn("eval", trained, "a.gz.txt").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("train {config} --hidden 200", "--set model.hidden=200"),
        ("train --lr=0.01 {config}", "--set optimizer.learning_rate=0.01"),
        ("train {config} --epochs 3 --seed 1", "--set train.epochs=3"),
        ("train {config} --batch-size 32", "--set train.batch_size=32"),
        ("train {config} --optimizer adam", "--set optimizer.name=adam"),
        ("train --lowercase {config}", "--set corpus.lowercase=true"),
        ("train {config} --dropout", "--set model.dropout=VALUE"),
        ("gradcheck {config} --cell gru", "--set model.cell=gru"),
        ("sample m.npz --length 100", "--n 100"),
        ("sample m.npz --temp=0.5", "--temperature 0.5"),
        ("score m.npz --colour always", "--color always"),
    ],
)
def test_an_unknown_option_that_is_a_setting_or_another_option(
    charrnn, config, arguments, suggestion
):
    """An unknown option is answered by what to type instead, and that is accepted."""
    arguments = arguments.format(config=config()).split()
    message = error(charrnn(*arguments), code=2)
    assert message.rstrip("'?\n").endswith(suggestion)
    assert "Did you mean" in message
    if suggestion.startswith("--set ") and "VALUE" not in suggestion:
        override = suggestion.removeprefix("--set ")
        configs.load(str(config(train={"steps": None})), [override])  # raises no error


def test_an_unknown_option_of_another_command(charrnn):
    """A setting is no suggestion for a command without --set, nor for the program itself."""
    for arguments in (["sample", "m.npz", "--hidden", "3"], ["--hidden", "3"]):
        message = error(charrnn(*arguments), code=2)
        assert "No such option" in message
        assert "--set" not in message


@pytest.mark.parametrize(
    ("settings", "change", "reason", "addition"),
    [
        ({}, [], "train.steps is 20", "train.steps=40"),
        ({}, ["--set", "train.steps=5"], "train.steps is 5", "train.steps=40"),
        ({"steps": None, "epochs": 1.5}, [], "train.epochs is 1.5", "train.epochs=3"),
        (
            {"steps": 500, "patience": 1},
            ["--set", "optimizer.learning_rate=9"],
            "its patience ran out",
            "train.patience=2",
        ),
    ],
)
def test_a_finished_run_that_is_resumed(charrnn, config, settings, change, reason, addition):
    """A finished run says so when it is resumed; the setting that it names trains it further."""
    path = config(train=settings, optimizer={"learning_rate": 9} if "patience" in settings else {})
    out = Path(charrnn("train", path, "-q").stdout.strip())
    content = out.read_bytes()
    result = charrnn("train", out, "--resume", *change)
    assert result.exit_code == 0
    assert f": {reason}. To train on, add --set {addition}\n" in result.stderr
    assert out.read_bytes() == content
    longer = charrnn("train", out, "--resume", *change, "--set", addition)
    assert "the run is finished at" not in longer.stderr
    assert longer.exit_code == 0
    assert out.read_bytes() != content


CORPUS_USES = {
    ("sample", "--novel", "--lines", "1"): "leave --novel out",
    ("score", "{text}", "--above", "50", "--percentile"): "leave --percentile out",
    ("eval",): "name a text to score",
}


@pytest.mark.parametrize(("arguments", "otherwise"), CORPUS_USES.items())
def test_a_model_whose_corpus_is_gone(charrnn, trained, tmp_path, arguments, otherwise):
    """A command that needs the corpus of a model names it, and the way to do without it."""
    command, *options = arguments
    text, corpus = tmp_path / "text.txt", tmp_path / "corpus.txt"
    text.write_text("anna\n")
    call = [command, trained, *(option.format(text=text) for option in options)]
    assert "Error" not in charrnn(*call).stderr
    hint = f"Put the training text back, or {otherwise}\n"
    corpus.write_text("another text\n")
    changed = error(charrnn(*call))
    assert changed.startswith(f"{corpus} has changed since the model was trained on it")
    assert changed.endswith(hint)
    corpus.unlink()
    gone = f"{corpus}, which the model was trained on, no longer exists. {hint}"
    assert error(charrnn(*call)) == gone


@pytest.mark.parametrize(("arguments", "otherwise"), CORPUS_USES.items())
def test_a_model_that_was_trained_on_stdin(charrnn, config, tmp_path, arguments, otherwise):
    """A model of stdin has no corpus to read again."""
    out = charrnn("train", config(), "--corpus", "-", "-q", stdin=LINES).stdout.strip()
    command, *options = arguments
    (tmp_path / "text.txt").write_text("anna\n")
    options = [option.format(text=tmp_path / "text.txt") for option in options]
    message = error(charrnn(command, out, *options))
    reason = "the model was trained on standard input, which cannot be read again"
    assert message == f"{reason}. Train on a file, or {otherwise}\n"
