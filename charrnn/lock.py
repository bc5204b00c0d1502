"""A lock that lets one run at a time write a checkpoint.

It is a lock of the operating system on a hidden file next to the checkpoint, `.NAME.lock`, which
contains the process that holds it. Its name has no `.npz`, because it also protects the metrics. A
run removes the file at its end. When a run is killed, the file stays, but the lock ends with the
process.
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

MAX_CHARS = 8192  # read from a lock file

if sys.platform == "win32":
    import msvcrt

    BEYOND_TEXT = 1 << 30  # an offset after the text: on Windows a locked byte cannot be read

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
    """Return the path of the lock file of a checkpoint."""
    target = sibling_path(os.path.realpath(checkpoint_path), ".lock")
    return target.with_name(f".{target.name}")


@contextlib.contextmanager
def hold_lock(checkpoint_path: str) -> Iterator[bool]:
    """Hold the lock of a checkpoint and its metrics during the block.

    Yields False, and logs a message, where files cannot be locked. Raises CheckpointError when
    another process holds the lock.
    """
    path = lock_path(checkpoint_path)
    with contextlib.ExitStack() as files:
        try:
            stream = files.enter_context(open(path, "ab"))
            _lock_or_raise(stream.fileno())
        except BlockingIOError:
            raise CheckpointError(
                f"{checkpoint_path} is in use: {_holder(path)}",
                "Wait until that run ends, stop it, or write another file with --out FILE",
            ) from None
        except OSError as error:
            logger.info(
                f"{path} cannot be locked ({error.strerror}): "
                f"make sure that no other run writes {checkpoint_path}"
            )
            yield False
            return
        if not _is_same_file(stream, path):  # another run has just removed it
            yield files.enter_context(hold_lock(checkpoint_path))
            return
        target, now = os.path.realpath(checkpoint_path), time.strftime("%Y-%m-%d %H:%M:%S")
        holder = f"process {os.getpid()} on {platform.node()} has been writing {target} since {now}"
        with contextlib.suppress(OSError):  # a full disk: the lock works without this text
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), holder.encode())
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):  # Windows cannot remove an open file
                if _is_same_file(stream, path):
                    path.unlink()


def _is_same_file(stream: BinaryIO, path: Path) -> bool:
    """Return whether the path leads to the open file."""
    with contextlib.suppress(OSError):
        return os.path.samefile(stream.fileno(), path)
    return False


def _holder(path: Path) -> str:
    """Return the process that holds the lock, as its file names it, for a message."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        line = stream.readline(MAX_CHARS)
        if line and line.isprintable():
            return line
    return "another process is writing it"
