"""Which cells of a network tell something about a text: those whose activation follows a feature.

A feature is a number for every character, known from that character and those around it: whether
it is a vowel, how far it is into its line, whether it stands inside quotes. A cell is as telling as
the largest correlation (Pearson's, of either sign) between its activation and a feature.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Floats

MIN_OCCURRENCES = (
    10  # characters that must have a feature, and lack it, before a correlation means anything
)
VOWELS = frozenset("aeiouаеёиіоуыэюяєїαεηιουω")

# Quotes end before an empty line: an author who forgets one ends it with the paragraph.
LINE_BREAK = r"\n(?!\n)"
QUOTED = (
    rf'"(?:[^"\n]|{LINE_BREAK})+"|“(?:[^”\n]|{LINE_BREAK})+”|«(?:[^»\n]|{LINE_BREAK})+»|„(?:[^“”\n]|{LINE_BREAK})+[“”]'
    rf"|‘(?:[^’\n]|’(?=\w)|{LINE_BREAK})+’|(?<!\w)'[^'\n]+'(?!\w)|`[^`\n]+`"
)
COMMENT = r"(?s)(?:(?<!\S)#|(?<![:\w])//|(?<!\S)--(?= ))[^\n]*|/\*.*?\*/|<!--.*?-->"
URL = r"\b(?:https?://|ftp://|www\.)[^\s<>\"']+"
BRACKETS = ("()", "[]", "{}")


class UnitFeature(NamedTuple):
    """A cell, and what it follows most closely."""

    unit: int
    feature: str  # empty when it follows none
    correlation: float


def features(text: str) -> dict[str, Floats]:
    """The features of a text, each (N,), but for those too rare in it to say anything."""
    every = ((name, feature(text)) for name, feature in FEATURES.items())
    return {name: values for name, values in every if _varies(values)}


def _varies(values: Floats) -> bool:
    """Whether enough characters differ from what most of them have."""
    most_common = np.unique(values, return_counts=True)[1].max(initial=0)
    return bool(len(values) - most_common >= MIN_OCCURRENCES)


def correlations(activations: Floats, features: Floats) -> Floats:
    """Pearson's correlation (C, F) of C cells (C, N) with F features (F, N); 0 for a constant.

    Characters that were not read, where the activations are NaN, do not count.
    """
    read = ~np.isnan(activations[0])
    wanted = np.array([_standard(feature[read]) for feature in features])
    correlation = [wanted @ _standard(unit[read].astype(np.float64)) for unit in activations]
    return np.array(correlation)


def _standard(values: Floats) -> Floats:
    """The values (N,) with mean 0 and length 1; zeros where they are constant."""
    centred = values - values.sum() / max(len(values), 1)
    length = np.sqrt(centred @ centred)
    return centred / length if length > 1e-9 * np.sqrt(len(values)) else np.zeros_like(centred)


def most_correlated(
    activations: Floats, text: str, count: int, per_feature: int
) -> list[UnitFeature]:
    """Return at most `count` pairs of a unit and a feature, the strongest correlations first.

    Of the activations (C, N) each unit is paired with the feature it correlates with most; at most
    `per_feature` units are paired with the same one. The strongest unit of every feature comes
    first in the choice, even if that unit correlates more with another feature and appears twice.
    """
    all_features = features(text)
    if not all_features:
        return [UnitFeature(unit, "", 0.0) for unit in range(min(count, len(activations)))]
    names = list(all_features)
    correlation = correlations(activations, np.stack([*all_features.values()]))  # (C, F)
    strengths = np.abs(correlation)
    best = zip(strengths.argmax(axis=0).tolist(), range(len(names)), strict=True)
    closest = enumerate(strengths.argmax(axis=1).tolist())
    distinct = dict.fromkeys([*best, *closest])
    pairs = [UnitFeature(unit, names[f], float(correlation[unit, f])) for unit, f in distinct]
    pairs.sort(key=_by_strength)
    groups = [[pair for pair in pairs if pair.feature == name][:per_feature] for name in names]
    firsts = sorted((group[0] for group in groups), key=_by_strength)
    others = sorted((pair for group in groups for pair in group[1:]), key=_by_strength)
    return sorted((firsts + others)[:count], key=_by_strength)


def _by_strength(pair: UnitFeature) -> float:
    return -abs(pair.correlation)


def _is_any_of(holds: Callable[[str], bool], text: str) -> Floats:
    """1 at a character of which it holds."""
    having = {char for char in set(text) if holds(char)}
    return np.array([char in having for char in text], dtype=float)


def _inside(pattern: str, text: str, closed: bool = False) -> Floats:
    """1 in a match; not at its last character if that one closes it."""
    inside = np.zeros(len(text))
    for match in re.finditer(pattern, text):
        inside[match.start() : match.end() - closed] = 1
    return inside


def _distance_since(pattern: str, text: str) -> Floats:
    """How many characters ago there was a match: 0 in one, counted from the text's beginning."""
    places = np.arange(1, len(text) + 1)
    return (places - np.maximum.accumulate(places * (_inside(pattern, text) > 0))).astype(float)


def _brackets(text: str) -> Floats:
    """1 from an opening bracket to the one that closes it; what is not closed opens nothing."""
    inside, opened = np.zeros(len(text)), list[int]()
    for place, char in enumerate(text):
        if char in "([{":
            opened.append(place)
        elif opened and text[opened[-1]] + char in BRACKETS:
            inside[opened.pop() : place] = 1
    return inside


def _indentation(text: str) -> Floats:
    """The width of the white space that a line opens with, once it has been read."""
    deep = np.zeros(len(text))
    for match in re.finditer(r"(?m)^([ \t]+)[^\n]*", text):
        deep[match.end(1) - 1 : match.end()] = len(match[1].expandtabs(4))
    return deep


def _is_vowel(char: str) -> bool:
    return unicodedata.normalize("NFD", char)[0].lower() in VOWELS


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"


FEATURES: dict[str, Callable[[str], Floats]] = {
    "white space": partial(_inside, r"\s"),
    "vowel": partial(_is_any_of, _is_vowel),
    "upper case": partial(_is_any_of, str.isupper),
    "digit": partial(_inside, r"\d"),
    "punctuation": partial(_is_any_of, _is_punctuation),
    "first letter of a word": partial(_inside, r"\b\w"),
    "place in the line": partial(_distance_since, r"\n"),
    "place in the word": partial(_distance_since, r"\W"),
    "place in the sentence": partial(_distance_since, r"[.!?…。！？]|\n(?=\n)"),
    "line after an empty one": partial(_inside, r"(?<=\n\n)[^\n]+"),
    "depth of indentation": _indentation,
    "inside quotes": partial(_inside, QUOTED, closed=True),
    "inside brackets": _brackets,
    "inside a comment": partial(_inside, COMMENT),
    "inside a URL": partial(_inside, URL),
}
