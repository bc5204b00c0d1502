"""How well a model foretells a text: nats and bits per character, and perplexity.

A stream is scored once from its first character to its last with carried state; the first one has
nothing before it and is not scored. Lines are scored one by one, each from the zero state, each
with its closing newline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.corpus import Corpus, Records
from charrnn.errors import CorpusError, VocabError
from charrnn.model import Batch, Model, Workspaces
from charrnn.params import Floats, Ints, Params
from charrnn.vocab import Vocab, unknown_character

WINDOW = 256  # steps scored at a time; the figures do not depend on it
ROWS = 64  # lines, or pieces of a stream, scored side by side
WARM_UP = 256  # characters that a piece of a stream reads before its own
LINES = 4096  # lines sorted by length together

Check = Callable[[], None]  # called now and then, to leave a long scoring by an exception


@dataclass(frozen=True)
class Score:
    """The surprise of a model at a text."""

    total_nats: float  # -ln p, summed over the characters
    chars: int  # characters scored
    unknown: int = 0  # characters left out because the vocabulary lacks them

    @property
    def nats(self) -> float:
        """Nats per character."""
        return self.total_nats / self.chars

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the nats: as uncertain as between so many equally likely characters."""
        return math.exp(min(self.nats, 700.0))  # exp(710) is more than a float holds


def _nothing() -> None:
    """The check of a scoring that nobody interrupts."""


