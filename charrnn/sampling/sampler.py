"""Text out of a model, one character at a time: each is drawn, then fed back in.

    p = softmax(logits / temperature), cut to the top k, cut to the smallest set of mass p

Temperature 0 takes the likeliest character. A model of lines starts every record from the zero
state after a newline, as it was trained.

Text number i of a seed draws its j-th character with a random number that depends on the seed, i
and j alone (see `rng`), so it does not change with the number of texts asked for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn import units
from charrnn.arrays import Floats, Ints
from charrnn.data.vocabulary import Vocab
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspaces
from charrnn.rng import text_keys, uniforms
from charrnn.sampling.single_step import make_step

PRIME_WINDOW = 256  # steps of a prime read at a time
MAX_ROWS, MIN_ROWS = 1024, 8  # texts written side by side
PARAMETERS_X_ROWS = 1 << 25  # about as many parameters times rows: a step then takes a millisecond


@dataclass(frozen=True)
class SamplingOptions:
    """How a character is chosen from the probabilities."""

    temperature: float = 1.0  # 0 or more; 0 is the likeliest
    top_k: int | None = None  # only the k likeliest
    top_p: float = 1.0  # only the likeliest that make up this probability

    @property
    def truncates(self) -> bool:
        """Whether some characters are never drawn."""
        return self.top_k is not None or self.top_p < 1


@dataclass(frozen=True)
class StopConditions:
    """Where a text ends, whichever comes first; without any it never does."""

    chars: int | None = None  # characters drawn
    lines: int | None = None  # newlines drawn
    stop: str = ""  # a string that appears among the drawn characters


class GeneratedText(NamedTuple):
    """A finished text and how likely it was."""

    number: int  # of its seed
    text: str  # the prime, then what was drawn; of a record without its closing newline
    chars: int  # drawn, a record's newline included
    nats: float  # -ln p of the drawn characters under the model, whatever the taste

    @property
    def bits_per_char(self) -> float:
        """Bits per drawn character."""
        return units.bits(self.nats / max(self.chars, 1))


def probabilities(logits: Floats, options: SamplingOptions) -> Floats:
    """The probabilities (V, B) that characters are drawn with, not normalised; temperature > 0.

    `logits` is (B, V). Sums over characters run down the columns: NumPy adds whole rows at a time,
    which for 1,024 texts is five times as fast as going along each row.
    """
    p: Floats = np.array(logits.T, order="C")
    p -= p.max(axis=0)
    if options.temperature != 1:
        with np.errstate(over="ignore"):  # -inf is right for a temperature near 0
            p = p.astype(np.float64) / options.temperature
    np.exp(p, p)
    if options.truncates:
        order = np.argsort(-p, axis=0, kind="stable")
        ordered = np.take_along_axis(p, order, axis=0)
        if options.top_k is not None:
            ordered[options.top_k :] = 0
        if options.top_p < 1:
            before = ordered.cumsum(axis=0) - ordered  # the mass of all that are likelier
            ordered[before >= options.top_p * ordered.sum(axis=0)] = 0
        np.put_along_axis(p, order, ordered, axis=0)
    return p


def sample_ids(logits: Floats, options: SamplingOptions, u: Floats) -> Ints:
    """One character (B,) for each row of logits (B, V), by random numbers `u` (B,) in [0, 1)."""
    if options.temperature == 0:
        greedy: Ints = logits.argmax(axis=1)
        return greedy
    cumulative = probabilities(logits, options).astype(np.float64)
    for before, here in itertools.pairwise(cumulative):
        np.add(before, here, here)  # twenty times as fast as cumsum for 1,024 texts
    # u is a share of what there is, so rounding cannot lead beyond the last possible character:
    # a character is passed over while all mass up to it is at most that share.
    drawn: Ints = np.add.reduce(cumulative <= u * cumulative[-1], axis=0, dtype=np.int64)
    return drawn


class RowSampler:
    """Draws what `sample_ids` draws, to rounding, from one row of logits (V,), much faster."""

    def __init__(
        self, options: SamplingOptions, V: int, largest: float, dtype: npt.DTypeLike
    ) -> None:
        """No logit is larger than `largest`: their exponentials may need no shift."""
        self.options = options
        temperature, most = options.temperature, float(np.finfo(dtype).max)
        no_overflow = largest < min(1.0, temperature) * (math.log(most / V) - 1)
        self._simple = not options.truncates and no_overflow and 0 < temperature < most
        self._p, self._precise = np.empty(V, dtype=dtype), np.empty(V)
        self._cumulative = np.empty(V)

    def draw(self, logits: Floats, u: float) -> int:
        """One character, by a random number in [0, 1)."""
        p, cumulative, temperature = self._p, self._cumulative, self.options.temperature
        if temperature == 0:
            return int(logits.argmax())
        if self._simple:
            np.exp(logits if temperature == 1 else np.divide(logits, temperature, p), p)
        else:
            p = probabilities(logits.reshape(1, -1), self.options)[:, 0]
        self._precise[:] = p
        np.add.accumulate(self._precise, 0, None, cumulative)
        return int(cumulative.searchsorted(u * cumulative.item(-1), "right"))


def surprisals(logits: Floats, ids: Ints) -> Floats:
    """-ln p (B,) of one character of each row under the model itself."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    picked = np.take_along_axis(shifted, ids.reshape(-1, 1), axis=1)[:, 0]
    nats: Floats = np.log(np.exp(shifted).sum(axis=1)) - picked
    return nats


