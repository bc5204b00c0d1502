"""Each optimizer equals its formula, computed element by element; clipping; the average."""

import math

import numpy as np
import pytest

from charrnn.config.schema import OptimizerConfig
from charrnn.nn import parameters
from charrnn.nn.parameters import Params
from charrnn.training import optimizers

SIZE = 50


# Each function returns the parameter p after step t. g is its gradient, and s a dictionary that
# keeps the averages between steps.


def sgd(p, g, s, t):
    s["v"] = 0.9 * s.get("v", 0.0) + g
    return p - 0.1 * s["v"]


def adagrad(p, g, s, t):
    s["m"] = s.get("m", 0.0) + g * g
    return p - 0.1 * g / math.sqrt(s["m"] + 1e-8)


def rmsprop(p, g, s, t):
    s["m"] = 0.95 * s.get("m", 0.0) + 0.05 * g * g
    return p - 0.1 * g / (math.sqrt(s["m"]) + 1e-8)


def adam(p, g, s, t):
    s["v"] = 0.8 * s.get("v", 0.0) + 0.2 * g
    s["m"] = 0.99 * s.get("m", 0.0) + 0.01 * g * g
    p -= 0.1 * 0.3 * p
    return p - 0.1 * (s["v"] / (1 - 0.8**t)) / (math.sqrt(s["m"] / (1 - 0.99**t)) + 1e-8)


FORMULAS = {
    "sgd": (sgd, {"momentum": 0.9}),
    "adagrad": (adagrad, {}),
    "rmsprop": (rmsprop, {"rmsprop_decay": 0.95}),
    "adam": (adam, {"beta1": 0.8, "beta2": 0.99, "weight_decay": 0.3}),
    "muon": (adam, {"beta1": 0.8, "beta2": 0.99, "weight_decay": 0.3}),  # without matrices
}


def vector(size):
    """Return parameters that are one vector of this size."""
    return Params({"w": (size,)}, "float64")


def test_every_optimizer_has_its_formula_here():
    """Every optimizer of the package has a formula in this file."""
    assert set(FORMULAS) == set(optimizers.OPTIMIZERS)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_optimizer_follows_its_formula(name):
    """Twenty steps of an optimizer equal those of its formula, element by element."""
    formula, settings = FORMULAS[name]
    rng = np.random.default_rng(0)
    flat = rng.normal(size=SIZE)
    expected, states = flat.tolist(), [{} for _ in range(SIZE)]
    optimizer = optimizers.OPTIMIZERS[name](OptimizerConfig(name=name, **settings), vector(SIZE))
    for t in range(1, 21):
        gradient = rng.normal(size=SIZE)
        expected = [
            formula(p, g, s, t) for p, g, s in zip(expected, gradient.tolist(), states, strict=True)
        ]
        optimizer.step(flat, gradient, 0.1, t)
    np.testing.assert_allclose(flat, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_long_vector_is_updated_in_blocks_like_a_short_one(name, monkeypatch):
    """The result of an update does not depend on the block size."""
    rng = np.random.default_rng(0)
    flat, gradient = rng.normal(size=(2, 1000))
    results = []
    for block in (1000, 64, 999, 1):
        monkeypatch.setattr(parameters, "BLOCK", block)
        config = OptimizerConfig(name=name, **FORMULAS[name][1])
        optimizer, copy = optimizers.OPTIMIZERS[name](config, vector(1000)), flat.copy()
        average = optimizers.MovingAverage(0.5, flat.copy())
        for t in (1, 2, 3):
            optimizer.step(copy, gradient.copy(), 0.1, t)
            average.update(copy, t)
        results.append(copy.tobytes() + average.flat.tobytes())
    assert len(set(results)) == 1


def newton_schulz(singular_values):
    """Return the singular values after the two steps of the iteration."""
    x = singular_values / (singular_values**4).sum() ** 0.25
    for _ in range(2):
        x = 3.4445 * x - 4.775 * x**3 + 2.0315 * x**5
    return x


@pytest.mark.parametrize("columns", [5, 15])
def test_muon_orthogonalizes_the_matrices_between_hidden_units(columns):
    """Muon follows its formula with an exact SVD for a matrix, and Adam's for the other arrays."""
    rng, rate, settings = np.random.default_rng(0), 0.1, FORMULAS["muon"][1]
    params = Params({"bh": (4,), "Whh": (5, columns), "by": (3,)}, "float64")
    params.flat[:] = rng.normal(size=params.flat.size)
    others = params.copy()
    p, m = params["Whh"].copy(), np.zeros((5, columns))
    config = OptimizerConfig(name="muon", **settings)
    muon = optimizers.OPTIMIZERS["muon"](config, params, ["Whh"])
    adam = optimizers.OPTIMIZERS["adam"](OptimizerConfig(name="adam", **settings), others)
    for t in range(1, 21):
        gradient = rng.normal(size=params.flat.size)
        g = gradient[4 : 4 + p.size].reshape(p.shape)
        m = 0.95 * m + 0.05 * g
        U, S, VT = np.linalg.svd(0.95 * m + 0.05 * g, full_matrices=False)
        p *= 1 - rate * 0.3
        p -= rate * 0.1 * math.sqrt(columns) * (U * newton_schulz(S)) @ VT
        adam.step(others.flat, gradient.copy(), rate, t)
        muon.step(params.flat, gradient, rate, t)
    np.testing.assert_allclose(params["Whh"], p, rtol=1e-10, atol=1e-12)
    for name in ("bh", "by"):
        np.testing.assert_array_equal(params[name], others[name])


def test_orthogonalized_matrices_have_singular_values_near_one():
    """Two steps of the iteration bring most singular values of a random matrix near 1."""
    u = np.random.default_rng(0).normal(size=(64, 192)).astype("float32")
    singular_values = np.linalg.svd(optimizers.orthogonalize(u), compute_uv=False)
    assert singular_values.min() > 0.5
    assert singular_values.max() < 1.5
    zeros = np.zeros((3, 9), "float32")
    np.testing.assert_array_equal(optimizers.orthogonalize(zeros), zeros)


@pytest.mark.parametrize("sign", [1, -1])
def test_clipping_by_value_limits_each_element(sign):
    """Clipping by value changes the elements above the limit, and no others."""
    gradient = sign * np.array([0.0, 4.9, -4.9, 5.0, 7.0])
    optimizers.clip_by_value(gradient, 5.0)
    assert gradient.tolist() == [sign * x for x in (0.0, 4.9, -4.9, 5.0, 5.0)]


def test_clipping_by_norm_keeps_the_direction():
    """Clipping by norm scales a gradient above the limit and leaves a smaller one unchanged."""
    gradient = np.array([3.0, -4.0])
    assert optimizers.clip_by_norm(gradient, 1.0) == 5.0
    np.testing.assert_allclose(gradient, [0.6, -0.8], rtol=1e-15)
    assert optimizers.clip_by_norm(gradient, 2.0) == pytest.approx(1.0)
    np.testing.assert_allclose(gradient, [0.6, -0.8], rtol=1e-15)


def test_the_average_follows_the_weights():
    """The average equals its formula, with a smaller decay in the first steps."""
    flat, average = np.array([1.0]), optimizers.MovingAverage(0.9, np.array([0.0]))
    expected = 0.0
    for t in range(1, 200):
        flat[0] = t
        average.update(flat, t)
        d = min(0.9, t / (t + 10))
        expected = d * expected + (1 - d) * t
    assert average.flat[0] == pytest.approx(expected)
