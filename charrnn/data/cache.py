"""A folder of files that store the ids and the profiles of large texts.

The name of a file is a checksum of the values that determine its content. A file is written under a
temporary name and renamed when it is complete, so two runs can write the same file at once.
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
FILE_NAME = r"[0-9a-f]{64}(\.json)?|\.[0-9a-f]{64}(\.json)?\..{8}\.part"  # .part: incomplete
DAY_S = 86_400
UNUSED_DAYS = 30  # days without use after which a file is removed


def cache_folder() -> Path:
    """Return the folder that CHARRNN_CACHE names, or the default of the operating system."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    defaults = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}
    parent = defaults.get(sys.platform, os.environ.get("XDG_CACHE_HOME"))
    try:
        return Path(parent or "~/.cache", "charrnn").expanduser()
    except RuntimeError:  # the user has no home folder, as in some containers
        return Path(tempfile.gettempdir(), "charrnn")


def cache_path(*key: Any) -> Path:
    """Return the path of the file for this key of JSON values; the file need not exist."""
    return cache_folder() / _checksum(key)


def _checksum(value: Any) -> str:
    """Return the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@contextlib.contextmanager
def writable_folder() -> Iterator[None]:
    """Create the cache folder and remove unused files before a block that writes to it.

    Raise CorpusError where the block, or the preparation, raises OSError.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unused(folder)
        yield
    except OSError as error:
        raise CorpusError(
            f"a large text is stored on disk, but {folder} cannot be written to: {error.strerror}",
            f"Name another folder: {VARIABLE}=FOLDER charrnn ...",
        ) from None


def memory_map(file: Path | IO[bytes], dtype: np.dtype[Any]) -> Ints:
    """Return the numbers of a file, (N,), as a read-only memory map; they pickle as a copy."""
    return np.asarray(np.memmap(file, dtype, "r"))


def find_ids(path: Path, dtype: np.dtype[Any], size: int) -> Ints | None:
    """Return the numbers of a file, or None if it is missing or does not have `size` of them."""
    with contextlib.suppress(OSError, ValueError):
        os.utime(path)  # the file is in use
        numbers = memory_map(path, dtype)
        if len(numbers) == size:
            return numbers
    return None


def load_or_compute(path: Path, compute: Callable[[], Any]) -> Any:
    """Return the JSON value in a file; if it is missing or damaged, compute and write it.

    Raise CorpusError if the file cannot be written.
    """
    with contextlib.suppress(OSError, ValueError, TypeError):
        os.utime(path)  # the file is in use
        value, checksum = json.loads(path.read_bytes())
        if checksum == _checksum(value):
            return value
    computed = compute()
    with writable_folder(), replace_file(path) as stream:
        stream.write(json.dumps([computed, _checksum(computed)]).encode())
    return computed


def _remove_unused(folder: Path) -> None:
    """Remove incomplete files after one day and unused files after `UNUSED_DAYS`.

    Other files in the folder are not from charrnn and stay.
    """
    for path in folder.iterdir():
        if re.fullmatch(FILE_NAME, path.name):
            days = 1 if path.suffix == ".part" else UNUSED_DAYS
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > days * DAY_S:
                    path.unlink()
