"""A text of any size turned into ids, in constant memory.

The first pass decodes the text, collects its distinct characters and keeps the code points, in
memory or, once they are many, in a file. The second turns code points into ids. What a large file
became is kept on disk under its checksum, and found again by the next run.

A text of lines becomes one newline and then each line with its newline; empty lines are left out.
`starts` tells where each line begins, `sums` is a hash of each: equal lines have equal ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

from charrnn.config.schema import CorpusConfig
from charrnn.data import cache, points
from charrnn.data.line_hashes import DTYPES, Lines
from charrnn.data.reader import CHUNK_BYTES, mended, open_text
from charrnn.data.store import Row, Writer, unwritable
from charrnn.data.vocabulary import Vocab, unknown_character
from charrnn.errors import CorpusError, VocabError

AT_ONCE = 1 << 16  # characters
VERSION = 1  # of the entries in the cache


@dataclass(frozen=True)
class Encoded:
    """A text as ids, and as lines if it is one of lines."""

    vocab: Vocab
    ids: Row  # (N,)
    starts: Row | None = None  # (R + 1,): where each line begins, and the end
    sums: Row | None = None  # (R,): a hash of each line
    blank: int = 0  # empty lines left out


class Text:
    """The text of a config: its checksum, what was mended in it, and its ids."""

    def __init__(self, config: CorpusConfig) -> None:
        """Reads the text once. Raises CorpusError."""
        self.config = config
        self.facts: list[tuple[bool, int]] = []  # of each file: a byte order mark, CRLFs
        sizes = [os.path.getsize(path) for path in config.path if os.path.isfile(path)]
        self.bytes = sum(sizes) if len(sizes) == len(config.path) else None
        self.large = self.bytes is not None and self.bytes >= points.LARGE_BYTES
        self.points = points.Points(0) if self.large else points.Points(points.LARGE_BYTES)
        if self.large:
            self.sha256 = self._hash()  # perhaps it is in the cache
            return
        try:
            self._read()
        except BaseException:  # no `with` is there yet to clean up
            self.points.close()
            raise

    @property
    def names(self) -> str:
        """What the text is called in a message."""
        names = ["standard input" if path == "-" else path for path in self.config.path]
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

    def notices(self) -> list[str]:
        """What was mended in each file, one sentence each."""
        names = ["standard input" if path == "-" else path for path in self.config.path]
        return [
            notice
            for name, facts in zip(names, self.facts, strict=True)
            for notice in mended(name, *facts)
        ]

    def encode(self, vocab: Vocab | None = None, extend: bool = False) -> Encoded:
        """Its ids in its own vocabulary, in `vocab`, or in the union of both.

        Raises CorpusError, and VocabError for a character that `vocab` lacks.
        """
        made_from = (self.sha256, self.config.encoding, self.config.lowercase, self.config.mode)
        base = "" if vocab is None else vocab.chars
        own, other = (cache.key(VERSION, *made_from, *how) for how in ((), (base, extend)))
        if not self.facts:
            found = self._find(own)
            if found is not None and (
                set(base) <= set(found.vocab.chars)
                if vocab is None or extend
                else base == found.vocab.chars
            ):
                return found
            found = self._find(other) if base else None
            if found is not None:
                return found
            before = self.sha256
            self._read()
            if self.sha256 != before:
                raise CorpusError(f"{self.names} changed while it was read: try again")
        chars = self.points.chars()
        if not chars.strip("\n"):
            raise CorpusError(f"{self.names} is empty: there is nothing to learn from")
        if self.config.mode == "lines":
            chars = chars if "\n" in chars else "".join(sorted(chars + "\n"))
        if vocab is None or extend:
            vocab = Vocab.of([chars, base])
        return self._convert(vocab, own if vocab.chars == chars else other)

    def _hash(self) -> str:
        """The checksum alone."""
        digests = []
        with self._bar("checking") as bar:
            for path in self.config.path:
                digest = hashlib.sha256()
                try:
                    with open_text(path).stream as stream:
                        while chunk := stream.read(CHUNK_BYTES):
                            digest.update(chunk)
                            bar.update(len(chunk))
                except OSError as error:
                    raise CorpusError(f"{path} cannot be read: {error.strerror}") from None
                digests.append(digest.hexdigest())
        return _joined(digests)

    def _read(self) -> None:
        """The first pass."""
        digests, self.facts = [], []
        with self._bar("reading") as bar:
            for path in self.config.path:
                before = bar.n
                reader = open_text(path, self.config.encoding, self.config.lowercase)
                last, held = "\n", ""
                with reader.stream:
                    for piece in reader:
                        held, last = held + piece, piece[-1]
                        if len(held) >= AT_ONCE:  # a pipe may bring a line at a time
                            self.points.add(held)
                            held = ""
                        bar.update(before + reader.bytes - bar.n)
                if self.config.mode == "lines" and last != "\n":
                    held += "\n"  # a record of one file must not run into the next
                if held:
                    self.points.add(held)
                self.facts.append((reader.bom, reader.crlf))
                digests.append(reader.sha256.hexdigest())
        self.sha256 = _joined(digests)

    def _convert(self, vocab: Vocab, name: str) -> Encoded:
        """The second pass. A large text is kept in the cache under this name."""
        part = self.points.part
        place = None if part is None else part.path
        lines = Lines(place) if self.config.mode == "lines" else None
        ids = Writer(place and place / "ids", vocab.dtype)
        if lines is not None:
            ids.add(vocab.lookup("\n"))
        position = 0
        with self._bar("encoding", self.points.size) as bar:
            for piece in self.points:
                found = vocab.ids_of(piece if lines is None else lines.cut(piece))
                if len(found) and found.max() == vocab.missing:
                    where = int((vocab.ids_of(piece) == vocab.missing).argmax())
                    char = chr(int(piece[where]))
                    raise VocabError(unknown_character(char, position + where, "the corpus"))
                ids.add(found)
                position += len(piece)
                bar.update(len(piece))
        rows = {"ids": ids}
        if lines is not None:
            rows |= {"starts": lines.starts, "sums": lines.sums}
        blank = 0 if lines is None else lines.blank
        if part is not None:
            sizes = {key: writer.size for key, writer in rows.items()}
            self.points.remove()
            if self.large:
                self._keep(part, name, vocab, blank, sizes)
            place = part.path
        made = {key: writer.row(place) for key, writer in rows.items()}
        return Encoded(vocab, made["ids"], made.get("starts"), made.get("sums"), blank)

    def _keep(
        self, part: cache.Part, name: str, vocab: Vocab, blank: int, sizes: dict[str, int]
    ) -> None:
        """Put what was made into the cache."""
        meta = {
            "vocab": list(map(ord, vocab.chars)),  # JSON would join two halves of a surrogate pair
            "facts": self.facts,
            "blank": blank,
            "rows": sizes,
        }
        try:
            (part.path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        except OSError as error:
            raise unwritable(part.path / "meta.json", error) from None
        part.keep(name)

    def _find(self, name: str) -> Encoded | None:
        """What an earlier run made of this text, or None."""
        entry = cache.find(name)
        if entry is None:
            return None
        try:
            meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
            vocab = Vocab("".join(map(chr, meta["vocab"])))
            rows = {}
            for key, count in meta["rows"].items():
                row = Row.mapped(entry / key, vocab.dtype if key == "ids" else DTYPES[key])
                if len(row.numbers) != count:
                    raise ValueError
                rows[key] = row
            facts = [(bool(bom), int(crlf)) for bom, crlf in meta["facts"]]
            encoded = Encoded(
                vocab, rows["ids"], rows.get("starts"), rows.get("sums"), int(meta["blank"])
            )
            self.facts = facts
            return encoded
        except PermissionError:
            return None  # of another user
        except (OSError, ValueError, KeyError, TypeError, AttributeError, VocabError):
            shutil.rmtree(entry, ignore_errors=True)  # somebody was at it: it is made anew
            return None

    def _bar(self, what: str, total: int | None = None) -> Any:
        """A progress bar, for what takes longer than a moment."""
        from charrnn.bar import Bar  # tqdm alone takes longer than to read a small text

        return Bar.of_bytes(what, total or self.bytes, delay=1, leave=False)

    def close(self) -> None:
        """Let go of what it keeps on disk for itself, though not of what was mapped."""
        self.points.close()


def _joined(digests: list[str]) -> str:
    """Of one file its own sha256; of several, the sha256 of theirs."""
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )
