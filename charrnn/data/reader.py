"""The characters of a file or of stdin, in pieces, whatever its size."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import IO

from charrnn.errors import CorpusError
from charrnn.streams import name_of, standard_input

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
        self.bytes = 0  # read so far
        self.crlf = 0
        self.bom = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they are, as they come. Raises CorpusError."""
        try:
            while raw := _read_some(self.stream):
                yield raw
        except OSError as error:
            raise CorpusError(f"{self.name} cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[str]:
        """Pieces of text. Raises CorpusError with the byte offset where the text breaks off."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        position, first, held = 0, True, ""
        for raw in chain(self.chunks(), [b""]):
            self.sha256.update(raw)
            pending = len(decoder.getstate()[0])
            try:
                piece = held + decoder.decode(raw, final=not raw)
            except UnicodeError as error:
                if str(error).endswith(
                    "does not start with BOM"
                ):  # a class of its own from 3.13 on
                    raise self._unmarked() from None
                if not isinstance(error, UnicodeDecodeError):
                    raise CorpusError(f"{self.name} is not {self.encoding} text: {error}") from None
                offset = position - pending + error.start
                raise self._undecodable(offset, error.object[error.start]) from None
            self.bytes = position = position + len(raw)
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
                yield lowered(piece) if self.lowercase else piece

    def _unmarked(self) -> CorpusError:
        return CorpusError(
            f"{self.name} is not {self.encoding} text: it does not open with a byte order mark",
            f"Name the order of its bytes: --set corpus.encoding={self.encoding}-le (train)",
        )

    def _undecodable(self, offset: int, byte: int) -> CorpusError:
        return CorpusError(
            f"{self.name} is not {self.encoding} text: byte {offset:,} (counted from 0) is "
            f"0x{byte:02x}",
            "If it has another encoding, name it: --set corpus.encoding=latin-1 (train), or "
            "convert the text: iconv -f latin1 -t utf-8",
        )

    def notices(self) -> list[str]:
        """What was found and mended on the way, one sentence each."""
        return mended(self.name, self.bom, self.crlf)


def mended(name: str, bom: bool, crlf: int) -> list[str]:
    """The sentences about a byte order mark and so many CRLFs."""
    found = []
    if bom:
        found.append(f"{name} opens with a byte order mark; it is left out")
    if crlf:
        found.append(f"{name} has {crlf:,} Windows line ends (CRLF); they are read as LF")
    return found


def lowered(piece: str) -> str:
    """Lower case that does not depend on where a piece ends, as that of a last sigma would."""
    return piece.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


def _read_some(stream: IO[bytes]) -> bytes:
    """What is there, up to a chunk: a pipe is not kept waiting for more."""
    read_now = getattr(stream, "read1", stream.read)
    return bytes(read_now(CHUNK_BYTES))


def open_text(path: str, encoding: str = "utf-8", lowercase: bool = False) -> TextReader:
    """A reader of a file, or of stdin for `-`. Raises CorpusError."""
    if path == "-":
        return TextReader(standard_input(), name_of(path), encoding, lowercase)
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the reader's user closes it
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such text file") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder, not a text: name the files in it") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
    return TextReader(stream, path, encoding, lowercase)
