"""A corpus is a text turned into ids, cut into a training and a validation part.

`stream` is running text; its validation part is the last piece. `lines` is one record a line; its
validation part is random lines, with all copies of a line on the same side. A record is read after
a newline and ends with one: its inputs are that newline and its characters, its targets its
characters and its own newline.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from charrnn.errors import CorpusError
from charrnn.params import Ints
from charrnn.randomness import Purpose, generator
from charrnn.settings import CorpusConfig
from charrnn.streams import standard_input
from charrnn.vocab import Vocab

CHUNK_BYTES = 1 << 20


class TextReader:
    """The characters of a byte stream, in pieces, in constant memory.

    CRLF becomes LF and a byte order mark is dropped; both are counted, and `notices` tells.
    `sha256` runs over the bytes as they are.
    """

    def __init__(
        self, stream: BinaryIO, name: str, encoding: str = "utf-8", lowercase: bool = False
    ) -> None:
        self.stream = stream
        self.name = name
        self.encoding = encoding
        self.lowercase = lowercase
        self.sha256 = hashlib.sha256()
        self.crlf = 0
        self.bom = False

    def __iter__(self) -> Iterator[str]:
        """Pieces of text. Raises CorpusError with the byte offset where the text breaks off."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        position, first, held = 0, True, ""
        while True:
            try:
                raw = _read_some(self.stream)
            except OSError as error:
                raise CorpusError(f"{self.name} cannot be read: {error.strerror}") from None
            self.sha256.update(raw)
            pending = len(decoder.getstate()[0])
            try:
                piece = held + decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                offset = position - pending + error.start
                raise CorpusError(self._undecodable(offset, error.object[error.start])) from None
            except UnicodeError as error:  # such as UTF-16 that does not open with its mark
                raise CorpusError(f"{self.name} is not {self.encoding} text: {error}") from None
            position += len(raw)
            if first and piece:
                first, self.bom = False, piece[0] == "\ufeff"
                piece = piece[1:] if self.bom else piece
            held = ""
            if raw and piece.endswith("\r"):  # perhaps one half of CRLF
                piece, held = piece[:-1], "\r"
            if "\r\n" in piece:
                self.crlf += piece.count("\r\n")
                piece = piece.replace("\r\n", "\n")
            if piece:
                yield lowered(piece) if self.lowercase else piece
            if not raw:
                return

    def _undecodable(self, offset: int, byte: int) -> str:
        return (
            f"{self.name} is not {self.encoding} text: byte {offset:,} (counted from 0) is "
            f"0x{byte:02x}. If it has another encoding, name it: --set corpus.encoding=latin-1 "
            "(train), or convert the text: iconv -f latin1 -t utf-8"
        )

    def notices(self) -> list[str]:
        """What was found and mended on the way, one sentence each."""
        found = []
        if self.bom:
            found.append(f"{self.name} opens with a byte order mark; it is left out")
        if self.crlf:
            found.append(
                f"{self.name} has {self.crlf:,} Windows line ends (CRLF); they are read as LF"
            )
        return found


def lowered(piece: str) -> str:
    """Lower case that does not depend on where a piece ends, as that of a last sigma would."""
    return piece.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


def _read_some(stream: BinaryIO) -> bytes:
    """What is there, up to a chunk: a pipe is not kept waiting for more."""
    read_now = getattr(stream, "read1", stream.read)
    return bytes(read_now(CHUNK_BYTES))


