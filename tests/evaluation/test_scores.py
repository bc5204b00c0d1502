"""Scores of characters, lines and whole texts: they agree, whatever way the text arrives."""

import itertools
import math

import networks
import numpy as np
import pytest

from charrnn.checkpoint import Checkpoint
from charrnn.cli import shade
from charrnn.config.schema import Config, CorpusConfig, ModelConfig
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CharrnnError, DivergedError, VocabError
from charrnn.evaluation import comparison, dynamic_evaluation, line_scores
from charrnn.evaluation.evaluator import PREDICTION, SURPRISAL, Evaluator
from charrnn.evaluation.text_scoring import ReadOptions, score_pieces, score_text

VOCAB = Vocab("\nabcdef")
TEXT = "abc\nfeed\n\nbad\n" + "decade" * 60 + "\n" + "fade\ncab\n" * 9 + "bed"


def evaluator_of(cell="rnn", **options):
    return Evaluator(*networks.network(cell, **options))


def lines_of(evaluator, pieces, mode, skip=False):
    found = score_pieces(evaluator, VOCAB, pieces, ReadOptions(mode, "text", skip))
    return [line for some in line_scores.line_scores(found) for line in some]


def chars_of(evaluator, pieces, mode, skip=False):
    found = score_pieces(evaluator, VOCAB, pieces, ReadOptions(mode, "text", skip), PREDICTION)
    return [char for some in line_scores.char_scores(found, VOCAB) for char in some]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("text", [TEXT, "\n" + TEXT + "\n", "x" + TEXT + "\nxx\nax\n"])
def test_characters_lines_and_the_whole_text_agree(cell, mode, text):
    """To 1e-9, and in how many characters are scored and how many unknown."""
    evaluator = evaluator_of(cell, layers=2)
    whole = score_text(evaluator, VOCAB, [text], mode, "text", skip_unknown=True)
    by_line = lines_of(evaluator, [text], mode, skip=True)
    by_char = chars_of(evaluator, [text], mode, skip=True)
    bits = whole.bits * whole.chars
    assert sum(line.bits for line in by_line) == pytest.approx(bits, abs=1e-9)
    assert sum(char.bits for char in by_char) == pytest.approx(bits, abs=1e-9)
    assert sum(line.chars for line in by_line) == len(by_char) == whole.chars
    assert sum(line.unknown for line in by_line) == whole.unknown == text.count("x")


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_rows_do_not_depend_on_the_pieces(mode, size):
    """A line that comes in parts has one row, equal to that of the line in one."""
    evaluator = evaluator_of()
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    whole, parts = lines_of(evaluator, [TEXT], mode), lines_of(evaluator, pieces, mode)
    assert [line.text for line in parts] == [line.text for line in whole]
    assert [line.bits for line in parts] == pytest.approx([line.bits for line in whole], abs=1e-9)
    assert [line[1:3] for line in parts] == [line[1:3] for line in whole]
    one, other = chars_of(evaluator, [TEXT], mode), chars_of(evaluator, pieces, mode)
    assert [char.char for char in other] == [char.char for char in one]
    assert [char[1:4:2] for char in other] == pytest.approx(
        np.array([char[1:4:2] for char in one]), abs=1e-9
    )
    assert [char[2::2] for char in other] == [char[2::2] for char in one]


def test_a_line_stands_for_itself_in_a_model_of_lines():
    """Its score is that of a text with only this line, wherever it stands; empty ones have none."""
    evaluator = evaluator_of("gru")
    found = lines_of(evaluator, [TEXT], "lines")
    assert [line.text for line in found] == [line for line in TEXT.split("\n") if line]
    for line in found:
        alone = score_text(evaluator, VOCAB, [line.text], "lines", "text")
        assert line.bits_per_char == pytest.approx(alone.bits, abs=1e-10)
        assert line.chars == len(line.text) + 1


def test_a_character_has_its_rank_entropy_and_likeliest_rival():
    """By the definition, from the probabilities of one step after the other."""
    evaluator = evaluator_of()
    model, params = evaluator.model, evaluator.params
    h, before = np.zeros(model.hidden), "\n"
    found = chars_of(evaluator, ["decade\n"], "lines")
    for char in found:
        x = params["layer0.Wxh"][VOCAB.encode(before)[0]]
        h = np.tanh(x + h @ params["layer0.Whh"] + params["layer0.bh"])
        p = np.exp(h @ params["Why"] + params["by"])
        p /= p.sum()
        target = VOCAB.encode(char.char)[0]
        assert char.bits == pytest.approx(-math.log2(p[target]), abs=1e-10)
        assert char.rank == 1 + sorted(p, reverse=True).index(p[target])
        assert char.entropy_bits == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-10)
        assert char.likeliest == VOCAB.chars[p.argmax()]
        before = char.char
    assert "".join(char.char for char in found) == "decade\n"


