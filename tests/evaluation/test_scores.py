"""Tests of scores per character, line and text, dynamic evaluation, comparison and shades."""

import itertools
import math

import networks
import numpy as np
import pytest

from charrnn.checkpoint import Checkpoint
from charrnn.cli import score as shading
from charrnn.cli import terminal
from charrnn.config.schema import Config, CorpusConfig, ModelConfig
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CharrnnError, DivergedError, VocabError
from charrnn.evaluation import comparison, dynamic_evaluation, line_scores
from charrnn.evaluation.evaluator import PREDICTION, SURPRISAL, Evaluator
from charrnn.evaluation.text_scoring import ReadOptions, score_pieces, score_text

VOCAB = Vocab("\nabcdef")
TEXT = "abc\nfeed\n\nbad\n" + "decade" * 60 + "\n" + "fade\ncab\n" * 9 + "bed"


def make_evaluator(cell="rnn", **options):
    """Return the evaluator of a random network."""
    return Evaluator(*networks.network(cell, **options))


def score_lines(evaluator, pieces, mode, skip=False):
    """Return the scores of all lines of a text."""
    scored = score_pieces(evaluator, VOCAB, pieces, ReadOptions(mode, "text", skip))
    return [*itertools.chain.from_iterable(line_scores.line_scores(scored))]


def score_chars(evaluator, pieces, mode, skip=False):
    """Return the scores of all characters of a text."""
    scored = score_pieces(evaluator, VOCAB, pieces, ReadOptions(mode, "text", skip), PREDICTION)
    return [*itertools.chain.from_iterable(line_scores.char_scores(scored, VOCAB))]


