"""Units: nats and bits of information, and durations in words."""

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


def duration(seconds: float) -> str:
    """Return a duration in words, at least 2 seconds, rounded to 5 seconds above a minute.

    >>> duration(0.3), duration(71), duration(4000)
    ('2 seconds', '1 min 10 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{max(seconds, 2):.0f} seconds"
    minutes, rest = divmod(round(seconds / 5) * 5, 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
