"""Tests of the sampler: repeatable texts, the right frequencies, and the stop conditions."""

import itertools

import networks
import numpy as np
import pytest

from charrnn import checkpoint
from charrnn.arrays import StartStates
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CharrnnError
from charrnn.nn.cells import CELLS
from charrnn.rng import text_keys, uniforms
from charrnn.sampling.drawing import RowSampler, SamplingOptions, probabilities, sample_ids
from charrnn.sampling.sampler import Sampler, StopConditions
from charrnn.sampling.single_step import RNNSingleStep, make_step

LOGITS = np.log(np.array([[0.4, 0.3, 0.15, 0.1, 0.05]]))
VOCAB = Vocab("\nabcdef")


def make_sampler(mode="lines", cell="rnn", **settings):
    """Return the sampler of a random network over seven characters, one of them a newline."""
    return Sampler(*networks.network(cell, **settings), VOCAB, mode)


def write(mode="lines", seed=0, options=None, prime="", **until):
    """Return one streamed text."""
    options = options or SamplingOptions()
    return "".join(make_sampler(mode).stream(seed, options, StopConditions(**until), prime))


def distribution(options):
    """Return the normalized probabilities of LOGITS."""
    p = probabilities(LOGITS, options)[:, 0]
    return p / p.sum()


def test_frequencies_match_the_probabilities():
    """Characters are drawn as often as their probabilities predict.

    Chi-squared with 4 degrees of freedom; one test in ten thousand exceeds 23.5.
    """
    count = 20_000
    u = uniforms(text_keys(1, np.zeros(count)), np.arange(count))
    drawn = np.bincount(
        sample_ids(np.repeat(LOGITS, count, axis=0), SamplingOptions(), u), minlength=5
    )
    expected = np.exp(LOGITS[0]) * count
    assert ((drawn - expected) ** 2 / expected).sum() < 23.5


def test_random_numbers_are_uniform_and_independent():
    """Random numbers are uniform and independent over positions, texts and seeds.

    Chi-squared on a 10 by 10 table of successive pairs.
    """
    n = np.arange(20_000)
    for numbers in (
        uniforms(text_keys(1, np.zeros(1)), n),
        uniforms(text_keys(1, n), np.zeros(1)),
        np.concatenate([uniforms(text_keys(int(s), np.zeros(1)), np.zeros(1)) for s in n[:2000]]),
    ):
        assert numbers.min() >= 0
        assert numbers.max() < 1
        pairs = np.histogram2d(numbers[:-1], numbers[1:], bins=10, range=[[0, 1], [0, 1]])[0]
        expected = (len(numbers) - 1) / 100
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
@pytest.mark.parametrize("max_logit", [4.0, np.inf])
def test_one_row_draws_what_many_rows_draw(options, max_logit):
    """`RowSampler` draws the same ids as `sample_ids`, whether or not exp needs a shift."""
    u = uniforms(text_keys(1, np.zeros(1)), np.arange(2000))
    expected = sample_ids(np.repeat(LOGITS, len(u), axis=0), options, u).tolist()
    row_sampler = RowSampler(options, LOGITS.shape[1], max_logit, LOGITS.dtype)
    assert [row_sampler.draw(LOGITS[0], number) for number in u.tolist()] == expected


@pytest.mark.parametrize("temperature", [1e-3, 0.5, 1.0, 3.0, 1e39])
@pytest.mark.parametrize("size", [1, 80, 87, 1e4, 1e38])
def test_logits_of_any_size_draw_the_likeliest(size, temperature):
    """Logits of any size are drawn correctly in float32, where exp(89) is infinite."""
    logits = np.array([size, -size, -np.inf], np.float32)
    row_sampler = RowSampler(SamplingOptions(temperature), 3, size, np.float32)
    expected = 1 / (1 + np.exp(-min(2 * size / temperature, 700)))
    draws = [row_sampler.draw(logits, u) for u in (0.0, expected - 1e-5, 1 - 2**-53)]
    assert draws == [0, 0, int(2 * size / temperature < 30)]