class Evaluator:
    """Scores text with one model; its memory is allocated once."""

    def __init__(self, model: Model, params: Params) -> None:
        self.model = model
        self.params = params
        self._works = Workspaces(model)

    def stream(self, pieces: Iterable[Ints]) -> Score:
        """Score consecutive pieces of one text with carried state, in constant memory."""
        state = self.model.zero_state(1)
        before = np.empty(0, dtype=np.intp)  # the last character so far
        total, chars = 0.0, 0
        for piece in pieces:
            ids = np.concatenate([before, piece]).reshape(-1, 1)
            for start in range(0, len(ids) - 1, WINDOW):
                window = ids[start : start + WINDOW + 1]
                nats, state = self._window(Batch(window[:-1], window[1:]), state)
                total += nats
            chars += max(len(ids) - 1, 0)
            before = ids[-1:, 0]
        return Score(total, chars)

    def pieces(self, ids: Ints, check: Check = _nothing) -> Score:
        """Score one text in `ROWS` pieces side by side: faster, and within about 0.001 nats.

        Every piece but the first reads `WARM_UP` characters before its own, from the zero state.
        """
        targets = len(ids) - 1
        rows = min(ROWS, max(1, targets // (4 * WARM_UP)))
        length = -(-targets // rows)
        starts = np.arange(rows) * length  # (B,): where each row's inputs begin
        state = self.model.zero_state(rows)
        total = 0.0
        for at in range(-WARM_UP if rows > 1 else 0, length, WINDOW):
            check()
            stop = 0 if at < 0 else min(at + WINDOW, length)
            places = starts + np.arange(at, stop).reshape(-1, 1)  # (T, B)
            mask = ((places >= 0) & (places < targets)).astype(self.model.dtype)
            places = places.clip(0, targets - 1)
            nats, state = self._window(Batch(ids[places], ids[places + 1], mask), state)
            if at < 0:
                state[:, :, 0] = 0  # the first piece has nothing before it
            else:
                total += nats
        return Score(total, targets)

    def records(self, records: Records, which: Ints, check: Check = _nothing) -> Score:
        """Score these records, each from the zero state; similar lengths side by side."""
        lengths = records.lengths(which)
        ordered = which[np.argsort(lengths, kind="stable")]
        total = 0.0
        for start in range(0, len(ordered), ROWS):
            check()
            ids, targets, inside = records.padded(ordered[start : start + ROWS])
            mask = inside.astype(self.model.dtype)
            state = self.model.zero_state(ids.shape[1])
            for at in range(0, len(ids), WINDOW):
                part = slice(at, at + WINDOW)
                nats, state = self._window(Batch(ids[part], targets[part], mask[part]), state)
                total += nats
        return Score(total, int(lengths.sum()))

    def _window(self, batch: Batch, state: Floats) -> tuple[float, Floats]:
        """The summed nats of one window, and the state after it."""
        T, B = batch.ids.shape
        loss, state = self.model.forward(self.params, batch, state, self._works.get(T, B))
        return loss * B, state

    def validation(self, corpus: Corpus, check: Check = _nothing) -> Score | None:
        """Score the validation part as training does, or None when there is none."""
        if not len(corpus.validation):
            return None
        if corpus.records is None:
            return self.pieces(corpus.validation, check)
        return self.records(corpus.records, corpus.validation, check)

    def held_out(self, corpus: Corpus) -> Score:
        """Score the validation part by the protocol: a stream from end to end with carried state.

        Raises CorpusError when the corpus has none.
        """
        if not len(corpus.validation):
            raise CorpusError(
                "the model was trained without a validation part (corpus.validation: 0): "
                "name a text to score"
            )
        if corpus.records is None:
            return self.stream([corpus.validation])
        return self.records(corpus.records, corpus.validation)


class Encoder:
    """Encodes the pieces of a text; unknown characters are an error, or skipped and counted."""

    def __init__(self, vocab: Vocab, name: str, skip_unknown: bool) -> None:
        self.vocab = vocab
        self.name = name
        self.skip_unknown = skip_unknown
        self.unknown = 0
        self.position = 0

    def __call__(self, piece: str) -> Ints:
        """Ids of a piece. Raises VocabError that names the first unknown character."""
        ids = self.vocab.lookup(piece)
        missing = ids == self.vocab.missing
        if missing.any():
            if not self.skip_unknown:
                index = int(missing.argmax())
                raise VocabError(
                    unknown_character(piece[index], self.position + index, self.name)
                    + ". To leave such characters out and count them: --unknown skip"
                )
            self.unknown += int(missing.sum())
            ids = ids[~missing]
        self.position += len(piece)
        return ids


def score_text(
    evaluator: Evaluator,
    vocab: Vocab,
    pieces: Iterable[str],
    mode: str,
    name: str,
    skip_unknown: bool = False,
) -> Score:
    """Score a text as `mode` says, in constant memory. Raises VocabError and CorpusError."""
    encode = Encoder(vocab, name, skip_unknown)
    if mode == "stream":
        score = evaluator.stream(encode(piece) for piece in pieces)
    else:
        total, chars = 0.0, 0
        for records in _records(pieces, encode, vocab):
            part = evaluator.records(records, np.arange(len(records.starts) - 1))
            total, chars = total + part.total_nats, chars + part.chars
        score = Score(total, chars)
    if not score.chars:
        least = "two characters" if mode == "stream" else "one line that is not empty"
        raise CorpusError(f"{name} is too short to score: at least {least} are needed")
    return Score(score.total_nats, score.chars, encode.unknown)


def _records(pieces: Iterable[str], encode: Encoder, vocab: Vocab) -> Iterator[Records]:
    """The lines of a text, some thousands at a time."""
    newline = vocab.lookup("\n")
    for lines in _lines(pieces):
        rows = [encode(line) for line in lines]
        encode.position += len(rows)
        rows = [row for row in rows if len(row)]
        if rows:
            starts = np.cumsum([1, *(len(row) + 1 for row in rows)])
            closed = [part for row in rows for part in (row, newline)]
            yield Records(np.concatenate([newline, *closed]), starts)


def _lines(pieces: Iterable[str]) -> Iterator[list[str]]:
    rest: list[str] = []
    for piece in pieces:
        first, *others = piece.split("\n")
        rest.append(first)
        if others:
            lines = ["".join(rest), *others[:-1]]
            rest = [others[-1]]
            for start in range(0, len(lines), LINES):
                yield lines[start : start + LINES]
    yield ["".join(rest)]
