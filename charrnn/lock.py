"""One run at a time writes a checkpoint: a lock that ends with its process, however that ends.

The lock is the system's, on a hidden file beside the checkpoint, `.NAME.lock`, which says who holds
it. It is named without the checkpoint's ending, because the metrics and the best checkpoint are
too. A killed run leaves the file behind, but not the lock.
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

from charrnn.atomic import beside
from charrnn.errors import CheckpointError

logger = logging.getLogger("charrnn")

MAX_BYTES = 8192  # read of what a lock file says

if sys.platform == "win32":
    import msvcrt

    FAR = 1 << 30  # beyond the text: on Windows a locked byte cannot be read

    def _try(descriptor: int) -> None:
        """Lock an open file or raise BlockingIOError; the lock ends when the file is closed."""
        os.lseek(descriptor, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _try(descriptor: int) -> None:
        """Lock an open file or raise BlockingIOError; the lock ends when the file is closed."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_path(checkpoint_path: str) -> Path:
    """Where the lock file of a checkpoint is."""
    target = beside(os.path.realpath(checkpoint_path), ".lock")
    return target.with_name(f".{target.name}")


@contextlib.contextmanager
def held(checkpoint_path: str) -> Iterator[bool]:
    """Keep every other run from this checkpoint and the files named like it.

    Gives False, and a note, where files cannot be locked. Raises CheckpointError when another
    process holds the lock.
    """
    path = lock_path(checkpoint_path)
    try:
        descriptor = _open(path)
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
    with contextlib.suppress(OSError):  # a full disk; the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _this_process(checkpoint_path).encode())
    try:
        yield True
    finally:
        _release(descriptor, path)


def _open(path: Path) -> int:
    """The descriptor of the lock file, locked. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _try(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # there are no locks here
            _release(descriptor, path)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder has removed it meanwhile: what counts is a new one


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that this path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _release(descriptor: int, path: Path) -> None:
    """Remove the file while it is still locked, so that nobody else can be holding it."""
    with contextlib.suppress(OSError):
        if sys.platform != "win32" and _is_at(descriptor, path):
            os.unlink(path)
    os.close(descriptor)
    with contextlib.suppress(OSError):
        if sys.platform == "win32":  # where an open file, another run's too, cannot be removed
            os.unlink(path)


def _this_process(checkpoint_path: str) -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    where = os.path.realpath(checkpoint_path)
    return f"process {os.getpid()} on {platform.node()} has been writing {where} since {now}\n"


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        said = stream.read(MAX_BYTES).decode("utf-8", "replace").split("\n")[0]
        if said.isprintable() and said:
            return said
    return "another process is writing it"
