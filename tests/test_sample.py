"""Drawing characters: repeatable, in the right proportions, cut where asked."""

import itertools

import networks
import numpy as np
import pytest

from charrnn.sample import Sampler, Taste, choose, probabilities
from charrnn.vocab import Vocab

LOGITS = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.05]))


def sampler(mode="lines", scale=1.0):
    """A model of random weights over seven characters, newline among them."""
    model, params = networks.network(scale=scale)
    return Sampler(model, params, Vocab("\nabcdef"), mode)


def write(mode="lines", seed=0, taste=None, **limits):
    return "".join(sampler(mode).text(np.random.default_rng(seed), taste or Taste(), **limits))


def test_frequencies_match_the_probabilities():
    """Chi-squared with 4 degrees of freedom; 23.5 is passed once in ten thousand."""
    rng = np.random.default_rng(0)
    count = 20_000
    drawn = np.bincount([choose(LOGITS, Taste(), rng) for _ in range(count)], minlength=5)
    expected = np.exp(LOGITS) * count
    assert ((drawn - expected) ** 2 / expected).sum() < 23.5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_the_power_of_a_probability(temperature):
    """p^(1/temperature), normalised."""
    expected = np.exp(LOGITS) ** (1 / temperature)
    found = probabilities(LOGITS, Taste(temperature))
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_towards_zero_temperature_only_the_likeliest_is_left():
    """A tiny temperature is no overflow, and 0 is its limit."""
    rng = np.random.default_rng(0)
    for temperature in (0.0, 1e-300, 1e-30, 1e-3):
        assert {choose(LOGITS, Taste(temperature), rng) for _ in range(20)} == {0}


def test_top_k_and_top_p_keep_the_likeliest():
    """The others get no probability at all, and what is left adds up to 1."""
    for taste, kept in [
        (Taste(top_k=2), 2),
        (Taste(top_k=9), 5),
        (Taste(top_p=0.69), 2),
        (Taste(top_p=0.75), 3),
        (Taste(top_p=1e-9), 1),
        (Taste(top_k=3, top_p=0.8), 2),
    ]:
        p = probabilities(LOGITS, taste)
        assert (p > 0).tolist() == [True] * kept + [False] * (5 - kept), taste
        assert p.sum() == pytest.approx(1)


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


def test_without_a_limit_it_never_ends():
    """Ten thousand characters later it still writes."""
    text = sampler().text(np.random.default_rng(0), Taste())
    assert len(list(itertools.islice(text, 10_000))) == 10_000


def test_every_record_of_a_model_of_lines_starts_from_the_zero_state():
    """So the likeliest record is always the same, whatever was written before."""
    records = write("lines", taste=Taste(temperature=0.0), lines=3, prime="c").splitlines()
    assert len(set(records)) == 1


def test_a_stream_carries_its_state_over_a_newline():
    """A long text and its continuation from the same characters agree."""
    model, params = networks.network()
    one = Sampler(model, params, Vocab("\nabcdef"), "stream")
    greedy = Taste(temperature=0.0)
    text = "".join(one.text(np.random.default_rng(0), greedy, prime="ab\ncd", chars=40))
    again = "".join(one.text(np.random.default_rng(1), greedy, prime=text[:25], chars=20))
    assert again == text


def test_a_long_prime_is_read_whole():
    """Longer than the window it is read by: the next character depends on its beginning."""
    model, params = networks.network()
    params["layer0.Whh"][...] = np.eye(networks.H) * 3  # a state that never forgets
    model_text = Sampler(model, params, Vocab("\nabcdef"), "stream")
    _, state_a = model_text._feed(np.array([1] + [2] * 700), model.zero_state(1))
    _, state_b = model_text._feed(np.array([3] + [2] * 700), model.zero_state(1))
    assert np.abs(state_a - state_b).max() > 1e-3


def test_a_vocabulary_without_a_newline_can_be_sampled():
    """The character before the text is then a random one."""
    model, params = networks.network()
    one = Sampler(model, params, Vocab("abcdefg"), "stream")
    assert len("".join(one.text(np.random.default_rng(0), Taste(), chars=10))) == 10
