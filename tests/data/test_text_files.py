"""What an input is, a config or a text, and the text files of a folder."""

import os
import sys

import pytest

from charrnn.data.text_files import base_name, is_config, list_texts
from charrnn.errors import CorpusError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.yaml", "To be, or not", True),
        ("a.YML", "", True),
        ("a", "corpus:\n  path: b.txt\n", True),
        ("a.txt", "# mine\n'train': {steps: 3}\nother: 1\n", True),
        ("a", '{"model": {"hidden": 9}}', True),
        ("a", "HAMLET: to be\nOPHELIA: my lord\n", False),
        ("a", "model: a: b\n", False),
        ("a", "a:\n  model: gru\n", False),
        ("a", "corpus:\n\x00", False),
        ("a", "", False),
    ],
)
def test_a_config_is_known_by_ending_or_content(tmp_path, name, content, expected):
    """A YAML mapping with a section of ours is a config, whatever its name."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert is_config(str(path)) == expected


def test_what_is_read_once_is_a_config(tmp_path):
    """Standard input and a pipe are configs; a folder and a missing file are not."""
    assert is_config("-")
    assert not is_config(str(tmp_path))
    assert not is_config(str(tmp_path / "none"))
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        assert is_config(str(tmp_path / "pipe"))


def test_a_folder_is_its_texts(tmp_path, monkeypatch, caplog):
    """Texts are listed sorted and from all folders below; what else is there is counted."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "b.txt": "text", "sub/deep/a.py": "x = 1", "z.txt": "café", "old.txt": b"caf\xe9",
        "empty.txt": "\n", ".hidden": "text", ".git/config": "text", "sub/.x/y.txt": "text",
        "image.png": b"\x89PNG\0\0", "noise": bytes(range(1, 256)) * 9, "wide.txt": b"\xff\xfe-N",
        "late.bin": b"a" * 9_000 + b"\0", "run": "model: {hidden: 8}",
        "run.npz": b"PK\0", "run.jsonl": "{}", "rows.jsonl": "{}",
    }  # fmt: skip
    for name, content in contents.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "mine" / "sub" / ".x" / "none").mkdir()
    (tmp_path / "mine" / "link.txt").symlink_to("b.txt")
    (tmp_path / "mine" / "sub" / "up").symlink_to("..")
    expected = [f"mine/{name}" for name in ("b.txt", "rows.jsonl", "sub/deep/a.py", "z.txt")]
    with caplog.at_level("INFO", "charrnn"):
        assert list_texts(["mine"]) == expected
    assert "mine: 4 text files, 14 skipped (hidden, " in caplog.text
    assert list_texts(["mine/z.txt", "mine", "-"]) == [expected[-1], *expected[:-1], "-"]
    with pytest.raises(CorpusError, match="has no text files"):
        list_texts(["mine/sub/.x/none"])


def test_the_encoding_of_most_texts_is_taken(tmp_path):
    """Of texts in UTF-8 and others the fewer are skipped, because a corpus has one encoding."""
    for name, raw in {"a": b"a", "b": b"\xe9", "c": b"\xe8", "d": "\u00e9".encode()}.items():
        (tmp_path / name).write_bytes(b"text " + raw)
    assert [path[-1] for path in list_texts([str(tmp_path)])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("texts/mine.txt", "mine"), ("my.texts/", "my.texts"), ("-", "charrnn"), ("/", "charrnn")],
)
def test_files_are_named_after_a_text_or_folder(path, name):
    """A text gives its name without the ending, a folder its whole name."""
    assert base_name(path) == name
