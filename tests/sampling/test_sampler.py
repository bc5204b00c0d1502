"""Drawing characters: repeatable, in the right proportions, cut where asked."""

import itertools

import networks
import numpy as np
import pytest

from charrnn.data.vocabulary import Vocab
from charrnn.nn.cells import CELLS
from charrnn.rng import text_keys, uniforms
from charrnn.sampling.sampler import (
    RowSampler,
    Sampler,
    SamplingOptions,
    StopConditions,
    probabilities,
    sample_ids,
)
from charrnn.sampling.single_step import RNNSingleStep, make_step

LOGITS = np.log(np.array([[0.4, 0.3, 0.15, 0.1, 0.05]]))
VOCAB = Vocab("\nabcdef")


def sampler(mode="lines", cell="rnn", **settings):
    """A model of random weights over seven characters, newline among them."""
    return Sampler(*networks.network(cell, **settings), VOCAB, mode)


def write(mode="lines", seed=0, options=None, prime="", **until):
    """One streamed text."""
    return "".join(
        sampler(mode).stream(seed, options or SamplingOptions(), StopConditions(**until), prime)
    )


def distribution(options):
    """The normalised probabilities of LOGITS."""
    p = probabilities(LOGITS, options)[:, 0]
    return p / p.sum()


def test_frequencies_match_the_probabilities():
    """Chi-squared with 4 degrees of freedom; 23.5 is passed once in ten thousand."""
    count = 20_000
    u = uniforms(text_keys(1, np.zeros(count)), np.arange(count))
    drawn = np.bincount(
        sample_ids(np.repeat(LOGITS, count, axis=0), SamplingOptions(), u), minlength=5
    )
    expected = np.exp(LOGITS[0]) * count
    assert ((drawn - expected) ** 2 / expected).sum() < 23.5


def test_random_numbers_are_uniform_and_independent():
    """Over the places of a text, over texts and over seeds: chi-squared on a 10 by 10 table."""
    n = np.arange(20_000)
    for one in (
        uniforms(text_keys(1, np.zeros(1)), n),
        uniforms(text_keys(1, n), np.zeros(1)),
        np.concatenate([uniforms(text_keys(int(s), np.zeros(1)), np.zeros(1)) for s in n[:2000]]),
    ):
        assert one.min() >= 0
        assert one.max() < 1
        pairs = np.histogram2d(one[:-1], one[1:], bins=10, range=[[0, 1], [0, 1]])[0]
        expected = (len(one) - 1) / 100
        assert ((pairs - expected) ** 2 / expected).sum() < 163  # 99 degrees; once in 20,000


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(0.0),
        SamplingOptions(0.5),
        SamplingOptions(top_k=3),
        SamplingOptions(top_p=0.8),
        SamplingOptions(2, 4, 0.9),
    ],
)
@pytest.mark.parametrize("largest", [4.0, np.inf])
def test_one_row_draws_what_many_rows_draw(options, largest):
    """For the same random numbers, whether or not the logits are so small that exp is safe."""
    u = uniforms(text_keys(1, np.zeros(1)), np.arange(2000))
    many = sample_ids(np.repeat(LOGITS, len(u), axis=0), options, u).tolist()
    choice = RowSampler(options, LOGITS.shape[1], largest, LOGITS.dtype)
    assert [choice.draw(LOGITS[0], one) for one in u.tolist()] == many


@pytest.mark.parametrize("temperature", [1e-3, 0.5, 1.0, 3.0, 1e39])
@pytest.mark.parametrize("size", [1, 80, 87, 1e4, 1e38])
def test_logits_of_any_size_draw_the_likeliest(size, temperature):
    """In float32, where exp(89) is infinite: the second is impossible beside the first."""
    logits = np.array([size, -size, -np.inf], np.float32)
    choice = RowSampler(SamplingOptions(temperature), 3, size, np.float32)
    expected = 1 / (1 + np.exp(-min(2 * size / temperature, 700)))
    draws = [choice.draw(logits, u) for u in (0.0, expected - 1e-5, 1 - 2**-53)]
    assert draws == [0, 0, int(2 * size / temperature < 30)]


