"""Scores: the same however the text is cut, and equal to the definition."""

import itertools
import json
import math

import networks
import numpy as np
import pytest

from charrnn.data.corpus import Corpus, Records
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError, VocabError
from charrnn.evaluation.evaluator import SCORING_ROWS, WARM_UP, Evaluator
from charrnn.evaluation.text_scoring import ReadOptions, score_pieces, score_text

VOCAB = Vocab("\nabcdef")


@pytest.fixture
def evaluator():
    """One of a small random model."""
    return Evaluator(*networks.network())


def ids_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, networks.V, count)


def by_definition(evaluator, ids):
    """-ln p of every character after the first, one step at a time."""
    model, params = evaluator.model, evaluator.params
    h, total = np.zeros(model.hidden), 0.0
    for x, y in itertools.pairwise(ids):
        h = np.tanh(params["layer0.Wxh"][x] + h @ params["layer0.Whh"] + params["layer0.bh"])
        scores = h @ params["Why"] + params["by"]
        total -= math.log(np.exp(scores[y]) / np.exp(scores).sum())
    return total


def test_a_stream_is_scored_by_the_definition(evaluator):
    """Every character but the first, with carried state, to 1e-10."""
    ids = ids_of(700)
    score = networks.score_stream(evaluator, ids)
    assert score.chars == 699
    assert score.total_nats == pytest.approx(by_definition(evaluator, ids), abs=1e-10)
    assert score.bits == pytest.approx(score.nats / math.log(2))
    assert score.perplexity == pytest.approx(math.exp(score.nats))


def test_a_stream_may_come_in_pieces(evaluator):
    """Of any size, also of one character."""
    text = VOCAB.decode(ids_of(700).tolist())
    pieces = [text[:1], text[1:300], text[300:301], text[301:]]
    whole, cut = (
        score_text(evaluator, VOCAB, parts, "stream", "text") for parts in ([text], pieces)
    )
    assert cut.total_nats == pytest.approx(whole.total_nats, abs=1e-9)


@pytest.mark.parametrize("count", [2, 100, 4 * WARM_UP * 3 + 5, 4 * WARM_UP * (SCORING_ROWS + 3)])
def test_pieces_side_by_side_score_every_character_once(evaluator, count):
    """This model forgets within the warm-up, so the sum equals that of the whole stream."""
    ids = ids_of(count)
    score = evaluator.validation(Corpus(VOCAB, ids[:0], ids, ""))
    whole = networks.score_stream(evaluator, ids)
    assert score.chars == whole.chars
    assert score.total_nats == pytest.approx(whole.total_nats, rel=1e-6)


def test_records_are_scored_one_by_one(evaluator):
    """Each from the zero state, after a newline, its own newline included."""
    lines = ["a", "fade", "b" * 300, "dead", "cab"] * 30
    records = Records.of(lines, VOCAB.encode)
    which = np.arange(len(lines))
    score = evaluator.validation(Corpus(VOCAB, which[:0], which, "", records))
    expected = sum(by_definition(evaluator, VOCAB.encode(f"\n{line}\n")) for line in lines)
    assert score.chars == sum(len(line) + 1 for line in lines)
    assert score.total_nats == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("text", ["ab\ncd\n", "ab\ncd", "\nab\n\n\ncd\n\n"])
def test_lines_are_the_same_with_or_without_a_last_newline(evaluator, text):
    """And empty lines are none."""
    score = score_text(evaluator, VOCAB, [text], "lines", "text")
    expected = by_definition(evaluator, VOCAB.encode("\nab\n"))
    expected += by_definition(evaluator, VOCAB.encode("\ncd\n"))
    assert score.chars == 6
    assert score.total_nats == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_text_may_arrive_in_any_pieces(evaluator, mode):
    """Character by character, or all at once."""
    text = "abc\nfeed\n\nbad" * 20
    whole = score_text(evaluator, VOCAB, [text], mode, "text")
    single = score_text(evaluator, VOCAB, iter(text), mode, "text")
    assert single.chars == whole.chars
    assert single.total_nats == pytest.approx(whole.total_nats, abs=1e-9)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_an_unknown_character_is_named_or_counted(evaluator, mode):
    """With its place in the whole text, not in the piece."""
    pieces = ["abc\nf", "ee\nbxd", "xx"]
    with pytest.raises(VocabError, match=r"'x' \(U\+0078\) at character 10,") as caught:
        score_text(evaluator, VOCAB, pieces, mode, "text")
    assert "--unknown skip" in caught.value.hint
    skipped = score_text(evaluator, VOCAB, pieces, mode, "text", skip_unknown=True)
    without = score_text(evaluator, VOCAB, ["abc\nfee\nbd"], mode, "text")
    assert skipped.unknown == 3
    assert skipped.chars == without.chars
    assert skipped.total_nats == pytest.approx(without.total_nats, abs=1e-9)


@pytest.mark.parametrize(("mode", "text"), [("stream", ""), ("stream", "a"), ("lines", "\n\n")])
def test_a_text_too_short_to_score_is_said(evaluator, mode, text):
    """There is nothing to divide by."""
    with pytest.raises(CorpusError, match="too short to score"):
        score_text(evaluator, VOCAB, [text], mode, "text")


@pytest.mark.parametrize("size", [1, 3, 10, 64, 1000])
@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_windows_are_each_scored_from_the_zero_state(size, pieces):
    """However the text is cut on its way, and in windows longer than are scored at a time."""
    model, params = networks.network("gru", vocab_size=len(VOCAB))
    evaluator = Evaluator(model, params)
    evaluator.window = 4
    text = "".join(np.random.default_rng(0).choice(list(VOCAB.chars), 200))
    parts = [text[start : start + pieces] for start in range(0, 200, pieces)]
    found = score_pieces(evaluator, VOCAB, parts, ReadOptions("stream", "text", window=size))
    nats = np.concatenate([piece.nats for piece in found])
    ids = VOCAB.encode(text)
    expected = np.concatenate(
        [
            evaluator.score_sequence(ids[start : start + size + 1], model.zero_state(1))[0][0]
            for start in range(0, 199, size)
        ]
    )
    assert np.isnan(nats[0])
    np.testing.assert_allclose(nats[1:], expected, atol=1e-12)


def test_a_window_as_long_as_the_text_is_the_whole_text(charrnn, config):
    """And a short one is worse; lines have none."""
    path = charrnn("train", config("abcab" * 40, mode="stream"), "-q").stdout.strip()
    words = ("eval", path, "--json")
    whole, same, short = (
        json.loads(charrnn(*words, *more).stdout)["nats_per_char"]
        for more in ((), ("--window", 500), ("--window", 1))
    )
    assert whole == pytest.approx(same, abs=1e-6)
    assert short != pytest.approx(whole, abs=1e-3)
    path = charrnn("train", config(name="lines"), "-q").stdout.strip()
    result = charrnn("eval", path, "--window", 5)
    assert result.exit_code == 2
    assert "--window is for running text" in result.stderr
    result = charrnn("page", path, "--window", 5, "-o", "page.html")
    assert result.exit_code == 2
