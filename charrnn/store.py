"""Long rows of numbers in memory or on disk: what is large is written to a file and mapped.

A mapped file takes memory only where it is looked at, and `Row.forget` gives that back.
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

    def forget(self) -> None:
        """Give back the memory of the parts that were looked at; they are still in the file."""
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """All numbers, a million at a time, in constant memory."""
        for start in range(0, len(self.numbers), BLOCK):
            yield self.numbers[start : start + BLOCK]
            self.forget()


class Writer:
    """Collects a row piece by piece: in memory, or in a file where there is a path."""

    def __init__(self, path: Path | None, dtype: npt.DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self._pieces: list[npt.NDArray[Any]] = []

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Some more. Raises CorpusError when they cannot be written."""
        numbers = numbers.astype(self.dtype, copy=False)
        if self.path is None:
            self._pieces.append(numbers)
            return
        try:
            with open(self.path, "ab") as stream:
                stream.write(numbers.data)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def row(self) -> Row:
        """All of it."""
        if self.path is not None and self.path.exists():
            return Row.mapped(self.path, self.dtype)
        return Row(np.concatenate([np.empty(0, self.dtype), *self._pieces]))


def unwritable(path: Path, error: OSError) -> CorpusError:
    """The error of an encoded text that finds no room."""
    return CorpusError(
        f"the encoded text cannot be kept in {path.parent}: {error.strerror}. It takes about as "
        "much room as the text itself: name a folder that has it, CHARRNN_CACHE=FOLDER charrnn ..."
    )
