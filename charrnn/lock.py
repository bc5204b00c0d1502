"""One run at a time writes a checkpoint: a lock that ends with its process, however that ends.

The lock is the system's, on a hidden file beside the checkpoint, `.NAME.lock`, which says who holds
it. It is named without the checkpoint's ending, because the metrics and the best checkpoint are
too. A run removes it at its end; one that is killed leaves the file behind, but not the lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charrnn.atomic import sibling_path
from charrnn.errors import CheckpointError

logger = logging.getLogger("charrnn")

MAX_CHARS = 8192  # read of what a lock file says

if sys.platform == "win32":
    import msvcrt

    BEYOND_TEXT = 1 << 30  # beyond the text: on Windows a locked byte cannot be read

    def _lock_or_raise(descriptor: int) -> None:
        """Lock an open file or raise BlockingIOError; the lock ends when the file is closed."""
        os.lseek(descriptor, BEYOND_TEXT, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock_or_raise(descriptor: int) -> None:
        """Lock an open file or raise BlockingIOError; the lock ends when the file is closed."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_path(checkpoint_path: str) -> Path:
    """Where the lock file of a checkpoint is."""
    target = sibling_path(os.path.realpath(checkpoint_path), ".lock")
    return target.with_name(f".{target.name}")


@contextlib.contextmanager
def hold_lock(checkpoint_path: str) -> Iterator[bool]:
    """Keep every other run from this checkpoint and the files named like it.

    Gives False, and a note, where files cannot be locked. Raises CheckpointError when another
    process holds the lock.
    """
    path = lock_path(checkpoint_path)
    with contextlib.ExitStack() as files:
        try:
            stream = files.enter_context(open(path, "ab"))
            _lock_or_raise(stream.fileno())
        except BlockingIOError:
            raise CheckpointError(
                f"{checkpoint_path} is taken: {_holder(path)}",
                "Wait for its end, stop it, or choose another place with --out FILE",
            ) from None
        except OSError as error:
            logger.info(
                f"{path} cannot be locked ({error.strerror}): "
                f"see to it that no other run writes {checkpoint_path}"
            )
            yield False
            return
        if not _is_same_file(stream, path):  # its holder has just removed it
            yield files.enter_context(hold_lock(checkpoint_path))
            return
        where, now = os.path.realpath(checkpoint_path), time.strftime("%Y-%m-%d %H:%M:%S")
        holder = f"process {os.getpid()} on {platform.node()} has been writing {where} since {now}"
        with contextlib.suppress(OSError):  # a full disk; the lock holds without a name
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), holder.encode())
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file: it stays
                if _is_same_file(stream, path):
                    path.unlink()


def _is_same_file(stream: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one that this path leads to."""
    with contextlib.suppress(OSError):
        return os.path.samefile(stream.fileno(), path)
    return False


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        line = stream.readline(MAX_CHARS)
        if line and line.isprintable():
            return line
    return "another process is writing it"
