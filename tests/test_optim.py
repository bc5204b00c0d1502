"""Each optimiser against its formula, written out number by number."""

import numpy as np
import pytest

from charrnn import optim


def test_adagrad_follows_its_formula():
    """Twenty steps, with the 1e-8 added at each step as in the gist."""
    rng = np.random.default_rng(0)
    size = 50
    flat, memory = rng.normal(size=size), np.zeros(size)
    expected = flat.copy()
    adagrad = optim.Adagrad(size, "float64")
    for _ in range(20):
        gradient = rng.normal(size=size)
        for i in range(size):
            memory[i] += gradient[i] ** 2
            expected[i] -= 0.1 * gradient[i] / np.sqrt(memory[i] + 1e-8)
        adagrad.step(flat, gradient.copy(), 0.1)
    np.testing.assert_allclose(flat, expected, rtol=1e-12, atol=1e-12)


def test_a_long_vector_is_updated_in_blocks_like_a_short_one(monkeypatch):
    """The block size is only a matter of speed."""
    rng = np.random.default_rng(0)
    flat, gradient = rng.normal(size=(2, 1000))
    results = []
    for block in (1000, 64, 999, 1):
        monkeypatch.setattr(optim, "BLOCK", block)
        adagrad, copy = optim.Adagrad(1000, "float64"), flat.copy()
        for _ in range(3):
            adagrad.step(copy, gradient.copy(), 0.1)
        results.append(copy.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_clipping_by_value_cuts_what_is_over(sign):
    """And nothing else."""
    gradient = sign * np.array([0.0, 4.9, -4.9, 5.0, 7.0])
    optim.clip_by_value(gradient, 5.0)
    assert gradient.tolist() == [sign * x for x in (0.0, 4.9, -4.9, 5.0, 5.0)]
