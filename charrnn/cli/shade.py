"""Text in colour: the background of each character shows its surprisal."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from charrnn.data.characters import escape_unprintable

if TYPE_CHECKING:  # --help must not wait for NumPy
    from charrnn.arrays import Floats

# The minimum bits of each background colour, and its number in the 256-colour palette.
SHADES = ((1, 230), (2, 223), (4, 216), (6, 209), (8, 203))
INK = 16  # black, readable on all of these backgrounds
PLAIN = "\x1b[0m"


def wanted(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Return whether to print colours: on a terminal, unless the environment disables them.

    `NO_COLOR` is described on https://no-color.org.
    """
    disabled = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return is_terminal and not disabled


def legend() -> str:
    """Return a line that shows the minimum bits of each colour."""
    samples = "".join(painted(f" {bits}+ ", colour) for bits, colour in SHADES)
    return f"bits of surprisal: {samples}\n"


def shaded(text: str, bits: Floats, raw: bool = False) -> str:
    """Return the text with each character on the background of its bits (N,).

    A character whose bits are NaN has no background. Control characters are escaped unless `raw`.
    """
    show = str if raw else escape_unprintable
    pairs = zip(text, (colour_of(value) for value in bits.tolist()), strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1])
    return "".join(painted("".join(show(char) for char, _ in run), colour) for colour, run in runs)


def colour_of(bits: float) -> int | None:
    """Return the background for a surprisal in bits; None below 1 bit and for NaN."""
    colours = [colour for min_bits, colour in SHADES if bits >= min_bits]
    return colours[-1] if colours else None


def painted(text: str, colour: int | None) -> str:
    """Return the text on a background colour; unchanged if that is None."""
    return text if colour is None else f"\x1b[38;5;{INK};48;5;{colour}m{text}{PLAIN}"
