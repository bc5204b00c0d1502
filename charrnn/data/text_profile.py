"""What a text is made of: its encoding, its characters and its lines, and whether it is a list.

It is read as training will read it: CRLF becomes LF and a byte order mark is dropped.
"""

from __future__ import annotations

import codecs
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from charrnn.data.reader import TextReader, open_text
from charrnn.data.vocabulary import MOST_CHARS
from charrnn.errors import CorpusError

MOST_IN_ONE_BYTE = 180  # distinct characters of a text in cp1252; noise has nearly all 256
MOST_CONTROL = 0.05  # share of control characters in a text
TEXT_CONTROLS = "\t\n\r\f\v\x1b"  # those that texts do have
RARE = 3  # a character seen fewer times than this is hardly learnt

# What makes lines a list, tried on lists of names, verse, prose and source code.
LEAST_RECORDS = 8
MOST_BLANK = 0.02  # share of the lines
LONGEST_MEDIAN = 40  # characters of the middle line
LONGEST_MOST = 80  # characters of the line that nine in ten do not exceed
LONGEST = 5_000  # characters of the longest line, for others are padded to it

# A UTF-32 mark in little endian begins with that of UTF-16: it must be asked for first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

ONE_BYTE = ("cp1252", "latin-1")  # the second decodes anything


@dataclass(frozen=True)
class Survey:
    """A text and what was found in it."""

    name: str  # what messages call it
    text: str
    encoding: str
    misread: str | None  # where the text stops being UTF-8, if it does
    marked: bool  # a byte order mark
    crlf: int
    records: tuple[str, ...]  # its lines, the empty ones left out
    blank: int
    counts: Mapping[str, int]  # of each character
    mode: str  # of the corpus: lines or stream
    why: str  # that mode

    @property
    def lengths(self) -> list[int]:
        """Characters of each line that is not empty, shortest first; newlines not counted."""
        return sorted(map(len, self.records))

    @property
    def copies(self) -> int:
        """Lines that stand in the text once more."""
        return len(self.records) - len(set(self.records))

    @property
    def rare(self) -> list[str]:
        """Characters seen fewer than `RARE` times, sorted."""
        return sorted(char for char, count in self.counts.items() if count < RARE)


def look(path: str) -> Survey:
    """Read and look at a file, or at stdin for `-`.

    Raises CorpusError when it cannot be read, is no text, or has nothing to learn from.
    """
    source = open_text(path)
    name = source.name
    with source.stream:
        try:
            raw = source.stream.read()
        except OSError as error:
            raise CorpusError(f"{name} cannot be read: {error.strerror}") from None
    encoding, misread = _encoding(raw, name)
    reader = TextReader(io.BytesIO(raw), name, encoding)
    text = "".join(reader)
    counts = Counter(text)
    _check_text(text, counts, name, encoding)
    lines = text.removesuffix("\n").split("\n")
    records = tuple(line for line in lines if line)
    blank = len(lines) - len(records)
    mode, why = _mode(text, records, len(text.strip("\n").split("\n")) - len(records))
    marked = reader.bom or raw.startswith(tuple(MARKS))
    return Survey(
        name, text, encoding, misread, marked, reader.crlf, records, blank, counts, mode, why
    )


def _encoding(raw: bytes, name: str) -> tuple[str, str | None]:
    """The encoding that decodes these bytes, and where they are not UTF-8."""
    try:
        raw.decode("utf-8")
        return "utf-8", None
    except UnicodeDecodeError as error:
        misread = f"byte {error.start:,} (counted from 0) is 0x{raw[error.start]:02x}"
    marked = next((marked for mark, marked in MARKS.items() if raw.startswith(mark)), None)
    if marked is None and b"\0" in raw:
        raise CorpusError(
            f"{name} is not a text: byte {raw.index(0):,} (counted from 0) is NUL. If it is UTF-16 "
            "without its mark, store it as UTF-8"
        )
    for encoding in ONE_BYTE if marked is None else (marked,):
        try:
            raw.decode(encoding)
            return encoding, misread
        except UnicodeDecodeError as error:
            broken = error.start
    raise CorpusError(
        f"{name} opens with the mark of {marked}, but byte {broken:,} (counted from 0) does not "
        "fit: it is broken, or no text"
    )


def _check_text(text: str, counts: Mapping[str, int], name: str, encoding: str) -> None:
    """Raise CorpusError unless this is a text, and one with something to learn."""
    controls = sum(
        count for char, count in counts.items() if char < " " and char not in TEXT_CONTROLS
    )
    one_byte = encoding in ONE_BYTE
    reason = None
    if "\0" in counts:
        reason = f"character {text.index(chr(0)) + 1:,} is NUL"
    elif controls > MOST_CONTROL * len(text):
        reason = f"{controls:,} of its {len(text):,} characters are control characters"
    elif len(counts) > (MOST_IN_ONE_BYTE if one_byte else MOST_CHARS):
        reason = f"as {encoding} it has {len(counts):,} distinct characters, which is too many"
    if reason:
        raise CorpusError(f"{name} does not look like a text: {reason}")
    kinds = set(text.strip("\n"))
    if not kinds:
        raise CorpusError(f"{name} is empty: there is nothing to learn from")
    if len(kinds) == 1:
        single = f"a single character, {kinds.pop()!a}"
        raise CorpusError(f"{name} has {single}: there is nothing to learn from")


def _mode(text: str, records: tuple[str, ...], blank: int) -> tuple[str, str]:
    """How to read the text, and why; `blank` is the number of empty lines inside it."""
    lengths = sorted(map(len, records))
    median, most = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
    if len(text) < 3:
        return "lines", "the text is too short to run on"
    if len(records) < LEAST_RECORDS:
        return "stream", f"a text of fewer than {LEAST_RECORDS} lines is no list"
    if blank > max(1, MOST_BLANK * len(records)):
        return "stream", f"{blank:,} empty lines part it into paragraphs"
    if median > LONGEST_MEDIAN:
        return "stream", f"half of its lines have {median:,} characters or more, as in prose"
    if most > LONGEST_MOST:
        return "stream", f"one line in ten has {most:,} characters or more, as in prose"
    if lengths[-1] > LONGEST:
        return "stream", f"one of its lines has {lengths[-1]:,} characters, and is no record"
    return "lines", f"{len(records):,} short lines, half of them of {median:,} characters at most"