def test_a_line_of_unknown_characters_alone_is_as_odd_as_can_be():
    """It has no bits to divide, and still a row."""
    found = lines_of(evaluator_of(), ["abc\nxyz\n"], "lines", skip=True)
    assert found[1][:4] == (0.0, 0, 3, "xyz")
    assert found[1].bits_per_char == math.inf


def test_the_place_of_an_unknown_character_counts_every_newline():
    """Also those of lines that arrive together."""
    with pytest.raises(VocabError, match=r"'x' .* at character 9,"):
        lines_of(evaluator_of(), ["abc\n\nab\nxa\n"], "lines")


def test_very_long_lines_are_scored_with_few_beside_them():
    """A list of short names and one long line does not pad them all to its length."""
    evaluator = evaluator_of()
    lengths = np.array([5] * 100 + [300_000])
    batches = list(evaluator._batches(lengths))
    assert sorted(np.concatenate(batches)) == list(range(101))
    assert all(lengths[batch].max() * len(batch) <= 1 << 18 for batch in batches[:-1])
    assert batches[-1].tolist() == [100]


def test_memory_does_not_grow_with_the_sizes_that_occur():
    """Lines of every length come down an endless pipe."""
    evaluator = evaluator_of()
    for length in range(1, 200):
        score_text(evaluator, VOCAB, ["a" * length], "lines", "text")
    assert len(evaluator._workspaces._workspaces) <= 64


def slowly_adapted(model, params, windows, rate, decay):
    """Dynamic evaluation in plain steps: the state goes on, and so do the weights."""
    static = {name: array.copy() for name, array in params.items()}
    p = {name: array.copy() for name, array in params.items()}
    total, h = 0.0, np.zeros(model.hidden)
    for ids, targets, fresh in windows:
        h = np.zeros(model.hidden) if fresh else h
        hs, ps = [h], []
        for x, y in zip(ids, targets, strict=True):
            h = np.tanh(p["layer0.Wxh"][x] + h @ p["layer0.Whh"] + p["layer0.bh"])
            e = np.exp(h @ p["Why"] + p["by"])
            hs.append(h)
            ps.append(e / e.sum())
            total -= math.log(ps[-1][y])
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
    return total


def stream_windows(text):
    ids = VOCAB.encode(text)
    for at in range(0, len(ids) - 1, dynamic_evaluation.WINDOW):
        part = ids[at : at + dynamic_evaluation.WINDOW + 1]
        yield part[:-1], part[1:], at == 0


def line_windows(text):
    for line in filter(None, text.split("\n")):
        ids = VOCAB.encode(f"\n{line}\n")
        for at in range(0, len(ids) - 1, dynamic_evaluation.WINDOW):
            part = ids[at : at + dynamic_evaluation.WINDOW + 1]
            yield part[:-1], part[1:], at == 0


@pytest.mark.parametrize(("mode", "windows"), [("stream", stream_windows), ("lines", line_windows)])
@pytest.mark.parametrize("size", [3, 1000])
def test_adapting_equals_the_written_out_loop(mode, windows, size):
    """To 1e-10, however the text arrives."""
    model, params = networks.network()
    expected = slowly_adapted(model, params, windows(TEXT), 0.1, dynamic_evaluation.DECAY)
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    pieces = dynamic_evaluation.windows(pieces) if mode == "stream" else pieces
    follower = dynamic_evaluation.DynamicEvaluator(model, params, 0.1)
    found = score_text(follower, VOCAB, pieces, mode, "text")
    assert found.total_nats == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_adapting_learns_a_strange_word_and_leaves_the_model_alone(cell, mode):
    """A text that repeats itself scores better than with the weights as they are."""
    model, params = networks.network(cell)
    before = params.flat.copy()
    text = "fadebac\n" * 400
    static = score_text(Evaluator(model, params), VOCAB, [text], mode, "text")
    follower = dynamic_evaluation.DynamicEvaluator(model, params)
    adapted = score_text(follower, VOCAB, dynamic_evaluation.windows([text]), mode, "text")
    assert adapted.chars == static.chars
    assert adapted.bits < 0.95 * static.bits
    assert (params.flat == before).all()


