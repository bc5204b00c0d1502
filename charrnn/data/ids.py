"""A text of any size turned into ids: in memory, or in a mapped file when it is large.

The first reading finds the text's checksum and its distinct characters, the second its ids. What
both found in a large text is kept in the cache, so the next run only computes the checksum.

A text of lines becomes one newline and then each line with its newline; empty lines are left out.
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

LARGE_BYTES = 16 << 20  # of a text: the ids of a larger one are kept on disk
CODE_POINTS = 0x110000


class CorpusText:
    """The text of a config: its checksum, what was mended in it, and its ids."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.sha256 = ""  # of one file its own; of several, that of theirs
        self.chars = ""  # its distinct characters, sorted
        self.size = 0  # ids
        self.notices: list[str] = []  # what was mended, one sentence each
        self._bytes = sum(os.path.getsize(path) for path in config.path if os.path.isfile(path))
        self._copies: dict[str, IO[bytes]] = {}  # of what can be read once, such as a pipe

    @property
    def name(self) -> str:
        """What the text is called in a message."""
        first, *others = self.config.path
        return f"{display_name(first)} and {len(others)} more" if others else display_name(first)

    def read(self) -> None:
        """Find everything but the ids, in the cache or by a first reading. Raises CorpusError."""
        for path in self.config.path:
            if not os.path.isfile(path):
                self._copy(path)
        if self._copies or self._bytes <= LARGE_BYTES:
            self.chars, self.size, self.notices = self._scan()
            return
        for reader in self._readers("reading"):
            for _ in reader.chunks():  # all that `sha256` needs
                pass
        kept_at = self._path_of(self.config.path).with_suffix(".json")
        self.chars, self.size, self.notices = cache.load_or_compute(kept_at, self._scan)

    def encode(self, vocab: Vocab | None = None, extend: bool = False) -> tuple[Vocab, Ints]:
        """Its ids (N,) in its own vocabulary, in `vocab`, or in the union of both.

        Raises CorpusError, and VocabError for characters that `vocab` lacks.
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
        if self._bytes > LARGE_BYTES:
            return vocab, self._on_disk(vocab)
        return vocab, np.concatenate([*self._ids(vocab)])

    def close(self) -> None:
        """Let go of copies; what was mapped stays."""
        for copy in self._copies.values():
            with contextlib.suppress(OSError):  # what is still in its buffer, on a full disk
                copy.close()

    def _copy(self, path: str) -> None:
        """Copy what can be read only once; a large copy is a file without a name."""
        source = open_text(path)
        copy = tempfile.SpooledTemporaryFile(LARGE_BYTES, dir=str(cache.cache_folder()))  # noqa: SIM115
        self._copies[path] = copy
        with source.stream, self._bar("receiving", None) as bar:
            source.on_bytes = bar.update
            for chunk in source.chunks():
                large = copy.tell() + len(chunk) > LARGE_BYTES
                with cache.writable_folder() if large else contextlib.nullcontext():
                    copy.write(chunk)
                    copy.flush()
        self._bytes += copy.tell()

    def _readers(self, what: str) -> Iterator[TextReader]:
        """A reader of each file from its beginning; once all are read, `sha256` is known."""
        settings, digests = (self.config.encoding, self.config.lowercase), []
        with self._bar(what, self._bytes) as bar:
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

    def _pieces(self, what: str) -> Iterator[str]:
        """What is to be encoded; at its end, `notices` and `sha256` are known."""
        lines, last, blank = self.config.mode == "lines", "\n", 0
        self.notices = []
        if lines:
            yield last
        for reader in self._readers(what):
            for piece in reader:
                if lines:
                    kept = re.sub("\n\n+", "\n", last + piece)[1:]
                    blank += len(piece) - len(kept)
                    last, piece = piece[-1], kept
                yield piece
            if last != "\n":  # a record of one file must not run into the next
                last = "\n"
                yield last
            self.notices += reader.notices()
        if blank:
            self.notices.append(f"{self.name} has {blank:,} empty lines; they are left out")

    def _scan(self) -> tuple[str, int, list[str]]:
        """Read the text for the first time: its characters, its size and what was mended."""
        seen, size = np.zeros(CODE_POINTS, dtype=bool), 0
        for piece in self._pieces("reading"):
            seen[code_points(piece)] = True
            size += len(piece)
        return "".join(map(chr, np.flatnonzero(seen))), size, self.notices

    def _ids(self, vocab: Vocab) -> Iterator[Ints]:
        """The ids of a second reading, piece by piece."""
        before = self.sha256
        for piece in self._pieces("encoding"):
            yield vocab.lookup(piece)
        if self.sha256 != before:
            raise CorpusError(f"{self.name} changed while it was read: try again")

    def _path_of(self, *made_from: Any) -> Path:
        """Where the cache has what is made from this text and these plain values."""
        settings = self.config.encoding, self.config.lowercase, self.config.mode
        return cache.cache_path(self.sha256, *settings, *made_from)

    def _on_disk(self, vocab: Vocab) -> Ints:
        """The ids in a mapped file: of the cache, or without a name for what came by a pipe."""
        path = self._path_of(vocab.chars)
        kept = cache.find_ids(path, vocab.dtype, self.size)
        if kept is not None:
            return kept
        pieces = (ids.data for ids in self._ids(vocab))
        with cache.writable_folder():
            if self._copies:  # it could not be found again
                with tempfile.TemporaryFile(dir=path.parent) as stream:
                    stream.writelines(pieces)
                    return cache.memory_map(stream, vocab.dtype)
            with replace_file(path) as stream:
                stream.writelines(pieces)
            return cache.memory_map(path, vocab.dtype)

    def _bar(self, what: str, total: int | None) -> Any:
        """A progress bar, for what takes longer than a moment."""
        from charrnn.bar import Bar  # tqdm alone takes longer than to read a small text

        return Bar.for_bytes(what, total, delay=1, leave=False)
