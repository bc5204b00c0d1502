"""Decodes a file or stdin piece by piece, so that a text of any size fits in memory."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO

from charrnn.errors import CorpusError
from charrnn.streams import display_name, standard_input

CHUNK_BYTES = 1 << 20

# The first bytes of files that are not texts, what such a file is, and the command that prints its
# text, or a hint. The name of the first file in a zip archive is after 30 bytes.
BINARY_FORMATS = {
    rb"\x1f\x8b\x08": ("a gzip file", "gunzip -c {}"),
    rb"BZh\d1AY": ("a bzip2 file", "bunzip2 -c {}"),
    rb"\xfd7zXZ": ("an xz file", "xz -dc {}"),
    rb"%PDF-": ("a PDF", "pdftotext {} -"),
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a": ("a picture", "Name a text file"),
    rb"PK\x03\x04.{26}[\w.]+\.npy": (
        "a checkpoint",
        "Name a text file; to compare two models: charrnn eval CKPT --compare OTHER",
    ),
    rb"PK\x03\x04.{26}mimetype": ("an OpenDocument or EPUB document", "pandoc -t plain {}"),
    rb"PK\x03\x04.*word/document\.xml": ("a Word document", "pandoc -t plain {}"),
    rb"PK\x03\x04": ("a zip archive", "unzip -p {}"),
}


class TextReader:
    """The decoded text of a byte stream, piece by piece, in constant memory.

    CRLF becomes LF and a byte order mark is dropped; `notices` reports both. `sha256` is the
    checksum of the original bytes.
    """

    def __init__(
        self, stream: IO[bytes], name: str, encoding: str = "utf-8", lowercase: bool = False
    ) -> None:
        self.stream = stream
        self.name = name
        self.encoding = encoding
        self.lowercase = lowercase
        self.sha256 = hashlib.sha256()
        self.bytes = 0  # number of bytes decoded
        self.crlf = 0  # number of CRLF line ends
        self.bom = False
        self.on_bytes: Callable[[int], object] = lambda count: None  # gets each chunk's size

    def chunks(self) -> Iterator[bytes]:
        """Yield the original bytes in chunks. Raise CorpusError if reading fails or for no text."""
        # On a pipe, `read1` returns the available bytes; `read` waits until the chunk is full.
        read = getattr(self.stream, "read1", self.stream.read)
        first = True
        try:
            while raw := read(CHUNK_BYTES):
                if first:
                    _check_is_text(raw, self.name)
                    first = False
                self.sha256.update(raw)
                self.on_bytes(len(raw))
                yield raw
        except OSError as error:
            raise CorpusError(f"{self.name} cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text. Raise CorpusError with the offset of the first undecodable byte."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        first, pending = True, ""
        for raw in chain(self.chunks(), [b""]):
            undecoded = len(decoder.getstate()[0])  # bytes of an incomplete character
            try:
                piece = pending + decoder.decode(raw, final=not raw)
            except UnicodeError as error:
                raise self._undecodable(error, self.bytes - undecoded) from None
            self.bytes += len(raw)
            if first and piece:
                first, self.bom = False, piece[0] == "\ufeff"
                piece = piece[1:] if self.bom else piece
            pending = ""
            if raw and piece.endswith("\r"):  # the next piece may start with LF
                piece, pending = piece[:-1], "\r"
            if "\r" in piece and "\r\n" in piece:  # searching for one character is much faster
                self.crlf += piece.count("\r\n")
                piece = piece.replace("\r\n", "\n")
            if piece:
                yield to_lowercase(piece) if self.lowercase else piece

    def _undecodable(self, error: UnicodeError, offset: int) -> CorpusError:
        """Return the CorpusError for a decoding error in bytes that start at byte `offset`."""
        reason = str(error)
        hint = (
            "If it has another encoding, name it: --set corpus.encoding=latin-1 (train), or "
            "convert the text: iconv -f latin1 -t utf-8"
        )
        if reason.endswith("does not start with BOM"):  # from Python 3.13 on, a UnicodeDecodeError
            reason = "it does not open with a byte order mark"
            hint = f"Set the byte order: --set corpus.encoding={self.encoding}-le (train)"
        elif isinstance(error, UnicodeDecodeError):
            byte = error.object[error.start]
            reason = f"byte {offset + error.start:,} (counted from 0) is 0x{byte:02x}"
        return CorpusError(f"{self.name} is not {self.encoding} text: {reason}", hint)

    def notices(self) -> list[str]:
        """Return what was normalized, one sentence each."""
        notices = {
            "opens with a byte order mark; it is left out": self.bom,
            f"has {self.crlf:,} Windows line ends (CRLF); they are read as LF": self.crlf,
        }
        return [f"{self.name} {notice}" for notice, count in notices.items() if count]


def _check_is_text(raw: bytes, name: str) -> None:
    """Raise CorpusError if these are the first bytes of a file that is not a text."""
    for pattern, (kind, hint) in BINARY_FORMATS.items():
        if re.match(pattern, raw, re.DOTALL) is None:
            continue
        if "{}" in hint and name == display_name("-"):
            hint = f"Make text of it: {hint.format('FILE')} | charrnn ... -"
        elif "{}" in hint:
            text_path = shlex.quote(f"{os.path.basename(name)}.txt")
            hint = f"Make text of it: {hint.format(shlex.quote(name))} > {text_path}"
        raise CorpusError(f"{name} is {kind}, not a text", hint)


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield strings of complete lines, each line with its newline, at most one for each piece.

    A last line without a newline gets one.
    """
    rest: list[str] = []  # the pieces of an incomplete line
    for piece in pieces:
        lines, newline, last = piece.rpartition("\n")
        if newline:
            yield "".join([*rest, lines, newline])
            rest = []
        rest.append(last)
    if any(rest):
        yield "".join([*rest, "\n"])


def to_lowercase(piece: str) -> str:
    """Return the piece in lower case, with the same sigma at the end of a word as elsewhere.

    `str.lower` writes a final sigma differently, so its result would depend on the pieces.
    """
    return piece.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


def open_text(path: str, encoding: str = "utf-8", lowercase: bool = False) -> TextReader:
    """Return a reader of a file, or of stdin for `-`; the caller closes its `stream`.

    Raise CorpusError if the file cannot be opened.
    """
    try:
        stream = standard_input() if path == "-" else open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such text file") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder, not a text: name the files in it") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
    return TextReader(stream, display_name(path), encoding, lowercase)


def read_text(path: str) -> str:
    """Return the text of a file, or of stdin for `-`. Raises CorpusError."""
    reader = open_text(path)
    with reader.stream:
        return "".join(reader)
