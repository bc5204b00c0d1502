"""Atomic writing: a new file is written next to the old one, flushed to disk and renamed over it.

While it is written it has a hidden name that ends in `.part`. A process that is killed leaves that
file behind. The next run removes it, after it has locked the same checkpoint.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CheckpointError

RANDOM_CHARS = 8  # in the name of a partial file


@contextlib.contextmanager
def as_checkpoint_error(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into a CheckpointError: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a folder of its path is a file" if is_file else error.strerror or error
        raise CheckpointError(
            f"{path} cannot be written: {reason}",
            "Choose another path with --out FILE",
        ) from None


def sibling_path(path: str | Path, ending: str) -> Path:
    """Return the path of a checkpoint without `.npz`, with `ending` added.

    No other suffix is removed: `lr0.01` and `lr0.003` are different names.

    >>> sibling_path("runs/a.npz", ".jsonl").name, sibling_path("runs/lr0.01", ".jsonl").name
    ('a.jsonl', 'lr0.01.jsonl')
    """
    path = Path(path)
    return path.with_name(path.name.removesuffix(".npz") + ending)


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a new file that replaces `path` after the block, or is removed when the block raises.

    A link stays, and its target is replaced. A device or a pipe cannot be replaced: the block
    writes to it.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # such as the pipe of a shell's >(...)
        with open(path, "wb") as stream:
            yield stream
        return
    target = os.path.realpath(path)
    part = _partial_path(target, os.urandom(RANDOM_CHARS // 2).hex())
    try:
        with open(part, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def remove_partial_files(path: str | Path) -> None:
    """Remove the partial files of `path` that killed runs left. The caller holds the lock."""
    # The pattern has a fixed number of characters, so that `a` does not match the parts of `a.b`.
    for part in glob.glob(_partial_path(glob.escape(os.path.realpath(path)), "?" * RANDOM_CHARS)):
        with contextlib.suppress(OSError):
            os.unlink(part)


def _partial_path(target: str, random: str) -> str:
    """Return the path of the partial file of `target` with these random characters."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{random}.part")