@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("rnn", 2), ("lstm", 1)])
def test_a_step_is_a_window_of_one(cell, layers):
    """The same logits as reading the whole text at once; none larger than was promised."""
    model, params = networks.network(cell, layers)
    step, ids = make_step(model, params), np.random.default_rng(0).integers(0, networks.V, 30)
    assert isinstance(step, RNNSingleStep) == ((cell, layers) == ("rnn", 1))
    state = networks.nonzero_state(model, 1).clip(-1, 1)
    work = networks.Workspace(model, len(ids), 1)
    model.run(params, ids.reshape(-1, 1), state, work)
    for _ in range(2):  # it can start again
        step.start(state)
        found = np.array([step.read(char).copy() for char in ids.tolist()])
        np.testing.assert_allclose(found, work.logits, rtol=0, atol=1e-12)
    assert abs(found).max() <= step.max_logit
    params.flat[:] = np.sign(params.flat) * 50  # of saturated states it is reached
    assert make_step(model, params).max_logit == 50 * (model.hidden + 1)


def test_the_ends_of_the_unit_interval_draw_possible_characters():
    """The smallest and the largest random number never draw what has no probability."""
    logits = np.log(np.array([[1e-30, 0.5, 0.5, 1e-30]]))
    options = SamplingOptions(top_k=2)
    for u, expected in ((0.0, 1), (1 - 2**-53, 2)):
        assert sample_ids(logits, options, np.array([u])).tolist() == [expected]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_the_power_of_a_probability(temperature):
    """p^(1/temperature), normalised."""
    expected = np.exp(LOGITS[0]) ** (1 / temperature)
    np.testing.assert_allclose(
        distribution(SamplingOptions(temperature)), expected / expected.sum(), rtol=1e-12
    )


def test_towards_zero_temperature_only_the_likeliest_is_left():
    """A tiny temperature is no overflow, and 0 is its limit."""
    u = uniforms(text_keys(0, np.zeros(20)), np.arange(20))
    for temperature in (0.0, 1e-300, 1e-30, 1e-3):
        assert set(sample_ids(np.repeat(LOGITS, 20, axis=0), SamplingOptions(temperature), u)) == {
            0
        }


