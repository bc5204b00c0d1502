"""Where large texts are kept once they are encoded, each under what it was made from.

An entry is a folder of files. It is made under another name and renamed when it is whole, so two
runs that make the same one at once do not meet: the second finds the first one's and drops its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from charrnn.errors import CorpusError

VARIABLE = "CHARRNN_CACHE"
PART = ".part"  # how the name of an unfinished entry ends
DAY_S = 86_400
UNUSED_DAYS = 30  # after which an entry is removed


def folder() -> Path:
    """The cache folder: what CHARRNN_CACHE says, or the system's usual place."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir()), "charrnn", "cache")
    if sys.platform == "darwin":
        return Path("~/Library/Caches/charrnn").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "charrnn"


def key(*made_from: Any) -> str:
    """The name of what is made from these plain values."""
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def find(name: str) -> Path | None:
    """The entry of this name, marked as used now."""
    entry = folder() / name
    if not entry.is_dir():
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)
    return entry


class Part:
    """A folder for an entry that is being made; gone at the end unless it was kept.

    Files that are mapped by then can still be read, on systems that allow it.
    """

    def __init__(self) -> None:
        """Raises CorpusError when there is no place for it."""
        place = folder()
        try:
            place.mkdir(parents=True, exist_ok=True)
            _tidy(place)
            self.path = Path(tempfile.mkdtemp(suffix=PART, dir=place))
        except OSError as error:
            raise CorpusError(
                f"a large text is kept on disk, but {place} cannot be written to: "
                f"{error.strerror}. Name another folder: {VARIABLE}=FOLDER charrnn ..."
            ) from None

    def keep(self, name: str) -> Path:
        """Make it the entry of this name. Another run's, made meanwhile, is as good."""
        entry = self.path.parent / name
        with contextlib.suppress(OSError):
            os.rename(self.path, entry)
        if self.path.is_dir():  # there was one already
            return self.path
        self.path = entry
        return entry

    def drop(self) -> None:
        """Remove it, unless it is an entry by now."""
        if self.path.name.endswith(PART):
            shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drop()


def _tidy(place: Path) -> None:
    """Remove what killed runs left unfinished, and what nobody has used for a month."""
    now = time.time()
    for entry in place.iterdir():
        days = 1 if entry.name.endswith(PART) else UNUSED_DAYS
        with contextlib.suppress(OSError):
            if entry.is_dir() and now - entry.stat().st_mtime > days * DAY_S:
                shutil.rmtree(entry, ignore_errors=True)
