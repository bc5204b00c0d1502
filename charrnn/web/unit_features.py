"""The features of a text, and the hidden units whose activations correlate with them most.

A feature is a number for every character, computed from that character and those around it: whether
it is a vowel, how far it is into its line, whether it is inside quotes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Floats

MIN_OCCURRENCES = 10  # characters at which a feature differs from its most common value
VOWELS = frozenset("aeiouаеёиіоуыэюяєїαεηιουω")

# No match contains an empty line, so a missing closing quote affects only its own paragraph.
LINE_BREAK = r"\n(?!\n)"
QUOTED = (
    rf'"(?:[^"\n]|{LINE_BREAK})+"|“(?:[^”\n]|{LINE_BREAK})+”|«(?:[^»\n]|{LINE_BREAK})+»'
    rf"|„(?:[^“”\n]|{LINE_BREAK})+[“”]"
    rf"|‘(?:[^’\n]|’(?=\w)|{LINE_BREAK})+’|(?<!\w)'[^'\n]+'(?!\w)|`[^`\n]+`"
)
COMMENT = r"(?s)(?:(?<!\S)#|(?<![:\w])//|(?<!\S)--(?= ))[^\n]*|/\*.*?\*/|<!--.*?-->"
URL = r"\b(?:https?://|ftp://|www\.)[^\s<>\"']+"
BRACKETS = ("()", "[]", "{}")


class UnitFeature(NamedTuple):
    """A hidden unit, and the feature it is paired with."""

    unit: int  # index among the units of all layers
    feature: str
    correlation: float  # Pearson's, of either sign


def features(text: str) -> dict[str, Floats]:
    """Return the features of a text, each (N,), without those that are too rare to correlate."""

    def varies(values: Floats) -> bool:
        most_common = np.unique(values, return_counts=True)[1].max(initial=0)
        return bool(len(values) - most_common >= MIN_OCCURRENCES)

    arrays = ((name, feature(text)) for name, feature in FEATURES.items())
    return {name: values for name, values in arrays if varies(values)}


def correlations(activations: Floats, features: Floats) -> Floats:
    """Return Pearson's correlation (U, F) of U units (U, N) with F features (F, N).

    It is 0 where either is constant. Characters that are not read, where the activations are NaN,
    do not count.
    """
    is_read = ~np.isnan(activations[0])
    columns = np.array([_standardize(feature[is_read]) for feature in features])
    rows = [columns @ _standardize(unit[is_read].astype(np.float64)) for unit in activations]
    return np.array(rows)


def _standardize(values: Floats) -> Floats:
    """Return the values (N,) with mean 0 and length 1, or zeros if they are constant."""
    centered = values - values.sum() / max(len(values), 1)
    length = np.sqrt(centered @ centered)
    return centered / length if length > 1e-9 * np.sqrt(len(values)) else np.zeros_like(centered)


def most_correlated(activations: Floats, text: str, per_feature: int) -> list[UnitFeature]:
    """Return the units that correlate most with each feature, the strongest correlations first.

    Of the units (U, N), `per_feature` are paired with each feature that the text has.
    """
    all_features = features(text)
    if not all_features:
        return []
    r = correlations(activations, np.stack([*all_features.values()]))  # (U, F)
    pairs = [
        UnitFeature(unit, name, float(r[unit, f]))
        for f, name in enumerate(all_features)
        for unit in np.argsort(-abs(r[:, f]), kind="stable")[:per_feature].tolist()
    ]
    return sorted(pairs, key=lambda pair: -abs(pair.correlation))


def _matching(predicate: Callable[[str], bool], text: str) -> Floats:
    """Return 1 at each character that satisfies the predicate, and 0 elsewhere."""
    matches = {char for char in set(text) if predicate(char)}
    return np.array([char in matches for char in text], dtype=float)


def _inside(pattern: str, text: str, closed: bool = False) -> Floats:
    """Return 1 inside a match, and 0 elsewhere; `closed` leaves out its last character."""
    inside = np.zeros(len(text))
    for match in re.finditer(pattern, text):
        inside[match.start() : match.end() - closed] = 1
    return inside


def _distance_since(pattern: str, text: str) -> Floats:
    """Return the characters since the last match, 0 inside one, or since the text's beginning."""
    positions = np.arange(1, len(text) + 1)
    last = np.maximum.accumulate(positions * (_inside(pattern, text) > 0))
    return (positions - last).astype(float)


def _brackets(text: str) -> Floats:
    """Return 1 from an opening bracket up to its closing bracket, if it has one, else 0."""
    inside, opened = np.zeros(len(text)), list[int]()
    for i, char in enumerate(text):
        if char in "([{":
            opened.append(i)
        elif opened and text[opened[-1]] + char in BRACKETS:
            inside[opened.pop() : i] = 1
    return inside


def _indentation(text: str) -> Floats:
    """Return the width of each line's indentation, from the indentation's last character on."""
    widths = np.zeros(len(text))
    for match in re.finditer(r"(?m)^([ \t]+)[^\n]*", text):
        widths[match.end(1) - 1 : match.end()] = len(match[1].expandtabs(4))
    return widths


FEATURES: dict[str, Callable[[str], Floats]] = {
    "white space": partial(_inside, r"\s"),
    "vowel": partial(_matching, lambda c: unicodedata.normalize("NFD", c)[0].lower() in VOWELS),
    "upper case": partial(_matching, str.isupper),
    "digit": partial(_inside, r"\d"),
    "punctuation": partial(_matching, lambda c: unicodedata.category(c)[0] in "PS"),
    "first letter of a word": partial(_inside, r"\b\w"),
    "position in the line": partial(_distance_since, r"\n"),
    "position in the word": partial(_distance_since, r"\W"),
    "position in the sentence": partial(_distance_since, r"[.!?…。！？]|\n(?=\n)"),
    "line after an empty line": partial(_inside, r"(?<=\n\n)[^\n]+"),
    "indentation depth": _indentation,
    "inside quotes": partial(_inside, QUOTED, closed=True),
    "inside brackets": _brackets,
    "inside a comment": partial(_inside, COMMENT),
    "inside a URL": partial(_inside, URL),
}
