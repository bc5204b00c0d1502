"""The code points of a text on their way to ids: in memory, or in a file once they are many."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ints
from charrnn.data import cache
from charrnn.data.store import unwritable
from charrnn.data.vocabulary import code_points

LARGE_BYTES = 32 << 20  # of a text: one that is larger is kept on disk
CODE_POINTS = 0x110000


class Points:
    """The code points of a text, each piece in the smallest type that holds it."""

    def __init__(self, limit: int = LARGE_BYTES) -> None:
        """In memory up to `limit` bytes."""
        self.limit = limit
        self.size = 0
        self.part: cache.Part | None = None
        self._seen = np.zeros(CODE_POINTS, dtype=bool)
        self._seen_ascii = b""
        self._bytes = 0
        self._pieces: list[npt.NDArray[Any]] = []  # in memory
        self._kinds: list[tuple[Any, int]] = []  # or dtype and length of each, in the file
        self._stream: BinaryIO | None = None

    def add(self, piece: str) -> None:
        """Some more text. Raises CorpusError when the disk is full."""
        if piece.isascii():
            raw = piece.encode("ascii")
            points: Ints = np.frombuffer(raw, dtype=np.uint8)
            fresh = raw.translate(None, self._seen_ascii)
            if fresh:
                self._seen_ascii += bytes(set(fresh))
                self._seen[points] = True
        else:
            points = code_points(piece)
            self._seen[points] = True
            points = points.astype(np.min_scalar_type(int(points.max())))
        self.size += len(points)
        self._bytes += points.nbytes
        self._put(points)

    def _put(self, points: Ints) -> None:
        if self._stream is None:
            self._pieces.append(points)
            if self._bytes <= self.limit:
                return
            self.part = cache.Part()
            self._path = self.part.path / "points"
            pieces, self._pieces = self._pieces, []
        else:
            pieces = [points]
        try:
            if self._stream is None:
                self._stream = open(self._path, "w+b")  # noqa: SIM115 - `close` closes it
            for numbers in pieces:
                self._stream.write(numbers.data)
                self._kinds.append((numbers.dtype, len(numbers)))
        except OSError as error:
            raise unwritable(self._path, error) from None

    def __iter__(self) -> Iterator[Ints]:
        """The pieces again, in order."""
        if self._stream is None:
            yield from self._pieces
            return
        try:
            self._stream.seek(0)  # which also writes what is still in a buffer
        except OSError as error:
            raise unwritable(self._path, error) from None
        for dtype, count in self._kinds:
            yield np.fromfile(self._stream, dtype, count)

    def chars(self) -> str:
        """The distinct characters, sorted."""
        return "".join(map(chr, np.flatnonzero(self._seen)))

    def remove(self) -> None:
        """Remove the file of code points."""
        if self._stream is not None:
            self._stream.close()
            os.unlink(self._path)

    def close(self) -> None:
        """Let go of all of it."""
        if self._stream is not None:
            with contextlib.suppress(OSError):  # what is still in its buffer, on a full disk
                self._stream.close()
        if self.part is not None:
            self.part.close()
