"""Where large texts are kept once they are encoded, each under what it was made from.

An entry is a folder of files. It is made under another name and renamed when it is whole, so two
runs that make the same one at once do not meet: the second finds the first one's and drops its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError

VARIABLE = "CHARRNN_CACHE"
OWN, PART = "charrnn-", ".part"  # how the name of an unfinished entry begins and ends
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
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "charrnn"
    except RuntimeError:  # nobody's home, as in some containers
        return Path(tempfile.gettempdir(), "charrnn")


def key(*made_from: Any) -> str:
    """The name of what is made from these plain values."""
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def find(name: str) -> Path | None:
    """The entry of this name, marked as used now."""
    entry = folder() / name
    with contextlib.suppress(OSError):
        if entry.is_dir():
            os.utime(entry)
            return entry
    return None


class Part:
    """A folder for an entry that is being made; gone when it is closed, unless it was kept.

    Files that are mapped by then can still be read, on systems that allow it.
    """

    def __init__(self) -> None:
        """Raises CorpusError when there is no place for it."""
        place = folder()
        try:
            place.mkdir(parents=True, exist_ok=True)
            _tidy(place)
            self.path = place / f"{OWN}{secrets.token_hex(8)}{PART}"
            self.path.mkdir()
        except OSError as error:
            raise CorpusError(
                f"a large text is kept on disk, but {place} cannot be written to: {error.strerror}",
                f"Name another folder: {VARIABLE}=FOLDER charrnn ...",
            ) from None

    def keep(self, name: str) -> None:
        """Make it the entry of this name, for all who may read the folder it is in.

        Where there is one by now, of another run, that one stays, and this one goes at the end.
        """
        entry = self.path.parent / name
        with contextlib.suppress(OSError):
            os.rename(self.path, entry)
            self.path = entry

    def close(self) -> None:
        """Remove it, unless it is an entry by now."""
        if self.path.name.endswith(PART):
            shutil.rmtree(self.path, ignore_errors=True)


def _tidy(place: Path) -> None:
    """Remove what killed runs left unfinished, and what nobody has used for a month.

    Whatever else is in the folder is not ours.
    """
    now = time.time()
    for entry in place.iterdir():
        unfinished = entry.name.startswith(OWN) and entry.name.endswith(PART)
        if not unfinished and not re.fullmatch("[0-9a-f]{64}", entry.name):
            continue
        with contextlib.suppress(OSError):
            used = [path.stat().st_mtime for path in (entry, *entry.iterdir())]
            latest = max(used) if unfinished else used[0]
            if now - latest > (1 if unfinished else UNUSED_DAYS) * DAY_S:
                shutil.rmtree(entry, ignore_errors=True)
