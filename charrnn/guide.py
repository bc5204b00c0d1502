"""Records that match a regular expression, without thousands of rejections.

An expression must match a whole record, except that `^x` alone means "begins with x" and `x$` alone
"ends with x". Letters that every match must begin with are fed as a prime, which samples exactly
from the records that begin so. Letters that every match must end with are reached by sampling,
importance and resampling (Rubin 1988):

    write a pool of records; take every prefix y of every one of them, the empty one included
    weigh y with p(ending | y), the ending's closing newline included
    draw prefixes by their weights, and put the ending after each

A prefix of t characters is in the pool with probability p(y), so a record y + ending is drawn in
proportion to p(y) p(ending | y), its own probability: the larger the pool, the more exactly. What
remains of the expression is left to rejection.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np

from charrnn.errors import ConfigError
from charrnn.params import Floats
from charrnn.randomness import keys, uniforms
from charrnn.sample import Limits, Sampler, Taste, Text, probabilities, surprisal

POOL = 1024  # records whose prefixes are weighed together
META = frozenset(".^$*+?{}[]\\|()")


class Guide:
    """An expression, and records that are likely to match it."""

    def __init__(self, sampler: Sampler, match: str | None, prime: str = "") -> None:
        """Raises ConfigError for an expression that is none, or a model that writes no lines."""
        if not sampler.lines:
            raise ConfigError(
                "the model was trained on running text, so it has no records to choose from: "
                "train with corpus.mode=lines"
            )
        self.sampler = sampler
        self.pattern = None if match is None else whole(match)
        self.beginning, self.ending = ("", "") if match is None else literals(match)
        if self.beginning.startswith(prime):
            self.prime = self.beginning
        else:
            self.prime = prime  # longer than the expression's beginning, or at odds with it

    def records(self, seed: int, taste: Taste, limits: Limits) -> Iterator[Text]:
        """Endlessly many records; those of the same seed are always the same."""
        if not self.ending or taste.temperature == 0:
            yield from self.sampler.texts(seed, taste, limits, self.prime, scored=True)
        pools = self.sampler.texts(seed, taste, limits, self.prime, scored=True)
        number = 0
        for pool in itertools.count():
            texts = list(itertools.islice(pools, POOL))
            for text in self._ended(texts, taste, seed, pool):
                yield Text(number, text.text, text.chars, text.nats)
                number += 1

    def _ended(self, texts: list[Text], taste: Taste, seed: int, pool: int) -> Iterator[Text]:
        """As many records with the ending as there are texts, drawn by weight."""
        lengths = [len(text.text) for text in texts]
        least = len(self.prime)
        logits, states, nats, origins, cuts = [], [], [], [], []
        for length in sorted(set(lengths)):  # texts of one length need no padding
            same = [text.text for text in texts if len(text.text) == length]
            found = self._prefixes(same, least)
            logits += found[0]
            states += found[1]
            nats += found[2]
            for cut in range(least, length + 1):
                origins += same
                cuts += [cut] * len(same)
        weights, nats_after = self._ending(
            np.concatenate(logits), np.concatenate(states, axis=2), np.concatenate(nats), taste
        )
        cumulative = weights.cumsum()
        if not cumulative[-1] > 0:
            return
        draws = uniforms(keys(seed ^ 0x5EED, np.array([pool])), np.arange(len(texts)))
        for place in cumulative.searchsorted(draws * cumulative[-1], side="right").tolist():
            place = min(place, len(cuts) - 1)
            text = origins[place][: cuts[place]] + self.ending
            yield Text(0, text, len(text) - least + 1, float(nats_after[place]))

    def _prefixes(
        self, texts: list[str], least: int
    ) -> tuple[list[Floats], list[Floats], list[Floats]]:
        """Logits, states and nats after every prefix of these texts of one length.

        Each is a list over the cuts from `least` up, of (B, V), (L, S, B, H) and (B,).
        """
        sampler, B = self.sampler, len(texts)
        ids = np.array([sampler.vocab.encode("\n" + text) for text in texts]).T  # (T, B)
        work = sampler.works.get(1, B)
        state, nats = sampler.model.zero_state(B), np.zeros(B)
        logits: list[Floats] = []
        states: list[Floats] = []
        sums: list[Floats] = []
        for t, row in enumerate(ids):
            state = sampler.model.run(sampler.params, row.reshape(1, -1), state, work)
            if t >= least:
                logits.append(work.logits.copy())
                states.append(state)
                sums.append(nats.copy())
                if t + 1 < len(ids):
                    nats += surprisal(work.logits, ids[t + 1])
        return logits, states, sums

    def _ending(
        self, logits: Floats, state: Floats, nats: Floats, taste: Taste
    ) -> tuple[Floats, Floats]:
        """Weight (N,) of the ending after each of N prefixes, and the nats with it."""
        sampler, N = self.sampler, len(logits)
        ids = sampler.vocab.encode(self.ending + "\n", "the expression's end")
        work = sampler.works.get(1, N)
        log_weight = np.zeros(N)
        for place, char in enumerate(ids):
            p = probabilities(logits, taste)
            with np.errstate(divide="ignore"):  # a taste may rule a character out
                log_weight += np.log(p[char] / p.sum(axis=0))
            chars = np.full(N, char)
            nats = nats + surprisal(logits, chars)
            if place + 1 < len(ids):
                state = sampler.model.run(sampler.params, chars.reshape(1, -1), state, work)
                logits = work.logits
        return np.exp(log_weight), nats


def whole(match: str) -> re.Pattern[str]:
    """The expression as one that must match in full. Raises ConfigError when it is none."""
    begins, ends = match.startswith("^"), _ends(match)
    core = match[1:] if begins else match
    core = core[:-1] if ends else core
    if begins and not ends:
        core = f"(?:{core}).*"
    elif ends and not begins:
        core = f".*(?:{core})"
    try:
        return re.compile(core)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{match!r} is not a regular expression: {error}") from None


def _ends(match: str) -> bool:
    """Whether the expression ends with an anchor, not with an escaped dollar sign."""
    slashes = len(match) - 1 - len(match[:-1].rstrip("\\"))
    return match.endswith("$") and slashes % 2 == 0


def literals(match: str) -> tuple[str, str]:
    """The letters that every match begins with, and those that it ends with.

    Found without parsing the whole expression, so they may be fewer than there are: alternatives
    and groups of options give none.

    >>> literals("^ty")
    ('ty', '')
    >>> literals("[a-z]*saurus$")
    ('', 'saurus')
    >>> literals("tri.*tops")
    ('tri', 'tops')
    """
    if "|" in match or "(?" in match:
        return "", ""
    begins, ends = match.startswith("^"), _ends(match)
    core = match[1:] if begins else match
    core = core[:-1] if ends else core
    plain = "".join(itertools.takewhile(lambda char: char not in META, core))
    if len(plain) == len(core):  # letters only
        return (core, "") if begins or not ends else ("", core)
    beginning = plain
    if core[len(plain)] in "*+?{":  # the last letter is repeated, or may be left out
        beginning = plain[:-1]
    backwards = itertools.takewhile(lambda char: char not in META, reversed(core))
    ending = "".join(backwards)[::-1]
    before = core[: len(core) - len(ending)]
    if before.endswith("\\"):  # its first letter is part of an escape such as \d
        ending = ending[1:]
    open_end = begins and not ends  # anything may follow
    open_start = ends and not begins
    return ("" if open_start else beginning), ("" if open_end else ending)
