"""Generates text from a model, one character at a time: each is drawn, then fed back in.

A model of lines starts every record from the zero state after a newline, as in training; one of
running text starts from a state of `start_states`.

The random number for the j-th character of text i depends on the seed, i and j alone (see `rng`),
so a text does not depend on the number of texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from charrnn import units
from charrnn.arrays import Floats, Ints, StartStates
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CharrnnError
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace, Workspaces
from charrnn.rng import text_keys, uniforms
from charrnn.sampling.drawing import RowSampler, SamplingOptions, sample_ids, surprisals
from charrnn.sampling.single_step import make_step

PRIME_WINDOW = 256  # steps of a prime run at a time
MAX_ROWS, MIN_ROWS = 1024, 8  # texts generated side by side
MAX_RECORD_CHARS = 5_000  # drawn without a newline where only newlines end a text
PARAMETERS_X_ROWS = 1 << 25  # parameters times rows; a step then takes about a millisecond


@dataclass(frozen=True)
class StopConditions:
    """A text ends at the first condition that is met; without any it never ends."""

    chars: int | None = None  # characters drawn
    lines: int | None = None  # newlines drawn
    stop: str = ""  # a string among the drawn characters; empty: none

    @property
    def only_newlines(self) -> bool:
        """Whether nothing but newlines ends a text, which may then have no end."""
        return self.lines is not None and self.chars is None and not self.stop


class GeneratedText(NamedTuple):
    """A finished text and its probability."""

    number: int  # of the text under its seed
    text: str  # prime and drawn characters, without the closing newline of a record
    chars: int  # drawn, including the newline of a record
    nats: float  # -ln p of the drawn characters at temperature 1, without truncation

    @property
    def bits_per_char(self) -> float:
        """Bits per drawn character."""
        return units.bits(self.nats / max(self.chars, 1))


class Sampler:
    """Generates text with one model.

    Running text starts from one of `starts`, chosen by seed and number; without it, and for lines,
    from the zero state after a newline, or a random character where there is none.
    """

    def __init__(
        self,
        model: Model,
        params: Params,
        vocab: Vocab,
        mode: str,
        starts: StartStates | None = None,
    ) -> None:
        self.model = model
        self.params = params
        self.vocab = vocab
        self.lines = mode == "lines"
        self.newline = int(vocab.encode("\n")[0]) if "\n" in vocab else -1
        self.workspaces = Workspaces(model)
        self.starts = starts or StartStates(model.zero_state(1), np.array([self.newline]))

    def stream(
        self,
        seed: int,
        options: SamplingOptions,
        until: StopConditions,
        prime: str = "",
        number: int = 0,
    ) -> Iterator[str]:
        """Yield one text, character by character: the prime, then the drawn characters.

        A model of lines generates record after record, each beginning with the prime. Raises
        VocabError if the vocabulary lacks a character of the prime.
        """
        logits_0, state_0 = self.after_prime(seed, prime, self._starts(seed, np.array([number])))
        step = make_step(self.model, self.params)
        sampler = RowSampler(options, len(self.vocab), step.max_logit, self.model.dtype)
        newlines, tail, id_ = 0, "", None  # newlines drawn; last characters; last id
        may_be_endless, line_chars = until.only_newlines, 0  # characters since the last newline
        if until.chars == 0:
            yield from prime
        for u in itertools.islice(_random_numbers(seed, number), until.chars):
            if id_ is None or (self.lines and id_ == self.newline):
                yield from prime
                step.start(state_0)
                id_ = sampler.draw(logits_0[0], u)
            else:
                id_ = sampler.draw(step.read(id_), u)
            char = self.vocab.chars[id_]
            yield char
            newlines += id_ == self.newline
            line_chars = 0 if id_ == self.newline else line_chars + 1
            if may_be_endless and line_chars == MAX_RECORD_CHARS:
                raise _endless()
            if until.stop:
                tail = (tail + char)[-len(until.stop) :]
            if newlines == until.lines or (tail and tail == until.stop):
                return

    def after_prime(self, seed: int, prime: str, starts: Ints) -> tuple[Floats, Floats]:
        """Return the logits (K, V) and the states (L, S, K, H) after the prime, from K starts.

        In training no record is empty, so the first character of a record is never a newline.
        """
        state, first = self.starts.state[:, :, starts], self.starts.ids[starts]
        if first[0] < 0:
            key = text_keys(seed, np.array([0]))
            first = (uniforms(key, np.array([-1])) * len(self.vocab)).astype(np.intp)
        prime_ids = self.vocab.encode(prime, "the prime").reshape(-1, 1)
        ids = np.concatenate([first[None], np.repeat(prime_ids, len(first), axis=1)])
        for start in range(0, len(ids), PRIME_WINDOW):
            window = ids[start : start + PRIME_WINDOW]
            work = self.workspaces.get(*window.shape)
            state = self.model.run(self.params, window, state, work)
        logits = work.logits[-len(first) :].copy()
        if self.lines and not prime:
            logits[:, self.newline] = -np.inf
        return logits, state

    def _starts(self, seed: int, numbers: Ints) -> Ints:
        """Return the start (B,) of each of these texts (B,)."""
        u = uniforms(text_keys(seed, numbers), np.full(len(numbers), -2))
        return (u * len(self.starts.ids)).astype(np.intp)

    def _after_primes(
        self, seed: int, prime: str | Sequence[str]
    ) -> Callable[[Ints], tuple[Floats, Floats]]:
        """Return a function of the numbers (K,) of texts: the logits and states after their primes.

        They are as in `after_prime`. Each prime of a sequence is read by itself; the texts beyond
        the sequence, which are not yielded, start from zeros.
        """
        if isinstance(prime, str):
            logits, state = self.after_prime(seed, prime, np.arange(len(self.starts.ids)))

            def select(numbers: Ints) -> tuple[Floats, Floats]:
                starts = self._starts(seed, numbers)
                return logits[starts], state[:, :, starts]

            return select

        def read(numbers: Ints) -> tuple[Floats, Floats]:
            K, starts = len(numbers), self._starts(seed, numbers)
            logits = np.zeros((K, len(self.vocab)), self.model.dtype)
            state = self.model.zero_state(K)
            for i in np.flatnonzero(numbers < len(prime)).tolist():
                row = slice(i, i + 1)
                text = prime[numbers[i]]
                logits[row], state[:, :, row] = self.after_prime(seed, text, starts[row])
            return logits, state

        return read

    def rows(self) -> int:
        """Return how many texts are generated side by side.

        It depends on the size of the model, not on the number of texts: the last bits of a matrix
        product depend on the number of its rows, and a text must not.
        """
        rows = 1 << max(0, (PARAMETERS_X_ROWS // self.params.flat.size).bit_length() - 1)
        return max(MIN_ROWS, min(MAX_ROWS, rows))

    def texts(
        self,
        seed: int,
        options: SamplingOptions,
        until: StopConditions,
        prime: str | Sequence[str] = "",
        count: int | None = None,
        scored: bool = False,
    ) -> Iterator[GeneratedText]:
        """Yield `count` independent texts in the order of their numbers, generated side by side.

        A sequence has the prime of each text. In a model of lines a text is one record. `nats` are
        0 unless `scored`. When the text of a row ends, the row starts the text with the next
        number.
        """
        B = self.rows()
        after_primes = self._after_primes(seed, prime)
        numbers = np.arange(B)  # (B,): the number of each row's text
        logits, state = after_primes(numbers)
        work = Workspace(self.model, 1, B)  # of its own: reading a prime overwrites the shared ones
        row_keys = text_keys(seed, numbers)
        drawn: list[list[str]] = [[] for _ in numbers]  # the characters of each row's text
        # Characters and newlines drawn, and characters since the last newline.
        lengths, newlines, line_chars = np.zeros((3, B), dtype=np.int64)
        nats = np.zeros(B)
        until = replace(until, lines=1) if self.lines else until
        may_be_endless, stop = until.only_newlines, until.stop
        finished: dict[int, GeneratedText] = {}
        for next_number in itertools.islice(itertools.count(), count):
            if until.chars == 0:
                text = _prime_of(prime, next_number)
                finished[next_number] = GeneratedText(next_number, text, 0, 0.0)
            while next_number not in finished:
                ids = sample_ids(logits, options, uniforms(row_keys, lengths))
                if scored:
                    nats += surprisals(logits, ids)
                for row, char in zip(drawn, self.vocab.decode(ids.tolist()), strict=True):
                    row.append(char)
                lengths += 1
                newlines += ids == self.newline
                line_chars[:] = np.where(ids == self.newline, 0, line_chars + 1)
                if may_be_endless and line_chars[numbers == next_number] >= MAX_RECORD_CHARS:
                    raise _endless()
                ended = (lengths == until.chars) | (newlines == until.lines)
                if stop:
                    ended |= [
                        row[-1] == stop[-1] and "".join(row[-len(stop) :]) == stop for row in drawn
                    ]
                state = self.model.run(self.params, ids.reshape(1, -1), state, work)
                logits = work.logits
                rows = np.flatnonzero(ended)
                for i in rows.tolist():
                    chars, number = "".join(drawn[i]), int(numbers[i])
                    text = _prime_of(prime, number)
                    text += chars.removesuffix("\n") if self.lines else chars
                    finished[number] = GeneratedText(number, text, len(chars), float(nats[i]))
                    drawn[i] = []
                numbers[rows] = numbers.max() + 1 + np.arange(len(rows))
                row_keys[rows] = text_keys(seed, numbers[rows])
                lengths[rows], nats[rows], newlines[rows], line_chars[rows] = 0, 0.0, 0, 0
                if len(rows):
                    logits[rows], state[:, :, rows] = after_primes(numbers[rows])
            yield finished.pop(next_number)


def _prime_of(prime: str | Sequence[str], number: int) -> str:
    """Return the prime of a text; none for the texts beyond a sequence."""
    if isinstance(prime, str):
        return prime
    return prime[number] if number < len(prime) else ""


def _endless() -> CharrnnError:
    """Return the error for a text that only a newline can end, and that has none."""
    return CharrnnError(
        f"the last {MAX_RECORD_CHARS:,} characters have no newline, so the text may never end",
        "Limit it with --n N, or try a higher --temperature",
    )


def _random_numbers(seed: int, number: int, block: int = 256) -> Iterator[float]:
    """Yield the random number of each character of one text."""
    key = text_keys(seed, np.array([number]))
    for start in itertools.count(step=block):
        yield from uniforms(key, np.arange(start, start + block)).tolist()
