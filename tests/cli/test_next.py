"""`charrnn next` prints the likeliest next characters after a text."""

import json
import math
import shutil

import pytest

from charrnn import api


def test_rows_and_json_have_the_same_characters(charrnn, trained):
    """The rows are those of `model.next`, the likeliest first, with probability and bits."""
    expected = api.load(trained).next("an", top=4)
    rows = json.loads(charrnn("next", trained, "an", "--top", 4, "--json").stdout)
    assert [(row["char"], row["probability"]) for row in rows] == expected
    assert [row["bits"] for row in rows] == [-math.log2(p) for _, p in expected]
    lines = charrnn("next", trained, "an", "--top", 4).stdout.splitlines()
    assert lines == [f"{json.dumps(char)}\t{p:.4f}\t{-math.log2(p):.4f}" for char, p in expected]
    assert len(charrnn("next", trained, "an").stdout.splitlines()) == 10


def test_the_text_may_be_stdin(charrnn, trained, config):
    """A model of lines drops the final newline of stdin, and one of running text reads it."""
    expected = charrnn("next", trained, "an").stdout
    assert charrnn("next", trained, "-", stdin="an\n").stdout == expected
    assert charrnn("next", trained, "-", stdin="bob\nan").stdout == expected
    stream = charrnn("train", config(mode="stream"), "-q").stdout.strip()
    assert (
        charrnn("next", stream, "-", stdin="an\n").stdout == charrnn("next", stream, "an\n").stdout
    )
    assert charrnn("next", stream, "an\n").stdout != charrnn("next", stream, "an").stdout


def test_the_environment_may_name_the_checkpoint(charrnn, trained, monkeypatch, tmp_path):
    """With CHARRNN_CHECKPOINT the only argument is the text, which is required."""
    expected = charrnn("next", trained, "an").stdout
    monkeypatch.setenv("CHARRNN_CHECKPOINT", trained)
    assert charrnn("next", "an").stdout == expected
    assert charrnn("next", trained, "an").stdout == expected
    result = charrnn("next", shutil.copy(trained, tmp_path / "other.npz"))  # no text
    assert (result.exit_code, result.stdout) == (2, "")
    for arguments in ((), (trained,)):
        result = charrnn("next", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Missing argument 'TEXT'" in result.stderr


@pytest.mark.parametrize(
    ("code", "message", "arguments"),
    [
        (1, "the text has '?' (U+003F) at character 3", ["an?"]),
        (2, "Missing argument 'TEXT'", []),
        (2, "'--top'", ["an", "--top", "0"]),
    ],
)
def test_a_mistake_is_one_message(charrnn, trained, code, message, arguments):
    """An unknown character, a missing text or a wrong number prints one error."""
    result = charrnn("next", trained, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_model_and_text_cannot_both_be_stdin(charrnn):
    """`charrnn next - -` is refused."""
    result = charrnn("next", "-", "-")
    assert result.exit_code == 2
    assert "cannot both come from standard input" in result.stderr
