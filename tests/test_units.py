"""Nats and bits: of a number, of an array, and as a reader sees them."""

import doctest
import math

import numpy as np

from charrnn import units


def test_a_halved_probability_costs_a_bit():
    """One number or many."""
    assert units.bits(-math.log(0.5)) == 1.0
    np.testing.assert_allclose(units.bits(-np.log([[1.0, 0.25]])), [[0, 2]])
    assert units.bits(units.LN2) == 1.0


def test_the_example_in_the_docstring_runs():
    """And shows what it says."""
    assert doctest.testmod(units) == (0, 1)
