"""Conversion of nats to bits, of a number and of an array."""

import doctest
import math

import numpy as np

from charrnn import units


def test_a_probability_of_one_half_is_one_bit():
    """`bits` converts a number or each element of an array."""
    assert units.bits(-math.log(0.5)) == 1.0
    np.testing.assert_allclose(units.bits(-np.log([[1.0, 0.25]])), [[0, 2]])
    assert units.bits(units.LN2) == 1.0


def test_the_docstring_examples_are_correct():
    """The docstring example of `units` is correct, and it is the only one."""
    assert doctest.testmod(units) == (0, 2)
