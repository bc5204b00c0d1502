"""Tests of record selection: what passes, what is counted, and that it always ends."""

import itertools
import re

import pytest

from charrnn import load
from charrnn.errors import ConfigError, VocabError
from charrnn.sampling.record_selection import Selection, compile_pattern, literal_prefix
from charrnn.sampling.sampler import GeneratedText


def make_texts(*words):
    """Return generated texts, numbered from 0, with these words."""
    return [GeneratedText(n, word, len(word), 1.0) for n, word in enumerate(words)]


@pytest.mark.parametrize(
    ("match", "prefix"),
    [
        ("^ty", "ty"),
        ("^ty$", "ty"),
        ("^tri.*tops$", "tri"),
        ("^ab+", "ab"),
        ("^ab*", "a"),
        ("^ab?c", "a"),
        ("^ab{2}c", "a"),
        (r"^a\dxy", "a"),
        (r"^\x61b", ""),
        (r"^ab\$", "ab"),
        ("^a(b|c)d", "a"),
        ("^a[|(]b|c", ""),
        (r"^a\(|b", ""),
        (r"^a[\]|]b", "a"),
        ("^a|b", ""),
        ("(?i)^abc", ""),
        ("^a(?i:b)", ""),
        ("^a\nb", "a"),
        ("ty", ""),
        ("ty$", ""),
        ("^", ""),
        ("", ""),
    ],
)
def test_literal_prefix(match, prefix):
    """The literal prefix is what every match begins with; it is empty without a leading ^."""
    assert literal_prefix(match) == prefix


@pytest.mark.parametrize(
    ("match", "matching", "rest"),
    [
        ("^ty", ["ty", "tyx"], ["xty"]),
        ("ty$", ["ty", "xty"], ["tyx"]),
        ("^ty$", ["ty"], ["xty", "tyx"]),
        ("ty", ["ty", "xtyx"], ["t", "yt"]),
        ("^a|b", ["a", "ax", "xb", "bx"], ["xa"]),
        (r"a\$", ["a$", "xa$x"], ["a"]),
        (r"\x61$", ["a", "xa"], ["61", "ax"]),
        ("[[a]", ["[", "a"], ["b"]),
    ],
)
def test_an_expression_matches_as_in_grep(match, matching, rest):
    """An expression may match anywhere in a record; ^ and $ match only at its ends."""
    texts = make_texts(*matching, *rest)
    selection = Selection(texts, 9, pattern=compile_pattern(match), attempts=9)
    assert [text.text for text in selection] == matching


def test_an_invalid_request_raises_an_error(trained, charrnn, config):
    """An invalid expression, a model of running text and an unknown character raise errors."""
    with pytest.raises(ConfigError, match="not a regular expression"):
        load(trained).select(1, match="(")
    stream = charrnn("train", config(mode="stream", name="stream"), "-q").stdout.strip()
    with pytest.raises(ConfigError, match="running text"):
        load(stream).select(1, match="a")
    with pytest.raises(VocabError, match="the beginning of the expression has 'Q'"):
        load(trained).select(1, match="^Q")


def test_records_are_as_frequent_as_without_the_prime(trained):
    """Priming with the literal prefix drops no record and keeps the probabilities of records."""
    model = load(trained)
    primed = model.select(2000, match="^an", seed=1)
    share = sum(text.text[2:3] == "n" for text in primed) / primed.kept
    free = model.select(2000, match="(^an)", attempts=10**6, seed=2)
    assert abs(sum(text.text[2:3] == "n" for text in free) / free.kept - share) < 0.06
    assert primed.tried == 2000
    assert free.tried > 10_000


@pytest.mark.parametrize("options", [("--top-k", 1), ("--temperature", 0), ()])
def test_sampling_ends_after_the_attempts(trained, charrnn, options):
    """If no record matches, `sample` ends after --attempts records and reports their number."""
    result = charrnn("sample", trained, "--lines", 1, "--match", "zq$", "--attempts", 10, *options)
    assert result.exit_code == 1
    assert "kept 0 of 10 records tried (0 %); 10 did not match" in result.stderr
    assert "no record passed" in result.stderr


def test_a_record_that_does_not_end_is_dropped(trained, monkeypatch):
    """A record without a newline is dropped, as it might never end, unless `chars` is given."""
    model = load(trained)
    model.params["by"][model.vocab.lookup("\n")[0]] = -1e9
    monkeypatch.setattr("charrnn.api.MAX_RECORD_CHARS", 50)
    selection = model.select(1, attempts=3, seed=1)
    assert list(selection) == []
    assert selection.summary() == (
        "kept 0 of 3 records tried (0 %); 3 did not end within 50 characters"
    )
    assert len(list(model.select(1, attempts=3, chars=20, seed=1))) == 1


def test_dropped_records_are_counted_by_reason():
    """Repeats, known records and records without a match are counted, each by its reason."""
    selection = Selection(
        make_texts("ab", "ab", "cd", "ef", "x", "ad"),
        10,
        pattern=re.compile("[a-z]{2}"),
        unique=True,
        known={"cd"},
        attempts=100,
    )
    assert [text.text for text in selection] == ["ab", "ef", "ad"]
    assert selection.dropped == {
        "were repeats": 1,
        "were in the training corpus": 1,
        "did not match": 1,
    }
    assert selection.summary().startswith("kept 3 of 6 records tried (50 %); ")


def test_a_selection_stops_at_the_count_or_the_attempts():
    """A selection takes no more texts than it needs for its count, or than its attempts."""
    endless = (GeneratedText(n, str(n % 3), 1, 1.0) for n in itertools.count())
    selection = Selection(endless, 2, attempts=100)
    assert [text.text for text in selection] == ["0", "1"]
    assert next(endless).number == 2
    repeated = Selection(endless, 10, unique=True, attempts=50)
    assert len(list(repeated)) == 3
    assert repeated.tried == 50