def test_top_k_and_top_p_keep_the_likeliest():
    """The others get no probability at all, and the rest keep their proportions."""
    for options, kept in [
        (SamplingOptions(top_k=2), 2),
        (SamplingOptions(top_k=9), 5),
        (SamplingOptions(top_p=0.69), 2),
        (SamplingOptions(top_p=0.75), 3),
        (SamplingOptions(top_p=1e-9), 1),
        (SamplingOptions(top_k=3, top_p=0.8), 2),
    ]:
        p = distribution(options)
        assert (p > 0).tolist() == [True] * kept + [False] * (5 - kept), options
        expected = np.exp(LOGITS[0][:kept])
        np.testing.assert_allclose(p[:kept], expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_seed_repeats_a_text(mode):
    """And another seed writes another one."""
    assert write(mode, 1, chars=300) == write(mode, 1, chars=300)
    assert write(mode, 1, chars=300) != write(mode, 2, chars=300)


@pytest.mark.parametrize("chars", [0, 1, 57])
def test_n_counts_generated_characters(chars):
    """The prime comes on top."""
    text = write("stream", chars=chars, prime="abc")
    assert text.startswith("abc")
    assert len(text) == 3 + chars


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_lines_are_whole(mode):
    """So many newlines, the last character being one; in lines each begins with the prime."""
    text = write(mode, lines=12, prime="ab")
    assert text.count("\n") == 12
    assert text.endswith("\n")
    if mode == "lines":
        assert all(line.startswith("ab") for line in text.splitlines())


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_text_ends_when_the_string_has_appeared(mode):
    """For the first time, among what was drawn, with the string at its end."""
    endless = write(mode, 3, chars=2000)
    stop = endless[700:702]
    text = write(mode, 3, stop=stop)
    assert text == endless[: endless.index(stop) + 2]
    assert write(mode, 3, prime="ab", stop="ab").count("ab") >= 2


def test_without_a_limit_it_never_ends():
    """Ten thousand characters later it still writes."""
    text = sampler().stream(0, SamplingOptions(), StopConditions())
    assert len(list(itertools.islice(text, 10_000))) == 10_000


def test_every_record_of_a_model_of_lines_starts_from_the_zero_state():
    """So the likeliest record is always the same, whatever was written before."""
    records = write(
        "lines", options=SamplingOptions(temperature=0.0), lines=3, prime="c"
    ).splitlines()
    assert len(records) == 3
    assert len(set(records)) == 1


def test_a_stream_carries_its_state_over_a_newline():
    """A long text and its continuation from the same characters agree."""
    greedy = SamplingOptions(temperature=0.0)
    text = write("stream", options=greedy, prime="ab\ncd", chars=40)
    assert write("stream", options=greedy, prime=text[:25], chars=20) == text


def test_a_long_prime_is_read_whole():
    """Longer than the window it is read by: the state after it depends on its beginning."""
    one = sampler("stream")
    one.params["layer0.Whh"][...] = np.eye(networks.H) * 3  # a state that never forgets
    state_a, state_b = (one.after_prime(0, first + "b" * 700)[1] for first in "ac")
    assert np.abs(state_a - state_b).max() > 1e-3


def test_a_vocabulary_without_a_newline_can_be_sampled():
    """The character before the text is then a random one."""
    one = Sampler(*networks.network(), Vocab("abcdefg"), "stream")
    assert len("".join(one.stream(0, SamplingOptions(), StopConditions(chars=10)))) == 10
    assert len(list(one.texts(0, SamplingOptions(), StopConditions(chars=10), count=3))) == 3


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_text_does_not_depend_on_how_many_are_asked_for(cell, mode):
    """To the last bit, with more texts than rows, and as one alone in float64."""
    one = sampler(mode, cell, layers=2)
    until = StopConditions(chars=30)
    many = list(one.texts(5, SamplingOptions(), until, "a", 1500))
    assert one.rows() < 1500
    assert [text.number for text in many] == list(range(1500))
    for count in (1, 7):
        assert list(one.texts(5, SamplingOptions(), until, "a", count)) == many[:count]
    ends = StopConditions(chars=30, lines=1 if mode == "lines" else None)
    alone = "".join(one.stream(5, SamplingOptions(), ends, "a"))
    assert alone.removesuffix("\n") == many[0].text.removesuffix("\n")
    assert len({text.text for text in many}) > 100


def test_every_limit_ends_a_text_of_a_batch():
    """Characters, lines, a string; a record also ends with its newline, which is not shown."""
    one = sampler("stream")
    for text in one.texts(1, SamplingOptions(), StopConditions(chars=17), "ab", 20):
        assert len(text.text) == 19
        assert text.chars == 17
    for text in one.texts(1, SamplingOptions(), StopConditions(lines=2), count=20):
        assert text.text.count("\n") == 2
        assert text.text.endswith("\n")
    for text in one.texts(1, SamplingOptions(), StopConditions(stop="ab"), count=20):
        assert text.text.index("ab") == len(text.text) - 2
    for text in sampler("lines").texts(1, SamplingOptions(), StopConditions(), "b", 20):
        assert text.text.startswith("b")
        assert "\n" not in text.text
        assert text.chars == len(text.text)  # the prime is not drawn, the newline is
    assert [t.text for t in one.texts(1, SamplingOptions(), StopConditions(chars=0), "ab", 2)] == [
        "ab",
        "ab",
    ]


def test_the_nats_of_a_text_are_those_of_scoring_it():
    """Whatever the taste; of a record with its newline, without the prime."""
    from charrnn.evaluation.evaluator import Evaluator

    one = sampler("lines")
    evaluator = Evaluator(one.model, one.params)
    for text in one.texts(1, SamplingOptions(0.7, top_k=5), StopConditions(), "b", 10, scored=True):
        whole = networks.score_stream(evaluator, VOCAB.encode(f"\n{text.text}\n")).total_nats
        before = networks.score_stream(evaluator, VOCAB.encode("\nb")).total_nats
        assert text.nats == pytest.approx(whole - before, abs=1e-9)
        assert text.bits_per_char == pytest.approx(text.nats / np.log(2) / text.chars)


def test_a_record_is_never_empty():
    """Nor was any in training, so the newline is ruled out as a first character."""
    one = sampler("lines")
    one.params["by"][0] = 3.0  # a model that would rather end at once
    assert all(text.text for text in one.texts(1, SamplingOptions(), StopConditions(), count=200))
    assert "\n\n" not in "\n" + "".join(one.stream(1, SamplingOptions(), StopConditions(lines=200)))
