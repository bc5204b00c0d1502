"""What a text is made of: its encoding, its characters and its lines, and whether it is a list.

It is read as training will read it: CRLF becomes LF and a byte order mark is dropped.
"""

from __future__ import annotations

import codecs
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charrnn.data.reader import TextReader, open_text
from charrnn.data.vocabulary import MAX_CHARS
from charrnn.errors import CorpusError

MAX_CHARS_CP1252 = 180  # distinct characters of a text in cp1252; noise has nearly all 256
MAX_CONTROL_SHARE = 0.05  # share of control characters in a text
TEXT_CONTROLS = "\t\n\r\f\v\x1b"  # those that texts do have

# What makes lines a list, tried on lists of names, verse, prose and source code.
MIN_RECORDS = 8
MAX_EMPTY_SHARE = 0.02  # share of the lines
MAX_MEDIAN_CHARS = 40  # characters of the middle line
MAX_NINTH_DECILE_CHARS = 80  # characters of the line that nine in ten do not exceed
MAX_LINE_CHARS = 5_000  # characters of the longest line, for others are padded to it

# A UTF-32 mark in little endian begins with that of UTF-16: it must be asked for first.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class TextProfile:
    """A text and what was found in it."""

    name: str  # what messages call it
    text: str
    encoding: str
    undecodable: str | None  # where the text stops being UTF-8, if it does
    notices: Sequence[str]  # of a byte order mark and CRLF
    counts: Mapping[str, int]  # of each character
    records: Sequence[str]  # its lines, the empty ones left out
    empty_lines: int  # empty lines between others
    mode: str  # of the corpus: lines or stream
    mode_reason: str  # that mode

    @property
    def lengths(self) -> list[int]:
        """Characters of each line that is not empty, shortest first; newlines not counted."""
        return sorted(map(len, self.records))


def profile_text(path: str) -> TextProfile:
    """Read and look at a file, or at stdin for `-`.

    Raises CorpusError when it cannot be read, is no text, or has nothing to learn from.
    """
    source = open_text(path)
    with source.stream:
        raw = b"".join(source.chunks())
    encoding, undecodable = _encoding(raw)
    reader = TextReader(io.BytesIO(raw), source.name, encoding)
    text = "".join(reader)
    counts = Counter(text)
    _check_text(text, counts, reader)
    lines = text.strip("\n").split("\n")
    records = [line for line in lines if line]
    empty_lines = len(lines) - len(records)
    mode, mode_reason = _mode(text, records, empty_lines)
    notices = reader.notices()
    return TextProfile(
        reader.name,
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


def _encoding(raw: bytes) -> tuple[str, str | None]:
    """The encoding of these bytes, and where they are not UTF-8, if they are not."""
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
        return "latin-1", undecodable  # which decodes anything


def _check_text(text: str, counts: Mapping[str, int], reader: TextReader) -> None:
    """Raise CorpusError unless this is a text, and one with something to learn."""
    controls = sum(counts[char] for char in counts if char < " " and char not in TEXT_CONTROLS)
    reason = ""
    if "\0" in counts:
        reason = f"character {text.index(chr(0)) + 1:,} is NUL, as in UTF-16 without its mark"
    elif controls > MAX_CONTROL_SHARE * len(text):
        reason = f"{controls:,} of its {len(text):,} characters are control characters"
    elif len(counts) > (MAX_CHARS if reader.encoding.startswith("utf") else MAX_CHARS_CP1252):
        distinct = f"{len(counts):,} distinct characters"
        reason = f"as {reader.encoding} it has {distinct}, which is too many"
    if reason:
        raise CorpusError(f"{reader.name} does not look like a text: {reason}")
    kinds = set(text.strip("\n"))
    if len(kinds) < 2:
        few = f"has a single character, {kinds.pop()!a}" if kinds else "is empty"
        raise CorpusError(f"{reader.name} {few}: there is nothing to learn from")


def _mode(text: str, records: Sequence[str], empty_lines: int) -> tuple[str, str]:
    """How to read the text, and why."""
    lengths = sorted(map(len, records))
    median, most = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
    if len(text) < 3:
        return "lines", "the text is too short to run on"
    if len(records) < MIN_RECORDS:
        return "stream", f"a text of fewer than {MIN_RECORDS} lines is no list"
    if empty_lines > max(1, MAX_EMPTY_SHARE * len(records)):
        return "stream", f"{empty_lines:,} empty lines part it into paragraphs"
    if median > MAX_MEDIAN_CHARS:
        return "stream", f"half of its lines have {median:,} characters or more, as in prose"
    if most > MAX_NINTH_DECILE_CHARS:
        return "stream", f"one line in ten has {most:,} characters or more, as in prose"
    if lengths[-1] > MAX_LINE_CHARS:
        return "stream", f"one of its lines has {lengths[-1]:,} characters, and is no record"
    return "lines", f"{len(records):,} short lines, half of them of {median:,} characters at most"