@dataclass(frozen=True)
class Records:
    """Lines of unequal length in one row of ids: a newline, then each line with its newline.

    Record r is `ids[starts[r] : starts[r+1]]`, closing newline included; before it stands the
    newline that opens it.
    """

    ids: Ints  # (N,)
    starts: Ints  # (R + 1,)

    @classmethod
    def of(cls, lines: Sequence[str], encode: Callable[[str], Ints]) -> Records:
        """The records of these lines, none of them empty or with a newline of its own."""
        starts = np.cumsum([1, *(len(line) + 1 for line in lines)])
        return cls(encode("\n" + "\n".join(lines) + "\n"), starts)

    def lengths(self, which: Ints) -> Ints:
        """Characters of each of these records, its closing newline included."""
        lengths: Ints = self.starts[which + 1] - self.starts[which]
        return lengths

    def padded(self, which: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Inputs, targets and mask, each (T, B), of these B records; T is the longest."""
        lengths = self.lengths(which)
        steps = np.arange(lengths.max()).reshape(-1, 1)  # (T, 1)
        inside = steps < lengths  # (T, B)
        places = np.where(inside, self.starts[which] + steps, 1)
        return self.ids[places - 1], self.ids[places], inside


@dataclass(frozen=True)
class Corpus:
    """An encoded text and its two parts: ids of a stream, or numbers of `records`."""

    vocab: Vocab
    training: Ints
    validation: Ints
    sha256: str
    records: Records | None = None  # of a corpus of lines
    notices: tuple[str, ...] = ()


def read(
    config: CorpusConfig, seed: int, vocab: Vocab | None = None, known_sha256: str | None = None
) -> Corpus:
    """Read, encode and split the text of a config.

    `vocab` is that of an earlier run on this text, and `known_sha256` what its bytes hashed to
    then. Raises CorpusError.
    """
    readers, pieces = [], []
    for path in config.path:
        reader = open_text(path, config.encoding, config.lowercase)
        with reader.stream:
            own = list(reader)
        if config.mode == "lines" and own and not own[-1].endswith("\n"):
            own.append("\n")  # the last record of one file must not run into the next
        readers.append(reader)
        pieces += own
    sha256 = _checksum(readers)
    if config.sha256 is not None and sha256 != config.sha256:
        raise CorpusError(
            f"{_names(config)} has sha256 {sha256}, but corpus.sha256 asks for {config.sha256}. "
            "Take the setting out if this is the text you mean"
        )
    if known_sha256 is not None and sha256 != known_sha256:
        raise CorpusError(
            f"{_names(config)} has changed since the model was trained on it, so it no longer "
            "tells what the model has seen"
        )
    text = "".join(pieces)
    notices = [notice for reader in readers for notice in reader.notices()]
    if not text.strip("\n"):
        raise CorpusError(f"{_names(config)} is empty: there is nothing to learn from")
    split = _split_lines if config.mode == "lines" else _split_stream
    return split(text, config, seed, sha256, notices, vocab)


def open_text(path: str, encoding: str = "utf-8", lowercase: bool = False) -> TextReader:
    """A reader of a file, or of stdin for `-`. Raises CorpusError."""
    if path == "-":
        return TextReader(standard_input(), "standard input", encoding, lowercase)
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the reader's user closes it
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such text file") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder, not a text: name the files in it") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
    return TextReader(stream, path, encoding, lowercase)


def _checksum(readers: list[TextReader]) -> str:
    """Of one file its own sha256; of several, the sha256 of theirs."""
    if len(readers) == 1:
        return readers[0].sha256.hexdigest()
    return hashlib.sha256("".join(r.sha256.hexdigest() for r in readers).encode()).hexdigest()


def _names(config: CorpusConfig) -> str:
    names = ["standard input" if path == "-" else path for path in config.path]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _split_stream(
    text: str,
    config: CorpusConfig,
    seed: int,
    sha256: str,
    notices: list[str],
    vocab: Vocab | None,
) -> Corpus:
    vocab = vocab or Vocab.of([text])
    ids = vocab.encode(text, "the corpus")
    cut = int(len(ids) * (1 - config.validation))  # as peers cut: tinyshakespeare's end is 111,540
    held_out = len(ids) - cut
    if held_out == 1:
        raise CorpusError(
            f"{_names(config)} has {len(ids):,} characters, so its validation part of "
            f"{config.validation:g} is a single one, and two are needed to score anything. "
            "Give a longer text, or none for validation: --set corpus.validation=0"
        )
    return Corpus(vocab, ids[:cut], ids[cut:], sha256, notices=tuple(notices))


def _split_lines(
    text: str,
    config: CorpusConfig,
    seed: int,
    sha256: str,
    notices: list[str],
    vocab: Vocab | None,
) -> Corpus:
    lines = text.split("\n")
    records = [line for line in lines if line]
    blank = len(lines) - 1 - len(records)
    if blank:
        notices.append(f"{_names(config)} has {blank:,} empty lines; they are left out")
    vocab = vocab or Vocab.of([*records, "\n"])
    # Whole groups of equal lines are dealt out: a copy must not stand on both sides.
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(record, len(numbers)) for record in records])
    if len(numbers) < len(records):
        copies = len(records) - len(numbers)
        notices.append(
            f"{_names(config)} has {copies:,} repeated lines; "
            "all copies of a line are kept on the same side of the split"
        )
    sizes = np.bincount(groups)
    wanted = room = round(len(records) * config.validation)
    held_out = np.zeros(len(sizes), dtype=bool)
    for group in generator(seed, Purpose.SPLIT).permutation(len(sizes)):
        if not room:
            break
        if sizes[group] <= room:  # one that is too large is left to training
            held_out[group] = True
            room -= sizes[group]
    if wanted and (held_out.all() or not held_out.any()):
        raise CorpusError(
            f"{_names(config)} has {len(numbers):,} different lines, too few to hold out "
            f"{config.validation:g} of them. Give more lines, or: --set corpus.validation=0"
        )
    side = held_out[groups]
    return Corpus(
        vocab,
        np.flatnonzero(~side),
        np.flatnonzero(side),
        sha256,
        Records.of(records, lambda text: vocab.encode(text, "the corpus")),
        tuple(notices),
    )
