"""Tests of scores: they equal the definition, however the text is cut."""

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
    """The evaluator of a small random network."""
    return Evaluator(*networks.network())


def random_ids(count, seed=0):
    """Return `count` random ids."""
    return np.random.default_rng(seed).integers(0, networks.V, count)


def expected_nats(evaluator, ids):
    """Return -ln p of all characters after the first, by the definition, step by step."""
    model, params = evaluator.model, evaluator.params
    h, nats = np.zeros(model.hidden), 0.0
    for x, y in itertools.pairwise(ids):
        h = np.tanh(params["layer0.Wxh"][x] + h @ params["layer0.Whh"] + params["layer0.bh"])
        logits = h @ params["Why"] + params["by"]
        nats -= math.log(np.exp(logits[y]) / np.exp(logits).sum())
    return nats


def test_a_stream_is_scored_by_the_definition(evaluator):
    """Every character of a stream except the first is scored with carried state, to 1e-10."""
    ids = random_ids(700)
    score = networks.score_stream(evaluator, ids)
    assert score.chars == 699
    assert score.total_nats == pytest.approx(expected_nats(evaluator, ids), abs=1e-10)
    assert score.bits == pytest.approx(score.nats / math.log(2))
    assert score.perplexity == pytest.approx(math.exp(score.nats))


def test_a_stream_may_come_in_pieces(evaluator):
    """The score of a stream does not depend on its pieces, even of one character."""
    text = VOCAB.decode(random_ids(700).tolist())
    pieces = [text[:1], text[1:300], text[300:301], text[301:]]
    expected = score_text(evaluator, VOCAB, [text], "stream", "text")
    score = score_text(evaluator, VOCAB, pieces, "stream", "text")
    assert score.total_nats == pytest.approx(expected.total_nats, abs=1e-9)


@pytest.mark.parametrize("count", [2, 100, 4 * WARM_UP * 3 + 5, 4 * WARM_UP * (SCORING_ROWS + 3)])
def test_pieces_side_by_side_score_every_character_once(evaluator, count):
    """The pieces of a stream, scored as one batch, have the score of the stream.

    The state of this model depends only on characters within the warm-up.
    """
    ids = random_ids(count)
    score = evaluator.validation(Corpus(VOCAB, ids[:0], ids, ""))
    expected = networks.score_stream(evaluator, ids)
    assert score.chars == expected.chars
    assert score.total_nats == pytest.approx(expected.total_nats, rel=1e-6)


def test_records_are_scored_one_by_one(evaluator):
    """Each record is scored from the zero state after a newline, with its closing newline."""
    lines = ["a", "fade", "b" * 300, "dead", "cab"] * 30
    records = Records.of(lines, VOCAB.encode)
    record_ids = np.arange(len(lines))
    score = evaluator.validation(Corpus(VOCAB, record_ids[:0], record_ids, "", records))
    expected = sum(expected_nats(evaluator, VOCAB.encode(f"\n{line}\n")) for line in lines)
    assert score.chars == sum(len(line) + 1 for line in lines)
    assert score.total_nats == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("text", ["ab\ncd\n", "ab\ncd", "\nab\n\n\ncd\n\n"])
def test_lines_are_the_same_with_or_without_a_last_newline(evaluator, text):
    """The score of lines ignores a missing last newline and empty lines."""
    score = score_text(evaluator, VOCAB, [text], "lines", "text")
    expected = expected_nats(evaluator, VOCAB.encode("\nab\n"))
    expected += expected_nats(evaluator, VOCAB.encode("\ncd\n"))
    assert score.chars == 6
    assert score.total_nats == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_text_may_arrive_in_any_pieces(evaluator, mode):
    """A text has the same score in one piece and character by character."""
    text = "abc\nfeed\n\nbad" * 20
    expected = score_text(evaluator, VOCAB, [text], mode, "text")
    score = score_text(evaluator, VOCAB, iter(text), mode, "text")
    assert score.chars == expected.chars
    assert score.total_nats == pytest.approx(expected.total_nats, abs=1e-9)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_an_unknown_character_is_named_or_counted(evaluator, mode):
    """An unknown character raises an error with its offset in the text, or is skipped."""
    pieces = ["abc\nf", "ee\nbxd", "xx"]
    with pytest.raises(VocabError, match=r"'x' \(U\+0078\) at character 10,") as caught:
        score_text(evaluator, VOCAB, pieces, mode, "text")
    assert "--unknown skip" in caught.value.hint
    skipped = score_text(evaluator, VOCAB, pieces, mode, "text", skip_unknown=True)
    expected = score_text(evaluator, VOCAB, ["abc\nfee\nbd"], mode, "text")
    assert skipped.unknown == 3
    assert skipped.chars == expected.chars
    assert skipped.total_nats == pytest.approx(expected.total_nats, abs=1e-9)


@pytest.mark.parametrize(("mode", "text"), [("stream", ""), ("stream", "a"), ("lines", "\n\n")])
def test_a_text_too_short_to_score_raises_an_error(evaluator, mode, text):
    """A text without a character to score raises CorpusError."""
    with pytest.raises(CorpusError, match="too short to score"):
        score_text(evaluator, VOCAB, [text], mode, "text")


@pytest.mark.parametrize("size", [1, 3, 10, 64, 1000])
@pytest.mark.parametrize("piece_size", [1, 7, 50])
def test_windows_are_each_scored_from_the_zero_state(size, piece_size):
    """Each window is scored from the zero state, whatever its size and the size of pieces."""
    model, params = networks.network("gru", vocab_size=len(VOCAB))
    evaluator = Evaluator(model, params)
    evaluator.window = 4
    text = "".join(np.random.default_rng(0).choice(list(VOCAB.chars), 200))
    pieces = [text[start : start + piece_size] for start in range(0, 200, piece_size)]
    scored = score_pieces(evaluator, VOCAB, pieces, ReadOptions("stream", "text", window=size))
    nats = np.concatenate([piece.nats for piece in scored])
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
    """--window changes the score of a stream only if it is short, and is invalid for lines."""
    path = charrnn("train", config("abcab" * 40, mode="stream"), "-q").stdout.strip()
    default, long, short = (
        json.loads(charrnn("eval", path, "--json", *options).stdout)["nats_per_char"]
        for options in ((), ("--window", 500), ("--window", 1))
    )
    assert default == pytest.approx(long, abs=1e-6)
    assert short != pytest.approx(default, abs=1e-3)
    path = charrnn("train", config(name="lines"), "-q").stdout.strip()
    result = charrnn("eval", path, "--window", 5)
    assert result.exit_code == 2
    assert "--window is for running text" in result.stderr
    result = charrnn("page", path, "--window", 5, "-o", "page.html")
    assert result.exit_code == 2
