"""Long rows of numbers in memory or on disk: what is large is written to a file and mapped.

A mapped file takes no memory of the process: the system reads its pages, and takes them back.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import CorpusError

BLOCK = 1 << 20  # numbers handled at a time


@dataclass(frozen=True)
class Row:
    """Numbers of one dtype, (N,), and the mapping they live in if they are on disk."""

    numbers: npt.NDArray[Any]
    mapping: mmap.mmap | None = None

    @classmethod
    def mapped(cls, path: Path, dtype: npt.DTypeLike) -> Row:
        """The numbers in a file."""
        with open(path, "rb") as stream:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(np.frombuffer(mapping, dtype=dtype), mapping)

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """All numbers, a million at a time, in constant memory."""
        for start in range(0, len(self.numbers), BLOCK):
            yield self.numbers[start : start + BLOCK]


class Writer:
    """Collects a row piece by piece: in memory, or in a file where there is a path."""

    def __init__(self, path: Path | None, dtype: npt.DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.size = 0
        self._pieces: list[npt.NDArray[Any]] = []

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Some more. Raises CorpusError when they cannot be written."""
        numbers = numbers.astype(self.dtype, copy=False)
        self.size += len(numbers)
        if self.path is None:
            self._pieces.append(numbers)
            return
        try:
            with open(self.path, "ab") as stream:
                stream.write(numbers.data)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def row(self, place: Path | None = None) -> Row:
        """All of it; `place` is where the file's folder is by now. Raises CorpusError."""
        if self.path is None or not self.size:  # an empty file cannot be mapped
            return Row(np.concatenate([np.empty(0, self.dtype), *self._pieces]))
        path = (place or self.path.parent) / self.path.name
        try:
            return Row.mapped(path, self.dtype)
        except OSError as error:
            raise CorpusError(f"{path} cannot be mapped: {error.strerror}") from None


def unwritable(path: Path, error: OSError) -> CorpusError:
    """The error of an encoded text that finds no room."""
    return CorpusError(
        f"the encoded text cannot be kept in {path.parent}: {error.strerror}. It takes up to a few "
        "times the room of the text",
        "Name a folder that has it: CHARRNN_CACHE=FOLDER charrnn ...",
    )
