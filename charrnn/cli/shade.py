"""A text in colour: the background of each character tells how surprising it was."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from charrnn.data.characters import escape_unprintable

if TYPE_CHECKING:  # --help must not wait for NumPy
    from charrnn.arrays import Floats

# Bits from which on a background is used, and its number among the terminal's 256 colours.
SHADES = ((1, 230), (2, 223), (4, 216), (6, 209), (8, 203))
INK = 16  # black: legible on all of them, whatever the terminal's own colours
PLAIN = "\x1b[0m"


def wanted(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Whether colour can be shown and nobody has declined it (https://no-color.org)."""
    declined = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return is_terminal and not declined


def legend() -> str:
    """A line that tells which colour stands for how many bits."""
    shown = "".join(painted(f" {bits}+ ", colour) for bits, colour in SHADES)
    return f"bits of surprise: {shown}\n"


def shaded(text: str, bits: Floats, raw: bool = False) -> str:
    """The text, each character on the background of its bits (N,); on none where those are NaN.

    Control characters are shown as escapes, unless `raw`.
    """
    show = str if raw else escape_unprintable
    places = zip(text, (colour_of(value) for value in bits.tolist()), strict=True)
    runs = itertools.groupby(places, key=lambda place: place[1])
    return "".join(painted("".join(show(char) for char, _ in run), colour) for colour, run in runs)


def colour_of(bits: float) -> int | None:
    """The background for a surprisal in bits."""
    colours = [colour for least, colour in SHADES if bits >= least]
    return colours[-1] if colours else None


def painted(text: str, colour: int | None) -> str:
    """The text on a background of this number, or as it is."""
    return text if colour is None else f"\x1b[38;5;{INK};48;5;{colour}m{text}{PLAIN}"