class Sampler:
    """Writes text with one model. Every call starts afresh, from the zero state."""

    def __init__(self, model: Model, params: Params, vocab: Vocab, mode: str) -> None:
        self.model = model
        self.params = params
        self.vocab = vocab
        self.lines = mode == "lines"
        self.newline = int(vocab.encode("\n")[0]) if "\n" in vocab else -1
        self.workspaces = Workspaces(model)

    def stream(
        self,
        seed: int,
        options: SamplingOptions,
        until: StopConditions,
        prime: str = "",
        number: int = 0,
    ) -> Iterator[str]:
        """One text, character by character: the prime, then what is drawn.

        In a model of lines it is record after record, each beginning with the prime. Raises
        VocabError when the prime has a character that the vocabulary lacks.
        """
        logits_0, state_0 = self.after_prime(seed, prime)
        step = make_step(self.model, self.params)
        choice = RowSampler(options, len(self.vocab), step.largest, self.model.dtype)
        ended, tail, char = 0, "", None  # of newlines; the last characters; the last id
        if until.chars == 0:
            yield from prime
        for u in itertools.islice(_draws(seed, number), until.chars):
            if char is None or (self.lines and char == self.newline):
                yield from prime
                step.start(state_0)
                char = choice.draw(logits_0[0], u)
            else:
                char = choice.draw(step.read(char), u)
            letter = self.vocab.chars[char]
            yield letter
            ended += char == self.newline
            if until.stop:
                tail = (tail + letter)[-len(until.stop) :]
            if ended == until.lines or (tail and tail == until.stop):
                return

    def after_prime(self, seed: int, prime: str) -> tuple[Floats, Floats]:
        """The logits (1, V) and the state (L, S, 1, H) once the prime has been read.

        Before the prime stands a newline, or, where the vocabulary has none, a random character. A
        record is not empty, as in training, so its first character is no newline.
        """
        first = self.newline
        if first < 0:
            key = text_keys(seed, np.array([0]))
            first = int(uniforms(key, np.array([-1]))[0] * len(self.vocab))
        ids = np.concatenate([[first], self.vocab.encode(prime, "the prime")]).reshape(-1, 1)
        state = self.model.zero_state(1)
        for start in range(0, len(ids), PRIME_WINDOW):
            window = ids[start : start + PRIME_WINDOW]
            work = self.workspaces.get(len(window), 1)
            state = self.model.run(self.params, window, state, work)
        logits = work.logits[-1:].copy()
        if self.lines and not prime:
            logits[0, self.newline] = -np.inf
        return logits, state

    def rows(self) -> int:
        """How many texts are written side by side: fixed by the model, not by how many are wanted.

        A matrix product's last bits depend on the number of its rows, and a text must not.
        """
        size = sum(math.prod(shape) for shape in self.model.shapes().values())
        rows = 1 << max(0, (PARAMETERS_X_ROWS // size).bit_length() - 1)
        return max(MIN_ROWS, min(MAX_ROWS, rows))

    def texts(
        self,
        seed: int,
        options: SamplingOptions,
        until: StopConditions,
        prime: str = "",
        count: int | None = None,
        scored: bool = False,
    ) -> Iterator[GeneratedText]:
        """Independent texts, many at a time, in the order of their numbers; `count` of them.

        In a model of lines a text is one record. `nats` are worked out if `scored`. A row whose
        text has ended goes on with the next number.
        """
        B = self.rows()
        logits_0, state_0 = self.after_prime(seed, prime)
        logits, state = np.repeat(logits_0, B, axis=0), np.repeat(state_0, B, axis=2)
        work = self.workspaces.get(1, B)
        numbers = np.arange(B)  # (B,): the text each row writes
        row_keys = text_keys(seed, numbers)
        written: list[list[str]] = [[] for _ in numbers]  # characters
        lengths, ended = np.zeros((2, B), dtype=np.int64)  # characters drawn so far, and newlines
        nats = np.zeros(B)
        lines, stop = 1 if self.lines else until.lines, until.stop
        finished: dict[int, GeneratedText] = {}
        for wanted in itertools.islice(itertools.count(), count):
            if until.chars == 0:
                finished[wanted] = GeneratedText(wanted, prime, 0, 0.0)
            while wanted not in finished:
                chars = sample_ids(logits, options, uniforms(row_keys, lengths))
                if scored:
                    nats += surprisals(logits, chars)
                for row, letter in zip(written, self.vocab.decode(chars.tolist()), strict=True):
                    row.append(letter)
                lengths += 1
                ended += chars == self.newline
                over = (lengths == until.chars) | (ended == lines)
                if stop:
                    over |= [
                        row[-1] == stop[-1] and "".join(row[-len(stop) :]) == stop
                        for row in written
                    ]
                state = self.model.run(self.params, chars.reshape(1, -1), state, work)
                logits = work.logits
                rows = np.flatnonzero(over)
                for i in rows.tolist():
                    text = "".join(written[i])
                    shown = prime + (text.removesuffix("\n") if self.lines else text)
                    number = int(numbers[i])
                    finished[number] = GeneratedText(number, shown, len(text), float(nats[i]))
                    written[i] = []
                numbers[rows] = numbers.max() + 1 + np.arange(len(rows))
                row_keys[rows] = text_keys(seed, numbers[rows])
                lengths[rows], nats[rows], ended[rows] = 0, 0.0, 0
                logits[rows], state[:, :, rows] = logits_0, state_0
            yield finished.pop(wanted)


def _draws(seed: int, number: int, block: int = 256) -> Iterator[float]:
    """The random numbers of one text, one after another."""
    key = text_keys(seed, np.array([number]))
    for start in itertools.count(step=block):
        yield from uniforms(key, np.arange(start, start + block)).tolist()
