"""A text of any size turned into ids: in memory, or in a mapped file once they are many.

The first reading finds the text's checksum and its distinct characters, the second its ids. What a
large text became is kept in the cache, and found again by the next run.

A text of lines becomes one newline and then each line with its newline; empty lines are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from charrnn.arrays import Ints
from charrnn.atomic import replacement
from charrnn.config.schema import CorpusConfig
from charrnn.data import cache
from charrnn.data.characters import named
from charrnn.data.reader import TextReader, mended, open_text
from charrnn.data.vocabulary import Vocab, code_points
from charrnn.errors import CorpusError, VocabError
from charrnn.streams import name_of

LARGE_BYTES = 64 << 20  # of ids, or of a pipe: more are kept on disk
CODE_POINTS = 0x110000


class Text:
    """The text of a config: its checksum, what was mended in it, and its ids."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        self.names = [name_of(path) for path in config.path]
        self._copies: dict[str, IO[bytes]] = {}  # of what can be read once, such as a pipe
        self.facts: list[tuple[bool, int]] = []  # of each file: a byte order mark, CRLFs
        self.blank = 0  # empty lines left out
        self.sha256 = ""  # of one file its own; of several, that of theirs
        self.chars = ""  # its distinct characters, sorted
        self.size = 0  # ids

    @property
    def name(self) -> str:
        """What the text is called in a message."""
        more = len(self.names) - 1
        return f"{self.names[0]} and {more} more" if more else self.names[0]

    def notices(self) -> list[str]:
        """What was mended in each file, one sentence each."""
        files = zip(self.names, self.facts, strict=True)
        return [notice for name, facts in files for notice in mended(name, *facts)]

    def read(self) -> None:
        """Read the text for the first time. Raises CorpusError."""
        for path in self.config.path:
            if not os.path.isfile(path):
                self._copy(path)
        seen = np.zeros(CODE_POINTS, dtype=bool)
        for piece in self._pieces("reading"):
            seen[code_points(piece)] = True
            self.size += len(piece)
        self.chars = "".join(map(chr, np.flatnonzero(seen)))

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
                f"the corpus has {named(unknown)}, which the model's training text did not have"
            )
        if self.size * vocab.dtype.itemsize > LARGE_BYTES:
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
        copy = tempfile.SpooledTemporaryFile(LARGE_BYTES, dir=str(cache.folder()))  # noqa: SIM115
        self._copies[path] = copy
        with source.stream, self._bar("receiving") as bar:
            for chunk in source.chunks():
                large = copy.tell() + len(chunk) > LARGE_BYTES
                with cache.writing() if large else contextlib.nullcontext():
                    copy.write(chunk)
                    copy.flush()
                bar.update(len(chunk))

    def _readers(self) -> Iterator[TextReader]:
        """A reader of each file from its beginning."""
        settings = self.config.encoding, self.config.lowercase
        for path, name in zip(self.config.path, self.names, strict=True):
            copy = self._copies.get(path)
            if copy is None:
                reader = open_text(path, *settings)
                with reader.stream:
                    yield reader
            else:
                copy.seek(0)
                yield TextReader(copy, name, *settings)

    def _pieces(self, what: str) -> Iterator[str]:
        """What is to be encoded; at its end, `facts`, `blank` and `sha256` are known."""
        lines, last, digests = self.config.mode == "lines", "\n", []
        self.facts, self.blank = [], 0
        if lines:
            yield last
        with self._bar(what) as bar:
            for reader in self._readers():
                before = bar.n
                for piece in reader:
                    bar.update(before + reader.bytes - bar.n)
                    if not lines:
                        yield piece
                        continue
                    kept = re.sub("\n\n+", "\n", last + piece)[1:]
                    self.blank += len(piece) - len(kept)
                    last = piece[-1]
                    yield kept
                if lines and last != "\n":  # a record of one file must not run into the next
                    last = "\n"
                    yield last
                self.facts.append((reader.bom, reader.crlf))
                digests.append(reader.sha256.hexdigest())
        if len(digests) > 1:
            digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
        (self.sha256,) = digests

    def _ids(self, vocab: Vocab) -> Iterator[Ints]:
        """The ids of a second reading, piece by piece."""
        before = self.sha256
        for piece in self._pieces("encoding"):
            yield vocab.lookup(piece)
        if self.sha256 != before:
            raise CorpusError(f"{self.name} changed while it was read: try again")

    def _on_disk(self, vocab: Vocab) -> Ints:
        """The ids in a mapped file: of the cache, or without a name for what came by a pipe."""
        settings = self.config.encoding, self.config.lowercase, self.config.mode
        path = cache.path_of(self.sha256, *settings, vocab.chars)
        found = cache.find(path, vocab.dtype, self.size)
        if found is not None:
            return found
        pieces = (ids.data for ids in self._ids(vocab))
        with cache.writing():
            if self._copies:  # it could not be found again
                with tempfile.TemporaryFile(dir=path.parent) as stream:
                    stream.writelines(pieces)
                    return cache.mapped(stream, vocab.dtype)
            with replacement(path) as stream:
                stream.writelines(pieces)
            return cache.mapped(path, vocab.dtype)

    def _bar(self, what: str) -> Any:
        """A progress bar, for what takes longer than a moment."""
        from charrnn.bar import Bar  # tqdm alone takes longer than to read a small text

        sizes = [os.path.getsize(path) for path in self.config.path if os.path.isfile(path)]
        return Bar.of_bytes(what, None if self._copies else sum(sizes), delay=1, leave=False)