def test_a_rate_that_is_too_high_is_said():
    """With a smaller one to try."""
    model, params = networks.network(scale=2.0)
    follower = dynamic_evaluation.DynamicEvaluator(model, params, 1e308)
    with pytest.raises(DivergedError, match="diverged") as caught:
        score_text(follower, VOCAB, ["decade\n" * 50], "lines", "text")
    assert caught.value.hint.endswith("--dynamic-rate 1e+307")


def checkpoint_of(scale=0.5, seed=0, chars=VOCAB.chars, **corpus):
    """A random network as if it had been loaded from a file."""
    _, params = networks.network(seed=seed, vocab_size=len(chars), scale=scale)
    config = Config(
        corpus=CorpusConfig(path=("text",), **corpus),
        model=ModelConfig(hidden=networks.H, dtype="float64"),
    )
    empty = np.empty(0)
    return Checkpoint(config, Vocab(chars), params, {}, empty, empty, "0" * 64)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_model_differs_from_another_and_not_from_itself(mode):
    """The interval of the difference lies where it should, and around the difference."""
    this, other = checkpoint_of(mode=mode), checkpoint_of(scale=1.5, mode=mode)
    text = "decade\nfed\n" * 100
    itself = comparison.compare(this, this, [text], "text")
    assert itself.difference_bits == 0
    assert itself.interval_bits == (0, 0)
    found = comparison.compare(this, other, iter(text), "text")
    low, high = found.interval_bits
    assert low <= found.difference_bits <= high < 0
    assert found.blocks == (200 if mode == "lines" else 6)
    for score, model in ((found.this, this), (found.other, other)):
        alone = score_text(Evaluator(model.model, model.params), VOCAB, [text], mode, "text")
        assert score.bits == pytest.approx(alone.bits, abs=1e-9)
        assert score.chars == alone.chars


def test_characters_unknown_to_one_are_left_out_for_both():
    """Or are an error that names them and whose they are."""
    this, other = checkpoint_of(mode="lines"), checkpoint_of(mode="lines", chars="\nabcdxy")
    with pytest.raises(VocabError, match=r"'e' .* character 5, which the other model's"):
        comparison.compare(this, other, ["ab\n", "ce\n"], "text")
    found = comparison.compare(this, other, ["ab\n", "cexf\n"], "text", skip_unknown=True)
    assert (found.this.chars, found.other.chars, found.this.unknown) == (5, 5, 3)


@pytest.mark.parametrize("difference", [{"mode": "stream"}, {"mode": "lines", "lowercase": True}])
def test_models_that_read_a_text_differently_are_not_compared(difference):
    """One sentence says which setting it is."""
    with pytest.raises(CharrnnError, match=r"cannot be compared: corpus\.\w+ is "):
        comparison.compare(checkpoint_of(mode="lines"), checkpoint_of(**difference), ["ab"], "text")


def test_the_interval_is_that_of_the_mean_where_theory_knows_it():
    """1.96 standard errors to either side, for many equal blocks."""
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
def test_colour_is_for_terminals_that_want_it(is_terminal, environment, expected):
    """As no-color.org asks: an empty NO_COLOR is none."""
    assert shade.wanted(is_terminal, environment) == expected


def test_a_shaded_text_tells_bits_by_colour_and_control_characters_by_escapes():
    """Of a line, whose newline is not part of it."""
    bits = np.array([np.nan, 0.5, 1.0, 1.5, 9.0])
    found = shade.shaded("abcd\x1b", bits)
    on = "\x1b[38;5;16;48;5;{}m".format
    assert found == f"ab{on(230)}cd\x1b[0m{on(203)}\\x1b\x1b[0m"
    assert [shade.colour_of(x) for x in (0, 1, 2, 4, 6, 8)] == [None, 230, 223, 216, 209, 203]
    assert shade.legend().count("\x1b[0m") == len(shade.SHADES)


def test_windows_end_where_they_would_in_the_whole_text():
    """The first has one character more."""
    for size in (1, 19, 21, 500):
        pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
        found = list(dynamic_evaluation.windows(pieces))
        assert "".join(found) == TEXT
        assert {len(piece) for piece in found[1:-1]} == {dynamic_evaluation.WINDOW}
        assert len(found[0]) == dynamic_evaluation.WINDOW + 1


def test_surprisal_is_the_first_of_the_figures_of_a_prediction():
    """They are two views of one window."""
    evaluator, state = evaluator_of(), networks.network()[0].zero_state(1)
    ids = VOCAB.encode("decade")
    (one, _), (other, _) = (
        evaluator.score_sequence(ids, state, kind) for kind in (SURPRISAL, PREDICTION)
    )
    assert (one[0] == other[0]).all()
    assert list(itertools.chain(one.shape, other.shape)) == [1, 5, 4, 5]
