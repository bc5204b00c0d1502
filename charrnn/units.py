"""The units of surprisal: nats, of the natural logarithm, and bits, of the logarithm to base 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # NumPy is slow to import, and floats do not need it
    from charrnn.arrays import Floats

LN2 = math.log(2)  # nats in a bit

Amount = TypeVar("Amount", float, "Floats")


def bits(nats: Amount) -> Amount:
    """Convert nats to bits: a number, or an array of any shape."""
    return nats / LN2


def nats_and_bits(nats: float) -> str:
    """Return a text with a number of nats, and of bits.

    >>> nats_and_bits(1.5)
    '1.5000 nats (2.1640 bits)'
    """
    return f"{nats:.4f} nats ({bits(nats):.4f} bits)"
