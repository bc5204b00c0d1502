"""The characters of a file or of stdin, in pieces, whatever its size."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO

from charrnn.errors import CorpusError
from charrnn.streams import display_name, standard_input

CHUNK_BYTES = 1 << 20


class TextReader:
    """The characters of a byte stream, in pieces, in constant memory.

    CRLF becomes LF and a byte order mark is dropped; both are counted, and `notices` tells.
    `sha256` runs over the bytes as they are.
    """

    def __init__(
        self, stream: IO[bytes], name: str, encoding: str = "utf-8", lowercase: bool = False
    ) -> None:
        self.stream = stream
        self.name = name
        self.encoding = encoding
        self.lowercase = lowercase
        self.sha256 = hashlib.sha256()
        self.bytes = 0  # decoded so far
        self.crlf = 0
        self.bom = False
        self.on_bytes: Callable[[int], object] = lambda count: (
            None
        )  # called with each chunk's bytes

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they are, as they come. Raises CorpusError."""
        # `read1` gives what is there: a pipe is not kept waiting for more.
        read = getattr(self.stream, "read1", self.stream.read)
        try:
            while raw := read(CHUNK_BYTES):
                self.sha256.update(raw)
                self.on_bytes(len(raw))
                yield raw
        except OSError as error:
            raise CorpusError(f"{self.name} cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[str]:
        """Pieces of text. Raises CorpusError with the byte offset where the text breaks off."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        first, held = True, ""
        for raw in chain(self.chunks(), [b""]):
            pending = len(decoder.getstate()[0])
            try:
                piece = held + decoder.decode(raw, final=not raw)
            except UnicodeError as error:
                raise self._undecodable(error, self.bytes - pending) from None
            self.bytes += len(raw)
            if first and piece:
                first, self.bom = False, piece[0] == "\ufeff"
                piece = piece[1:] if self.bom else piece
            held = ""
            if raw and piece.endswith("\r"):  # perhaps one half of CRLF
                piece, held = piece[:-1], "\r"
            if "\r" in piece and "\r\n" in piece:  # one character is found much faster than two
                self.crlf += piece.count("\r\n")
                piece = piece.replace("\r\n", "\n")
            if piece:
                yield to_lowercase(piece) if self.lowercase else piece

    def _undecodable(self, error: UnicodeError, offset: int) -> CorpusError:
        """The error to raise when decoding fails in bytes that begin at `offset`."""
        reason = str(error)
        hint = (
            "If it has another encoding, name it: --set corpus.encoding=latin-1 (train), or "
            "convert the text: iconv -f latin1 -t utf-8"
        )
        if reason.endswith("does not start with BOM"):  # a UnicodeDecodeError from 3.13 on
            reason = "it does not open with a byte order mark"
            hint = f"Name the order of its bytes: --set corpus.encoding={self.encoding}-le (train)"
        elif isinstance(error, UnicodeDecodeError):
            byte = error.object[error.start]
            reason = f"byte {offset + error.start:,} (counted from 0) is 0x{byte:02x}"
        return CorpusError(f"{self.name} is not {self.encoding} text: {reason}", hint)

    def notices(self) -> list[str]:
        """What was mended on the way, one sentence each."""
        mended = {
            "opens with a byte order mark; it is left out": self.bom,
            f"has {self.crlf:,} Windows line ends (CRLF); they are read as LF": self.crlf,
        }
        return [f"{self.name} {what}" for what, count in mended.items() if count]


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Whole lines, each with its newline: those that a piece ends come together."""
    rest: list[str] = []
    for piece in pieces:
        lines, newline, last = piece.rpartition("\n")
        if newline:
            yield "".join([*rest, lines, newline])
            rest = []
        rest.append(last)
    if any(rest):
        yield "".join([*rest, "\n"])


def to_lowercase(piece: str) -> str:
    """Lower case that does not depend on where a piece ends, as that of a last sigma would."""
    return piece.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


def open_text(path: str, encoding: str = "utf-8", lowercase: bool = False) -> TextReader:
    """A reader of a file, or of stdin for `-`. Its user closes `stream`. Raises CorpusError."""
    try:
        stream = standard_input() if path == "-" else open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such text file") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder, not a text: name the files in it") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
    return TextReader(stream, display_name(path), encoding, lowercase)
