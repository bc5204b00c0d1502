"""Where large texts are kept once they are encoded: files, each named by what it was made from.

A file is made under another name and renamed when it is whole, so two runs that make the same one
at once do not meet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.arrays import Ints
from charrnn.atomic import replace_file
from charrnn.errors import CorpusError

VARIABLE = "CHARRNN_CACHE"
FILE_NAME = r"[0-9a-f]{64}(\.json)?|\.[0-9a-f]{64}(\.json)?\..{8}\.part"  # .part: being made
DAY_S = 86_400
UNUSED_DAYS = 30  # after which a file is removed


def cache_folder() -> Path:
    """The cache folder: what CHARRNN_CACHE says, or the system's usual place."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    usual = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}
    place = usual.get(sys.platform, os.environ.get("XDG_CACHE_HOME"))
    try:
        return Path(place or "~/.cache", "charrnn").expanduser()
    except RuntimeError:  # nobody's home, as in some containers
        return Path(tempfile.gettempdir(), "charrnn")


def cache_path(*made_from: Any) -> Path:
    """Where the file is, or will be, that is made from these plain values."""
    return cache_folder() / _checksum(made_from)


def _checksum(load_or_compute: Any) -> str:
    return hashlib.sha256(json.dumps(load_or_compute).encode()).hexdigest()


@contextlib.contextmanager
def writable_folder() -> Iterator[None]:
    """A block that writes to the cache folder, which is made and tidied first.

    Raises CorpusError for whatever the system says against that.
    """
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_unused(place)
        yield
    except OSError as error:
        raise CorpusError(
            f"a large text is kept on disk, but {place} cannot be written to: {error.strerror}",
            f"Name another folder: {VARIABLE}=FOLDER charrnn ...",
        ) from None


def memory_map(file: Path | IO[bytes], dtype: np.dtype[Any]) -> Ints:
    """The numbers in a file, (N,), read where they are looked at; they pickle as a copy."""
    return np.asarray(np.memmap(file, dtype, "r"))


def find_ids(path: Path, dtype: np.dtype[Any], size: int) -> Ints | None:
    """The `size` numbers in the file at this path, marked as used now; None if it has others."""
    with contextlib.suppress(OSError, ValueError):
        os.utime(path)
        numbers = memory_map(path, dtype)
        if len(numbers) == size:
            return numbers
    return None


def load_or_compute(path: Path, compute: Callable[[], Any]) -> Any:
    """The plain value kept at this path, marked as used now.

    If it is gone or damaged it is computed and kept there. Raises CorpusError.
    """
    with contextlib.suppress(OSError, ValueError, TypeError):
        os.utime(path)
        kept, checksum = json.loads(path.read_bytes())
        if checksum == _checksum(kept):
            return kept
    computed = compute()
    with writable_folder(), replace_file(path) as stream:
        stream.write(json.dumps([computed, _checksum(computed)]).encode())
    return computed


def _remove_unused(place: Path) -> None:
    """Remove what killed runs left unfinished, and what nobody has used for a month.

    Whatever else is in the folder is not ours.
    """
    for path in place.iterdir():
        if re.fullmatch(FILE_NAME, path.name):
            days = 1 if path.suffix == ".part" else UNUSED_DAYS
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > days * DAY_S:
                    path.unlink()