def cut(text, size):
    """Return the text in pieces of `size` characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("text", [TEXT, "\n" + TEXT + "\n", "x" + TEXT + "\nxx\nax\n"])
def test_characters_lines_and_the_whole_text_agree(cell, mode, text):
    """The scores of lines and of characters add up to the score of the text, to 1e-9."""
    evaluator = make_evaluator(cell, layers=2)
    score = score_text(evaluator, VOCAB, [text], mode, "text", skip_unknown=True)
    lines = score_lines(evaluator, [text], mode, skip=True)
    chars = score_chars(evaluator, [text], mode, skip=True)
    bits = score.bits * score.chars
    assert sum(line.bits for line in lines) == pytest.approx(bits, abs=1e-9)
    assert sum(char.bits for char in chars) == pytest.approx(bits, abs=1e-9)
    assert sum(line.chars for line in lines) == len(chars) == score.chars
    assert sum(line.unknown for line in lines) == score.unknown == text.count("x")


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_rows_do_not_depend_on_the_pieces(mode, size):
    """The rows of a text in pieces equal its rows in one piece, also if a line is cut."""
    evaluator, pieces = make_evaluator(), cut(TEXT, size)
    expected, lines = score_lines(evaluator, [TEXT], mode), score_lines(evaluator, pieces, mode)
    assert [line.text for line in lines] == [line.text for line in expected]
    bits = [line.bits for line in expected]
    assert [line.bits for line in lines] == pytest.approx(bits, abs=1e-9)
    assert [line[1:3] for line in lines] == [line[1:3] for line in expected]
    expected, chars = score_chars(evaluator, [TEXT], mode), score_chars(evaluator, pieces, mode)
    assert [char.char for char in chars] == [char.char for char in expected]
    bits = np.array([char[1:4:2] for char in expected])
    assert [char[1:4:2] for char in chars] == pytest.approx(bits, abs=1e-9)
    assert [char[2::2] for char in chars] == [char[2::2] for char in expected]


def test_lines_are_scored_independently_in_a_model_of_lines():
    """The score of a line is that of a text with only this line; empty lines have no score."""
    evaluator = make_evaluator("gru")
    lines = score_lines(evaluator, [TEXT], "lines")
    assert [line.text for line in lines] == [line for line in TEXT.split("\n") if line]
    for line in lines:
        expected = score_text(evaluator, VOCAB, [line.text], "lines", "text")
        assert line.bits_per_char == pytest.approx(expected.bits, abs=1e-10)
        assert line.chars == len(line.text) + 1


def test_a_character_score_equals_the_definition():
    """Bits, rank, entropy and likeliest character equal the definition, step by step."""
    evaluator = make_evaluator()
    model, params = evaluator.model, evaluator.params
    h, previous = np.zeros(model.hidden), "\n"
    chars = score_chars(evaluator, ["decade\n"], "lines")
    for char in chars:
        x = params["layer0.Wxh"][VOCAB.encode(previous)[0]]
        h = np.tanh(x + h @ params["layer0.Whh"] + params["layer0.bh"])
        p = np.exp(h @ params["Why"] + params["by"])
        p /= p.sum()
        target = VOCAB.encode(char.char)[0]
        assert char.bits == pytest.approx(-math.log2(p[target]), abs=1e-10)
        assert char.rank == 1 + sorted(p, reverse=True).index(p[target])
        assert char.entropy_bits == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-10)
        assert char.likeliest == VOCAB.chars[p.argmax()]
        previous = char.char
    assert "".join(char.char for char in chars) == "decade\n"


def test_a_line_of_unknown_characters_alone_has_infinite_bits_per_character():
    """A line of unknown characters alone has a row, with infinite bits per character."""
    lines = score_lines(make_evaluator(), ["abc\nxyz\n"], "lines", skip=True)
    assert lines[1][:4] == (0.0, 0, 3, "xyz")
    assert lines[1].bits_per_char == math.inf


def test_the_offset_of_an_unknown_character_counts_every_newline():
    """The offset of an unknown character counts the newlines of all lines of a piece."""
    with pytest.raises(VocabError, match=r"'x' .* at character 9,"):
        score_lines(make_evaluator(), ["abc\n\nab\nxa\n"], "lines")


def test_a_very_long_line_is_scored_in_a_batch_of_its_own():
    """A batch of short lines is not padded to the length of a very long line."""
    evaluator = make_evaluator()
    lengths = np.array([5] * 100 + [300_000])
    batches = list(evaluator._batches(lengths))
    assert sorted(np.concatenate(batches)) == list(range(101))
    assert all(lengths[batch].max() * len(batch) <= 1 << 18 for batch in batches[:-1])
    assert batches[-1].tolist() == [100]


def test_memory_is_bounded_for_lines_of_every_length():
    """The number of workspaces is bounded when lines of every length are scored."""
    evaluator = make_evaluator()
    for length in range(1, 200):
        score_text(evaluator, VOCAB, ["a" * length], "lines", "text")
    assert len(evaluator._workspaces._workspaces) <= 64


def expected_dynamic_nats(model, params, windows, rate, decay):
    """Return the nats of dynamic evaluation, computed in plain steps with carried state."""
    static = {name: array.copy() for name, array in params.items()}
    p = {name: array.copy() for name, array in params.items()}
    nats, h = 0.0, np.zeros(model.hidden)
    for ids, targets, is_first in windows:
        h = np.zeros(model.hidden) if is_first else h
        hs, ps = [h], []
        for x, y in zip(ids, targets, strict=True):
            h = np.tanh(p["layer0.Wxh"][x] + h @ p["layer0.Whh"] + p["layer0.bh"])
            e = np.exp(h @ p["Why"] + p["by"])
            hs.append(h)
            ps.append(e / e.sum())
            nats -= math.log(ps[-1][y])
        g = {name: np.zeros_like(array) for name, array in p.items()}
        dh_next = np.zeros(model.hidden)
        for t in reversed(range(len(ids))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            dy /= len(ids)
            g["Why"] += np.outer(hs[t + 1], dy)
            g["by"] += dy
            da = (dy @ p["Why"].T + dh_next) * (1 - hs[t + 1] ** 2)
            g["layer0.Wxh"][ids[t]] += da
            g["layer0.Whh"] += np.outer(hs[t], da)
            g["layer0.bh"] += da
            dh_next = da @ p["layer0.Whh"].T
        for name in p:
            p[name] -= rate * g[name]
            p[name] += decay * (static[name] - p[name])
    return nats


def stream_windows(text):
    """Yield the ids and targets of each window, and whether it is the first of the text."""
    ids = VOCAB.encode(text)
    for start in range(0, len(ids) - 1, dynamic_evaluation.WINDOW):
        window = ids[start : start + dynamic_evaluation.WINDOW + 1]
        yield window[:-1], window[1:], start == 0


def line_windows(text):
    """Yield the ids and targets of each window, and whether it is the first of its line."""
    for line in filter(None, text.split("\n")):
        yield from stream_windows(f"\n{line}\n")


@pytest.mark.parametrize(("mode", "windows"), [("stream", stream_windows), ("lines", line_windows)])
@pytest.mark.parametrize("size", [3, 1000])
def test_dynamic_evaluation_equals_the_plain_loop(mode, windows, size):
    """Dynamic evaluation equals a plain loop to 1e-10, whatever the pieces of the text."""
    model, params = networks.network()
    expected = expected_dynamic_nats(model, params, windows(TEXT), 0.1, dynamic_evaluation.DECAY)
    pieces = cut(TEXT, size)
    pieces = dynamic_evaluation.windows(pieces) if mode == "stream" else pieces
    evaluator = dynamic_evaluation.DynamicEvaluator(model, params, 0.1)
    score = score_text(evaluator, VOCAB, pieces, mode, "text")
    assert score.total_nats == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_dynamic_evaluation_learns_a_repeated_word(cell, mode):
    """Dynamic evaluation predicts a repetitive text better, and does not change the model."""
    model, params = networks.network(cell)
    before = params.flat.copy()
    text = "fadebac\n" * 400
    static = score_text(Evaluator(model, params), VOCAB, [text], mode, "text")
    evaluator = dynamic_evaluation.DynamicEvaluator(model, params)
    dynamic = score_text(evaluator, VOCAB, dynamic_evaluation.windows([text]), mode, "text")
    assert dynamic.chars == static.chars
    assert dynamic.bits < 0.95 * static.bits
    assert (params.flat == before).all()


def test_a_rate_that_is_too_high_raises_an_error():
    """A rate with which the weights diverge raises an error with a smaller rate to try."""
    model, params = networks.network(scale=2.0)
    evaluator = dynamic_evaluation.DynamicEvaluator(model, params, 1e308)
    with pytest.raises(DivergedError, match="diverged") as caught:
        score_text(evaluator, VOCAB, ["decade\n" * 50], "lines", "text")
    assert caught.value.hint.endswith("--dynamic-rate 1e+307")


def make_checkpoint(scale=0.5, seed=0, chars=VOCAB.chars, **corpus):
    """Return the checkpoint of a random network."""
    _, params = networks.network(seed=seed, vocab_size=len(chars), scale=scale)
    config = Config(
        corpus=CorpusConfig(path=("text",), **corpus),
        model=ModelConfig(hidden=networks.H, dtype="float64"),
    )
    empty = np.empty(0)
    return Checkpoint(config, Vocab(chars), params, {}, empty, empty, "0" * 64)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_model_differs_from_another_and_not_from_itself(mode):
    """The interval contains the difference of two models, which is 0 for equal models."""
    this, other = make_checkpoint(mode=mode), make_checkpoint(scale=1.5, mode=mode)
    text = "decade\nfed\n" * 100
    equal = comparison.compare(this, this, [text], "text")
    assert equal.difference_bits == 0
    assert equal.interval_bits == (0, 0)
    compared = comparison.compare(this, other, iter(text), "text")
    low, high = compared.interval_bits
    assert low <= compared.difference_bits <= high < 0
    assert compared.blocks == (200 if mode == "lines" else 6)
    for score, loaded in ((compared.this, this), (compared.other, other)):
        expected = score_text(Evaluator(loaded.model, loaded.params), VOCAB, [text], mode, "text")
        assert score.bits == pytest.approx(expected.bits, abs=1e-9)
        assert score.chars == expected.chars


def test_a_character_unknown_to_either_model_is_left_out_for_both():
    """A character that one vocabulary lacks raises VocabError, or is skipped for both models."""
    this, other = make_checkpoint(mode="lines"), make_checkpoint(mode="lines", chars="\nabcdxy")
    with pytest.raises(VocabError, match=r"'e' .* character 5, which the other model's"):
        comparison.compare(this, other, ["ab\n", "ce\n"], "text")
    compared = comparison.compare(this, other, ["ab\n", "cexf\n"], "text", skip_unknown=True)
    assert (compared.this.chars, compared.other.chars, compared.this.unknown) == (5, 5, 3)


@pytest.mark.parametrize("difference", [{"mode": "stream"}, {"mode": "lines", "lowercase": True}])
def test_models_that_read_a_text_differently_are_not_compared(difference):
    """Comparing models that read a text differently raises an error with the config key."""
    with pytest.raises(CharrnnError, match=r"cannot be compared: corpus\.\w+ is "):
        comparison.compare(
            make_checkpoint(mode="lines"), make_checkpoint(**difference), ["ab"], "text"
        )


def test_the_interval_of_equal_blocks_is_that_of_the_mean():
    """The interval of many blocks of equal size is the mean plus or minus 1.96 standard errors."""
    bits = np.random.default_rng(0).normal(2.0, 1.0, 2000)
    low, high = comparison.bootstrap(bits, np.ones(2000))
    error = bits.std() / math.sqrt(2000)
    assert low == pytest.approx(bits.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(bits.mean() + 1.96 * error, abs=0.3 * error)


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm-256color"}, False),
    ],
)
def test_colour_is_only_for_terminals_that_support_it(is_terminal, environment, expected):
    """Text is shaded on a terminal unless NO_COLOR is set and not empty, or TERM is dumb."""
    assert terminal.colour_enabled(is_terminal, environment) == expected


def test_a_shaded_line_has_colours_and_escapes():
    """A shaded line has one colour per range of bits, and escapes for control characters."""
    bits = np.array([np.nan, 0.5, 1.0, 1.5, 9.0])
    line = shading.shade("abcd\x1b", bits)
    colour = "\x1b[38;5;16;48;5;{}m".format
    assert shading.shade("\t", np.array([9.0]), raw=True) == f"{colour(203)}→\t\x1b[0m"
    assert line == f"ab{colour(230)}cd\x1b[0m{colour(203)}\\x1b\x1b[0m"
    assert [shading.colour_of(x) for x in (0, 1, 2, 4, 6, 8)] == [None, 230, 223, 216, 209, 203]
    assert shading.legend().count("\x1b[0m") == len(shading.SHADES)


def test_windows_do_not_depend_on_the_pieces():
    """All windows of a text but the last have one size, and the first one character more."""
    for size in (1, 19, 21, 500):
        windows = list(dynamic_evaluation.windows(cut(TEXT, size)))
        assert "".join(windows) == TEXT
        assert {len(window) for window in windows[1:-1]} == {dynamic_evaluation.WINDOW}
        assert len(windows[0]) == dynamic_evaluation.WINDOW + 1


def test_the_first_row_of_a_prediction_is_the_surprisal():
    """The first of the four rows of `PREDICTION` equals `SURPRISAL`."""
    evaluator, state = make_evaluator(), networks.network()[0].zero_state(1)
    ids = VOCAB.encode("decade")
    surprisal, _ = evaluator.score_sequence(ids, state, SURPRISAL)
    prediction, _ = evaluator.score_sequence(ids, state, PREDICTION)
    assert (surprisal[0] == prediction[0]).all()
    assert [*surprisal.shape, *prediction.shape] == [1, 5, 4, 5]
