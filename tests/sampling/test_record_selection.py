"""Choosing records: what passes, what is counted, and that it always ends."""

import itertools
import re

import pytest

from charrnn import load
from charrnn.errors import ConfigError, VocabError
from charrnn.sampling.record_selection import Selection, compile_pattern, literal_prefix
from charrnn.sampling.sampler import GeneratedText


def texts(*words):
    return [GeneratedText(n, word, len(word), 1.0) for n, word in enumerate(words)]


@pytest.mark.parametrize(
    ("match", "beginning"),
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
def test_the_letters_every_match_begins_with_are_found(match, beginning):
    """After a leading ^ alone, and never more of them than every match has."""
    assert literal_prefix(match) == beginning


@pytest.mark.parametrize(
    ("match", "yes", "no"),
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
def test_an_expression_means_what_it_means_to_grep(match, yes, no):
    """Found anywhere in a record, but for its anchors."""
    pattern = compile_pattern(match)
    words = [*yes, *no]
    found = [t.text for t in Selection(texts(*words), 9, pattern=pattern, attempts=9)]
    assert found == yes


def test_what_is_no_expression_or_no_model_of_lines_is_said(trained, charrnn, config):
    """With exit code 2: the command is wrong."""
    with pytest.raises(ConfigError, match="not a regular expression"):
        load(trained).select(1, match="(")
    stream = charrnn("train", config(mode="stream", name="stream"), "-q").stdout.strip()
    with pytest.raises(ConfigError, match="running text"):
        load(stream).select(1, match="a")
    with pytest.raises(VocabError, match="the beginning of the expression has 'Q'"):
        load(trained).select(1, match="^Q")


def test_records_are_as_frequent_as_without_the_prime(trained):
    """Feeding the beginning tries nothing in vain, and leaves the odds as they are."""
    model = load(trained)
    fed = model.select(2000, match="^an", seed=1)
    shares = sum(text.text[2:3] == "n" for text in fed) / fed.kept
    free = model.select(2000, match="(^an)", attempts=10**6, seed=2)
    assert abs(sum(text.text[2:3] == "n" for text in free) / free.kept - shares) < 0.06
    assert fed.tried == 2000
    assert free.tried > 10_000


@pytest.mark.parametrize("words", [("--top-k", 1), ("--temperature", 0), ()])
def test_an_expression_that_nothing_matches_ends(trained, charrnn, words):
    """After as many records as --attempts says, which is told."""
    result = charrnn("sample", trained, "--lines", 1, "--match", "zq$", "--attempts", 10, *words)
    assert result.exit_code == 1
    assert "kept 0 of 10 records tried (0 %); 10 did not match" in result.stderr
    assert "no record passed" in result.stderr


def test_a_record_that_does_not_end_is_dropped(trained, monkeypatch):
    """Or a model that never writes a newline would be waited for for ever."""
    model = load(trained)
    model.params["by"][model.vocab.lookup("\n")[0]] = -1e9
    monkeypatch.setattr("charrnn.api.MAX_RECORD_CHARS", 50)
    selection = model.select(1, attempts=3, seed=1)
    assert list(selection) == []
    assert selection.summary() == (
        "kept 0 of 3 records tried (0 %); 3 did not end within 50 characters"
    )
    assert len(list(model.select(1, attempts=3, chars=20, seed=1))) == 1


def test_repeats_known_ones_and_others_are_dropped_and_counted():
    """Each for its own reason, and the sentence adds up."""
    found = Selection(
        texts("ab", "ab", "cd", "ef", "x", "ad"),
        10,
        pattern=re.compile("[a-z]{2}"),
        unique=True,
        known={"cd"},
        attempts=100,
    )
    assert [text.text for text in found] == ["ab", "ef", "ad"]
    assert found.dropped == {
        "were repeats": 1,
        "were in the training corpus": 1,
        "did not match": 1,
    }
    assert found.summary().startswith("kept 3 of 6 records tried (50 %); ")


def test_it_stops_at_the_number_wanted_or_tried():
    """And takes no more of the texts than it needs."""
    endless = (GeneratedText(n, str(n % 3), 1, 1.0) for n in itertools.count())
    found = Selection(endless, 2, attempts=100)
    assert [text.text for text in found] == ["0", "1"]
    assert next(endless).number == 2
    repeated = Selection(endless, 10, unique=True, attempts=50)
    assert len(list(repeated)) == 3
    assert repeated.tried == 50
