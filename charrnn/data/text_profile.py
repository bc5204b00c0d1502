"""Detects the encoding, the characters and the lines of a text, and whether it is a list.

The text is normalized as in training: CRLF becomes LF and a byte order mark is dropped.
"""

from __future__ import annotations

import codecs
import functools
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charrnn.data.reader import TextReader, open_text
from charrnn.data.vocabulary import MAX_CHARS
from charrnn.errors import CorpusError

MAX_CHARS_CP1252 = 180  # distinct characters of a text in cp1252; random bytes have nearly all 256
MAX_CONTROL_SHARE = 0.05  # share of control characters in a text
TEXT_CONTROLS = "\t\n\r\f\v\x1b"  # control characters that are usual in texts

# The criteria for a list, tested on lists of names, verse, prose and source code.
MIN_RECORDS = 5
MAX_EMPTY_SHARE = 0.02  # empty lines per record
MAX_MEDIAN_CHARS = 40  # the median length of a line
MAX_NINTH_DECILE_CHARS = 80  # the length that nine lines in ten do not exceed
MAX_LINE_CHARS = 5_000  # length of the longest line; other lines are padded to it

# The UTF-32-LE mark starts with the UTF-16-LE mark, so it comes first.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class TextProfile:
    """A text, its encoding, its characters, its lines and the mode to train on it."""

    name: str  # in messages
    text: str
    encoding: str
    undecodable: str | None  # the first byte that is not UTF-8, as a phrase
    notices: Sequence[str]  # about a byte order mark and CRLF
    counts: Mapping[str, int]  # occurrences of each character
    records: Sequence[str]  # the lines that are not empty
    empty_lines: int  # number of empty lines between records
    mode: str  # the setting corpus.mode: lines or stream
    mode_reason: str  # the reason for this mode

    @functools.cached_property
    def lengths(self) -> list[int]:
        """The lengths of the records in ascending order, in characters without the newline."""
        return sorted(map(len, self.records))


def profile_text(*paths: str) -> TextProfile:
    """Return the profile of a file, or of stdin for `-`; several files are joined.

    Raise CorpusError if one cannot be read or is not a text, if two have different encodings, or if
    all together have fewer than two distinct characters, newlines at the ends not counted.
    """
    sources = [_read(path) for path in paths]
    name = f"{sources[0][0]} and {len(paths) - 1} more" if len(paths) > 1 else sources[0][0]
    encoding, undecodable = _common_encoding(sources)
    readers = [TextReader(io.BytesIO(raw), name, encoding) for name, raw in sources]
    texts = ["".join(reader) for reader in readers]
    counts: Counter[str] = Counter()
    for reader, text in zip(readers, texts, strict=True):
        text_counts = Counter(text)
        check_text(text, text_counts, reader.name, encoding)
        counts += text_counts
    text = "".join(texts)
    _check_not_constant(text, name)
    stripped = [text.strip("\n") for text in texts]
    lines = [line for text in stripped if text for line in text.split("\n")]
    records = [line for line in lines if line]
    empty_lines = len(lines) - len(records)
    mode, mode_reason = _mode(text, records, empty_lines)
    notices = [notice for reader in readers for notice in reader.notices()]
    return TextProfile(
        name,
        text,
        encoding,
        undecodable,
        notices,
        counts,
        records,
        empty_lines,
        mode,
        mode_reason,
    )


def _read(path: str) -> tuple[str, bytes]:
    """Return the name of a file in messages, and its bytes."""
    source = open_text(path)
    with source.stream:
        return source.name, b"".join(source.chunks())


def _common_encoding(sources: Sequence[tuple[str, bytes]]) -> tuple[str, str | None]:
    """Return the encoding of all these files, and the first byte that is not UTF-8, as a phrase."""
    encodings: dict[str, str] = {}  # each encoding, and the first file that has it
    undecodable = None
    for name, raw in sources:
        if not raw.isascii():
            encoding, phrase = detect_encoding(raw)
            encodings.setdefault(encoding, name)
            if phrase is not None and undecodable is None:
                undecodable = phrase if len(sources) == 1 else f"in {name}, {phrase}"
    if len(encodings) > 1 and any(encoding.startswith("utf") for encoding in encodings):
        (first, name), (other, other_name) = [*encodings.items()][:2]
        raise CorpusError(
            f"{name} is {first} and {other_name} is {other}, but a corpus has one encoding",
            "Convert one of them, such as: iconv -f CP1252 -t UTF-8 OLD > NEW",
        )
    if len(encodings) > 1:
        return "latin-1", undecodable  # it also decodes cp1252
    return next(iter(encodings), "utf-8"), undecodable


def detect_encoding(raw: bytes) -> tuple[str, str | None]:
    """Return the encoding of these bytes and the first byte that is not UTF-8, if there is one."""
    try:
        raw.decode("utf-8")
        return "utf-8", None
    except UnicodeDecodeError as error:
        undecodable = f"byte {error.start:,} (counted from 0) is 0x{raw[error.start]:02x}"
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            return encoding, undecodable
    try:
        raw.decode("cp1252")
        return "cp1252", undecodable
    except UnicodeDecodeError:
        return "latin-1", undecodable  # decodes any bytes


def check_text(text: str, counts: Mapping[str, int], name: str, encoding: str) -> None:
    """Raise CorpusError if the characters of a file are not those of a text."""
    controls = sum(counts[char] for char in counts if char < " " and char not in TEXT_CONTROLS)
    reason = ""
    if "\0" in counts:
        reason = f"character {text.index(chr(0)) + 1:,} is NUL, as in UTF-16 without a BOM"
    elif controls > MAX_CONTROL_SHARE * len(text):
        reason = f"{controls:,} of its {len(text):,} characters are control characters"
    elif len(counts) > (MAX_CHARS if encoding.startswith("utf") else MAX_CHARS_CP1252):
        distinct = f"{len(counts):,} distinct characters"
        reason = f"as {encoding} it has {distinct}, which is too many"
    if reason:
        raise CorpusError(f"{name} does not look like a text: {reason}")


def _check_not_constant(text: str, name: str) -> None:
    """Raise CorpusError unless the text has at least two distinct characters."""
    chars = set(text.strip("\n"))
    if len(chars) < 2:
        reason = f"has a single character, {chars.pop()!a}" if chars else "is empty"
        raise CorpusError(f"{name} {reason}: there is nothing to learn from")


def _mode(text: str, records: Sequence[str], empty_lines: int) -> tuple[str, str]:
    """Return the mode to train on the text, and the reason for it."""
    lengths = sorted(map(len, records))
    median, ninth_decile = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
    if len(text) < 3:
        return "lines", "the text is too short for a stream"
    if len(records) < MIN_RECORDS:
        return "stream", f"a text of fewer than {MIN_RECORDS} lines is not a list"
    if empty_lines > max(1, MAX_EMPTY_SHARE * len(records)):
        return "stream", f"{empty_lines:,} empty lines divide it into paragraphs"
    if median > MAX_MEDIAN_CHARS:
        return "stream", f"half of its lines have {median:,} characters or more, as in prose"
    if ninth_decile > MAX_NINTH_DECILE_CHARS:
        return "stream", f"one line in ten has {ninth_decile:,} characters or more, as in prose"
    if lengths[-1] > MAX_LINE_CHARS:
        return "stream", f"one of its lines has {lengths[-1]:,} characters, too many for a record"
    return "lines", f"{len(records):,} short lines, half of them of {median:,} characters at most"
