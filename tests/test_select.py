"""Choosing records: what passes, what is counted, and that guidance does not bend the odds."""

import itertools
import re
from collections import Counter

import networks
import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.guide import Guide, literals, whole
from charrnn.sample import Limits, Sampler, Taste, Text
from charrnn.select import Selection
from charrnn.vocab import Vocab

VOCAB = Vocab("\nabcdef")


@pytest.fixture
def sampler():
    """A model of lines with random weights."""
    return Sampler(*networks.network(scale=0.4), VOCAB, "lines")


def texts(*words):
    return [Text(n, word, len(word), 1.0) for n, word in enumerate(words)]


@pytest.mark.parametrize(
    ("match", "beginning", "ending"),
    [
        ("^ty", "ty", ""),
        ("saurus$", "", "saurus"),
        ("^ty$", "ty", ""),
        ("ty", "ty", ""),
        ("ty.*", "ty", ""),
        ("tri.*tops", "tri", "tops"),
        ("^tri.*tops$", "tri", "tops"),
        ("tri.*tops$", "", "tops"),
        ("^tri.*tops", "tri", ""),
        ("a*b", "", "b"),
        ("ab?c", "a", "c"),
        ("ab{2}c", "a", "c"),
        ("ab+", "a", ""),
        (r"a\dxy", "a", "xy"),
        (r"a\d", "a", ""),
        ("a|b", "", ""),
        ("(?i)abc", "", ""),
        ("[ab]c", "", "c"),
        (r"ab\$", "ab", ""),
        ("", "", ""),
    ],
)
def test_the_letters_every_match_has_are_found(match, beginning, ending):
    """Never more of them than every match has."""
    assert literals(match) == (beginning, ending)


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ("^ty", ["ty", "tyx"], ["xty"]),
        ("ty$", ["ty", "xty"], ["tyx"]),
        ("^ty$", ["ty"], ["xty", "tyx"]),
        ("ty", ["ty"], ["xty", "tyx"]),
        ("^a|b", ["a", "ax", "b", "bx"], ["xa"]),
        (r"a\$", ["a$"], ["a", "xa$"]),
    ],
)
def test_a_record_matches_in_full_or_at_the_anchored_end(match, yes, no):
    """`^x` alone begins with x, `x$` alone ends with x."""
    pattern = whole(match)
    assert all(pattern.fullmatch(text) for text in yes)
    assert not any(pattern.fullmatch(text) for text in no)


def test_what_is_no_expression_or_no_model_of_lines_is_said(sampler):
    """With exit code 2: the command is wrong."""
    with pytest.raises(ConfigError, match="not a regular expression"):
        Guide(sampler, "(")
    with pytest.raises(ConfigError, match="running text"):
        Guide(Sampler(sampler.model, sampler.params, VOCAB, "stream"), "a")


@pytest.mark.parametrize("taste", [Taste(), Taste(0.6), Taste(top_k=4)])
def test_guided_records_are_as_frequent_as_by_rejection(sampler, taste):
    """Those that end with `ab`, in many thousand records: the same words, the same shares."""
    pattern, limits = whole("ab$"), Limits(chars=12)
    free = itertools.islice(sampler.texts(1, taste, limits), 40_000)
    rejected = Counter(t.text for t in free if pattern.fullmatch(t.text) and t.chars > len(t.text))
    guided = Counter(
        t.text for t in itertools.islice(Guide(sampler, "ab$").records(2, taste, limits), 8_000)
    )
    assert all(pattern.fullmatch(text) for text in guided)
    for text, number in rejected.most_common(8):
        share = number / rejected.total()
        error = np.sqrt(share / rejected.total() + share / guided.total())
        assert abs(guided[text] / guided.total() - share) < 6 * error + 0.1 * share, text


def test_a_beginning_and_an_end_cost_no_rejections(sampler):
    """Every record passes, and its nats are those of the record after its beginning."""
    from charrnn.evaluate import Evaluator

    evaluator = Evaluator(sampler.model, sampler.params)
    for text in itertools.islice(Guide(sampler, "fa.*ce").records(1, Taste(), Limits()), 50):
        assert re.fullmatch("fa.*ce", text.text)
        record = evaluator.stream([VOCAB.encode(f"\n{text.text}\n")]).total_nats
        beginning = evaluator.stream([VOCAB.encode("\nfa")]).total_nats
        assert text.nats == pytest.approx(record - beginning, abs=1e-9)
        assert text.chars == len(text.text) - 2 + 1


def test_guided_records_are_repeatable(sampler):
    """The same seed, the same records; another seed, other ones."""

    def first(seed, count):
        records = Guide(sampler, "ab$").records(seed, Taste(), Limits())
        return [text.text for text in itertools.islice(records, count)]

    assert first(1, 50) == first(1, 80)[:50]
    assert first(1, 50) != first(2, 50)


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
        "stood in the training corpus": 1,
        "did not match": 1,
    }
    assert found.summary().startswith("kept 3 of 6 records (50 %); ")


def test_it_stops_at_the_number_wanted_or_tried():
    """And takes no more of the texts than it needs."""
    endless = (Text(n, str(n % 3), 1, 1.0) for n in itertools.count())
    found = Selection(endless, 2, attempts=100)
    assert [text.text for text in found] == ["0", "1"]
    assert next(endless).number == 2
    repeated = Selection(endless, 10, unique=True, attempts=50)
    assert len(list(repeated)) == 3
    assert repeated.tried == 50
