"""Encodes a text of any size as ids, in memory or, if it is large, in a memory-mapped file.

The first pass over the text computes its checksum and its distinct characters, the second its ids.
The cache stores the results for a large text, so the next run computes only the checksum.

In mode `lines` the encoded text is a newline, then each line and its newline, without empty lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.arrays import Ints
from charrnn.atomic import replace_file
from charrnn.config.schema import CorpusConfig
from charrnn.data import cache
from charrnn.data.characters import list_characters
from charrnn.data.reader import TextReader, open_text
from charrnn.data.vocabulary import Vocab, code_points
from charrnn.errors import CorpusError, VocabError
from charrnn.streams import display_name

MAX_MEMORY_BYTES = 16 << 20  # the ids of a text with more bytes are stored on disk
CODE_POINTS = 0x110000  # the number of Unicode code points


class CorpusText:
    """The text of a config: its checksum, its characters, its ids, and notices to the user."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.sha256 = ""  # of the file, or of the checksums of several files
        self.chars = ""  # the distinct characters, sorted
        self.size = 0  # number of ids
        self.notices: list[str] = []  # what was normalized, one sentence each
        self._bytes = sum(os.path.getsize(path) for path in config.path if os.path.isfile(path))
        self._copies: dict[str, IO[bytes]] = {}  # of pipes and stdin, by path

    @property
    def name(self) -> str:
        """The name of the text in messages."""
        name, more = display_name(self.config.path[0]), len(self.config.path) - 1
        return f"{name} and {more} more" if more else name

    def read(self) -> None:
        """Set `sha256`, `chars`, `size` and `notices`, from the cache or by a first pass.

        Raise CorpusError if the text cannot be read.
        """
        for path in self.config.path:
            if not os.path.isfile(path):
                self._copy(path)
        if self._copies or self._bytes <= MAX_MEMORY_BYTES:
            self.chars, self.size, self.notices = self._scan()
            return
        for reader in self._readers("reading"):
            for _ in reader.chunks():  # updates `sha256`
                pass
        json_path = self._cache_path(self.config.path).with_suffix(".json")
        self.chars, self.size, self.notices = cache.load_or_compute(json_path, self._scan)

    def encode(self, vocab: Vocab | None = None, extend: bool = False) -> tuple[Vocab, Ints]:
        """Return a vocabulary and the ids (N,) of the text in it.

        The vocabulary is `vocab`, or that of the text if `vocab` is None; with `extend`, it is
        their union. Raise CorpusError if the text is empty or has changed, and VocabError for
        characters that `vocab` lacks.
        """
        if not self.chars.strip("\n"):
            raise CorpusError(f"{self.name} is empty: there is nothing to learn from")
        if vocab is None or extend:
            vocab = Vocab.of([self.chars, "" if vocab is None else vocab.chars])
        unknown = sorted(set(self.chars) - set(vocab.chars))
        if unknown:
            raise VocabError(
                f"the corpus has {list_characters(unknown)}, which the model's training text "
                "did not have"
            )
        if self._bytes > MAX_MEMORY_BYTES:
            return vocab, self._mapped_ids(vocab)
        return vocab, np.concatenate([*self._ids(vocab)])

    def close(self) -> None:
        """Close the copies; memory maps of them stay valid."""
        for copy in self._copies.values():
            with contextlib.suppress(OSError):  # its buffer cannot be flushed to a full disk
                copy.close()

    def _copy(self, path: str) -> None:
        """Copy a file that can be read only once; a large copy is an unnamed file on disk."""
        source = open_text(path)
        copy = tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES, dir=str(cache.cache_folder()))  # noqa: SIM115
        self._copies[path] = copy
        with source.stream, self._bar("receiving", None) as bar:
            source.on_bytes = bar.update
            for chunk in source.chunks():
                large = copy.tell() + len(chunk) > MAX_MEMORY_BYTES
                with cache.writable_folder() if large else contextlib.nullcontext():
                    copy.write(chunk)
                    copy.flush()
        self._bytes += copy.tell()

    def _readers(self, label: str) -> Iterator[TextReader]:
        """Yield a reader for each file, and set `sha256` after the last; `label` is the bar's."""
        settings, digests = (self.config.encoding, self.config.lowercase), []
        with self._bar(label, self._bytes) as bar:
            for path in self.config.path:
                copy = self._copies.get(path)
                if copy is None:
                    reader = open_text(path, *settings)
                else:
                    copy.seek(0)
                    reader = TextReader(copy, display_name(path), *settings)
                reader.on_bytes = bar.update
                with contextlib.nullcontext() if copy else reader.stream:
                    yield reader
                digests.append(reader.sha256.hexdigest())
        if len(digests) > 1:
            digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
        (self.sha256,) = digests

    def _pieces(self, label: str) -> Iterator[str]:
        """Yield the text to encode, piece by piece; set `notices` and `sha256` at its end."""
        lines, last, empty = self.config.mode == "lines", "\n", 0
        self.notices = []
        if lines:
            yield last
        for reader in self._readers(label):
            for piece in reader:
                if lines:
                    compact = re.sub("\n\n+", "\n", last + piece)[1:]
                    empty += len(piece) - len(compact)
                    last, piece = piece[-1], compact
                yield piece
            if last != "\n":  # the last line of a file ends before the next file
                last = "\n"
                yield last
            self.notices += reader.notices()
        if empty:
            self.notices.append(f"{self.name} has {empty:,} empty lines; they are left out")

    def _scan(self) -> tuple[str, int, list[str]]:
        """Return the characters, the size and the notices of the text, by a first pass over it."""
        seen, size = np.zeros(CODE_POINTS, dtype=bool), 0
        for piece in self._pieces("reading"):
            seen[code_points(piece)] = True
            size += len(piece)
        return "".join(map(chr, np.flatnonzero(seen))), size, self.notices

    def _ids(self, vocab: Vocab) -> Iterator[Ints]:
        """Yield the ids of each piece, by a second pass over the text.

        Raise CorpusError at the end if the text has changed since the first pass.
        """
        expected = self.sha256
        for piece in self._pieces("encoding"):
            yield vocab.lookup(piece)
        if self.sha256 != expected:
            raise CorpusError(f"{self.name} changed while it was read: try again")

    def _cache_path(self, *key: Any) -> Path:
        """Return the path in the cache for this text and this key of JSON values."""
        settings = self.config.encoding, self.config.lowercase, self.config.mode
        return cache.cache_path(self.sha256, *settings, *key)

    def _mapped_ids(self, vocab: Vocab) -> Ints:
        """Return the ids as a memory map of a file in the cache, or for a copy an unnamed file."""
        path = self._cache_path(vocab.chars)
        cached = cache.find_ids(path, vocab.dtype, self.size)
        if cached is not None:
            return cached
        pieces = (ids.data for ids in self._ids(vocab))
        with cache.writable_folder():
            if self._copies:  # no later run reads the same pipe
                with tempfile.TemporaryFile(dir=path.parent) as stream:
                    stream.writelines(pieces)
                    return cache.memory_map(stream, vocab.dtype)
            with replace_file(path) as stream:
                stream.writelines(pieces)
            return cache.memory_map(path, vocab.dtype)

    def _bar(self, label: str, total: int | None) -> Any:
        """Return a progress bar that appears after a second."""
        from charrnn.bar import Bar  # importing tqdm takes longer than reading a small text

        return Bar.for_bytes(label, total, delay=1, leave=False)