@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("rnn", 2), ("lstm", 1)])
def test_a_step_is_a_window_of_one(cell, layers):
    """Single steps compute the logits of one window, and none is larger than `max_logit`."""
    model, params = networks.network(cell, layers)
    step, ids = make_step(model, params), np.random.default_rng(0).integers(0, networks.V, 30)
    assert isinstance(step, RNNSingleStep) == ((cell, layers) == ("rnn", 1))
    state = networks.nonzero_state(model, 1).clip(-1, 1)
    work = networks.Workspace(model, len(ids), 1)
    model.run(params, ids.reshape(-1, 1), state, work)
    for _ in range(2):  # `start` resets the state
        step.start(state)
        logits = np.array([step.read(id_).copy() for id_ in ids.tolist()])
        np.testing.assert_allclose(logits, work.logits, rtol=0, atol=1e-12)
    assert abs(logits).max() <= step.max_logit
    params.flat[:] = np.sign(params.flat) * 50  # saturated states reach the bound
    assert make_step(model, params).max_logit == 50 * (model.hidden + 1)


def test_the_ends_of_the_unit_interval_draw_possible_characters():
    """The smallest and the largest random number never draw a character of probability 0."""
    logits = np.log(np.array([[1e-30, 0.5, 0.5, 1e-30]]))
    options = SamplingOptions(top_k=2)
    for u, expected in ((0.0, 1), (1 - 2**-53, 2)):
        assert sample_ids(logits, options, np.array([u])).tolist() == [expected]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_the_power_of_a_probability(temperature):
    """The probabilities at a temperature are p^(1/temperature), normalized."""
    expected = np.exp(LOGITS[0]) ** (1 / temperature)
    np.testing.assert_allclose(
        distribution(SamplingOptions(temperature)), expected / expected.sum(), rtol=1e-12
    )


def test_towards_zero_temperature_only_the_likeliest_is_left():
    """A temperature near 0 draws the likeliest character, as 0 does, without overflow."""
    u = uniforms(text_keys(0, np.zeros(20)), np.arange(20))
    for temperature in (0.0, 1e-300, 1e-30, 1e-3):
        ids = sample_ids(np.repeat(LOGITS, 20, axis=0), SamplingOptions(temperature), u)
        assert set(ids) == {0}


def test_top_k_and_top_p_keep_the_likeliest():
    """Top-k and top-p keep the proportions of the likeliest; the rest get probability 0."""
    for options, count in [
        (SamplingOptions(top_k=2), 2),
        (SamplingOptions(top_k=9), 5),
        (SamplingOptions(top_p=0.69), 2),
        (SamplingOptions(top_p=0.75), 3),
        (SamplingOptions(top_p=1e-9), 1),
        (SamplingOptions(top_p=5e-324), 1),
        (SamplingOptions(top_k=3, top_p=0.8), 2),
    ]:
        p = distribution(options)
        assert (p > 0).tolist() == [True] * count + [False] * (5 - count), options
        expected = np.exp(LOGITS[0][:count])
        np.testing.assert_allclose(p[:count], expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_seed_repeats_a_text(mode):
    """The same seed generates the same text, another seed another text."""
    assert write(mode, 1, chars=300) == write(mode, 1, chars=300)
    assert write(mode, 1, chars=300) != write(mode, 2, chars=300)


@pytest.mark.parametrize("chars", [0, 1, 57])
def test_chars_counts_drawn_characters(chars):
    """The stop condition `chars` counts the drawn characters, without the prime."""
    text = write("stream", chars=chars, prime="abc")
    assert text.startswith("abc")
    assert len(text) == 3 + chars


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_lines_are_whole(mode):
    """A text of n lines ends with its n-th newline, and each record begins with the prime."""
    text = write(mode, lines=12, prime="ab")
    assert text.count("\n") == 12
    assert text.endswith("\n")
    if mode == "lines":
        assert all(line.startswith("ab") for line in text.splitlines())


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_text_ends_when_the_string_has_appeared(mode):
    """A text ends when the stop string first appears among the drawn characters."""
    endless = write(mode, 3, chars=2000)
    stop = endless[700:702]
    text = write(mode, 3, stop=stop)
    assert text == endless[: endless.index(stop) + 2]
    assert write(mode, 3, prime="ab", stop="ab").count("ab") >= 2


def test_without_stop_conditions_a_text_never_ends():
    """A text without stop conditions has more than ten thousand characters."""
    text = make_sampler().stream(0, SamplingOptions(), StopConditions())
    assert len(list(itertools.islice(text, 10_000))) == 10_000


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_text_that_only_a_newline_ends_is_not_endless(mode, monkeypatch):
    """Without a newline for long, a text is an error, unless another condition ends it."""
    monkeypatch.setattr("charrnn.sampling.sampler.MAX_RECORD_CHARS", 50)
    sampler, options, until = make_sampler(mode), SamplingOptions(), StopConditions(lines=3)
    sampler.params["by"][0] = -1e3  # makes the newline impossible
    with pytest.raises(CharrnnError, match="the last 50 characters have no newline") as raised:
        "".join(sampler.stream(0, options, until))
    assert raised.value.hint.startswith("Limit it with --n N")
    with pytest.raises(CharrnnError, match="the last 50 characters have no newline"):
        next(sampler.texts(0, options, until, count=2))
    until = StopConditions(chars=70, lines=3)
    assert len("".join(sampler.stream(0, options, until))) == 70
    assert [text.chars for text in sampler.texts(0, options, until, count=2)] == [70, 70]
    sampler.params["by"][0] = 0
    assert write(mode, lines=40).count("\n") == 40  # far more than 50 characters


def test_an_error_starts_on_a_new_line(config, charrnn, monkeypatch):
    """The text before the error is printed, with a newline that ends its line."""
    monkeypatch.setattr("charrnn.sampling.sampler.MAX_RECORD_CHARS", 50)
    path = charrnn("train", config(mode="stream"), "-q").stdout.strip()
    loaded = checkpoint.load(path)
    loaded.params["by"][loaded.vocab.encode("\n")] = -1e3
    checkpoint.save(loaded, path)
    result = charrnn("sample", path, "--lines", 1, "--temperature", 0, "--seed", 1)
    assert (result.exit_code, len(result.stdout), result.stdout[-1]) == (1, 51, "\n")
    assert result.stderr.startswith("Error: the last 50 characters have no newline, so")


def test_every_record_of_a_model_of_lines_starts_from_the_zero_state():
    """At temperature 0 all records are equal, as each starts from the zero state."""
    greedy = SamplingOptions(temperature=0.0)
    records = write("lines", options=greedy, lines=3, prime="c").splitlines()
    assert len(records) == 3
    assert len(set(records)) == 1


def test_a_stream_carries_its_state_over_a_newline():
    """A stream primed with the start of a text, newline included, generates the rest of it."""
    greedy = SamplingOptions(temperature=0.0)
    text = write("stream", options=greedy, prime="ab\ncd", chars=40)
    assert write("stream", options=greedy, prime=text[:25], chars=20) == text


def test_all_of_a_long_prime_is_used():
    """The state after a prime longer than the window depends on its first character."""
    sampler = make_sampler("stream")
    sampler.params["layer0.Whh"][...] = np.eye(networks.H) * 3  # a state that never decays
    state_a, state_b = (
        sampler.after_prime(0, first + "b" * 700, np.array([0]))[1] for first in "ac"
    )
    assert np.abs(state_a - state_b).max() > 1e-3


def test_a_vocabulary_without_a_newline_can_be_sampled():
    """Without a newline in the vocabulary, a random character precedes the text."""
    sampler = Sampler(*networks.network(), Vocab("abcdefg"), "stream")
    until = StopConditions(chars=10)
    assert len("".join(sampler.stream(0, SamplingOptions(), until))) == 10
    assert len(list(sampler.texts(0, SamplingOptions(), until, count=3))) == 3


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_text_does_not_depend_on_the_count(cell, mode):
    """A text is the same to the last bit for any count, also more than rows, and if streamed."""
    sampler = make_sampler(mode, cell, layers=2)
    until = StopConditions(chars=30)
    texts = list(sampler.texts(5, SamplingOptions(), until, "a", 1500))
    assert sampler.rows() < 1500
    assert [text.number for text in texts] == list(range(1500))
    for count in (1, 7):
        assert list(sampler.texts(5, SamplingOptions(), until, "a", count)) == texts[:count]
    until = StopConditions(chars=30, lines=1 if mode == "lines" else None)
    streamed = "".join(sampler.stream(5, SamplingOptions(), until, "a"))
    assert streamed.removesuffix("\n") == texts[0].text.removesuffix("\n")
    assert len({text.text for text in texts}) > 100


def test_every_stop_condition_ends_a_text_of_a_batch():
    """A text ends after `chars`, `lines` or `stop`; a record at its newline, which is removed."""
    options, sampler = SamplingOptions(), make_sampler("stream")
    for text in sampler.texts(1, options, StopConditions(chars=17), "ab", 20):
        assert len(text.text) == 19
        assert text.chars == 17
    for text in sampler.texts(1, options, StopConditions(lines=2), count=20):
        assert text.text.count("\n") == 2
        assert text.text.endswith("\n")
    for text in sampler.texts(1, options, StopConditions(stop="ab"), count=20):
        assert text.text.index("ab") == len(text.text) - 2
    for text in make_sampler("lines").texts(1, options, StopConditions(), "b", 20):
        assert text.text.startswith("b")
        assert "\n" not in text.text
        assert text.chars == len(text.text)  # without the prime, with the newline
    texts = sampler.texts(1, options, StopConditions(chars=0), "ab", 2)
    assert [text.text for text in texts] == ["ab", "ab"]


def test_the_nats_of_a_text_are_those_of_scoring_it():
    """The `nats` of a record are its score without the prime, whatever the sampling options."""
    from charrnn.evaluation.evaluator import Evaluator

    sampler, options = make_sampler("lines"), SamplingOptions(0.7, top_k=5)
    evaluator = Evaluator(sampler.model, sampler.params)
    for text in sampler.texts(1, options, StopConditions(), "b", 10, scored=True):
        total_nats = networks.score_stream(evaluator, VOCAB.encode(f"\n{text.text}\n")).total_nats
        prime_nats = networks.score_stream(evaluator, VOCAB.encode("\nb")).total_nats
        assert text.nats == pytest.approx(total_nats - prime_nats, abs=1e-9)
        assert text.bits_per_char == pytest.approx(text.nats / np.log(2) / text.chars)


def test_a_record_is_never_empty():
    """The first character of a record is never a newline, even if it is the likeliest."""
    sampler, options = make_sampler("lines"), SamplingOptions()
    sampler.params["by"][0] = 3.0  # makes the newline likely
    assert all(text.text for text in sampler.texts(1, options, StopConditions(), count=200))
    streamed = "".join(sampler.stream(1, options, StopConditions(lines=200)))
    assert "\n\n" not in "\n" + streamed


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("cell", CELLS)
def test_each_text_may_have_its_own_prime(cell, mode):
    """Text i is what a stream of number i continues from prime i, whatever the other primes are."""
    sampler = make_sampler(mode, cell, layers=2)
    state = np.random.default_rng(3).uniform(-1, 1, sampler.model.state_shape(16))
    if mode == "stream":
        sampler.starts = StartStates(state.astype(sampler.model.dtype), np.arange(16) % 7)
    primes = ["abcdef"[: n % 7] * (n % 5) for n in range(sampler.rows() + 40)]
    until = StopConditions(chars=9, lines=1)
    texts = list(sampler.texts(5, SamplingOptions(), until, primes, len(primes), scored=True))
    for number in (0, 1, 5, 33, sampler.rows() - 1, sampler.rows() + 39):
        streamed = "".join(sampler.stream(5, SamplingOptions(), until, primes[number], number))
        expected = streamed.removesuffix("\n") if mode == "lines" else streamed
        assert texts[number].text == expected
        assert texts[number].chars == len(streamed) - len(primes[number])
    few = sampler.texts(5, SamplingOptions(), until, primes[:3], 3, scored=True)
    assert list(few) == texts[:3]
    none = sampler.texts(5, SamplingOptions(), StopConditions(chars=0), primes, 4)
    assert [text.text for text in none] == primes[:4]
