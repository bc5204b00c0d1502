"""A file is written beside the old one, flushed to disk and renamed over it: never a part of one.

What is being written has a hidden name that ends in `.part`. A process that is killed leaves it
behind; the next run clears it away, once it holds the lock of the same files.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CheckpointError

RANDOM = 8  # characters that tell the parts of one file apart


class Unwritable(CheckpointError):
    """A file cannot be written."""

    def __init__(self, path: str | Path, error: OSError, option: str = "--out FILE") -> None:
        """`option` is the one that names another place."""
        super().__init__(
            f"{path} cannot be written: {error.strerror or error}",
            f"Choose another place with {option}",
        )


def beside(path: str | Path, ending: str) -> Path:
    """The file next to a checkpoint that belongs to it: its name without `.npz`, then `ending`.

    Nothing but `.npz` is cut: `lr0.01` and `lr0.003` are two names.

    >>> beside("runs/a.npz", ".jsonl").name, beside("runs/lr0.01", ".jsonl").name
    ('a.jsonl', 'lr0.01.jsonl')
    """
    path = Path(path)
    return path.with_name(path.name.removesuffix(".npz") + ending)


@contextlib.contextmanager
def replacement(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and vanishes if not.

    A link stays, and what it leads to is replaced. A device or a pipe cannot be: it is written to.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # also what the shell makes of >(...)
        with open(path, "wb") as stream:
            yield stream
        return
    part = part_of(path)
    target = Path(os.path.realpath(path))
    try:
        with open(part, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync_folder(target.parent)


def part_of(path: str | Path) -> Path:
    """Return a new name beside what `path` leads to, for what is to take its place."""
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name}.{secrets.token_hex(RANDOM // 2)}.part")


def clear_parts(path: str | Path) -> None:
    """Remove what killed runs have left of `path`. Nobody else may be writing it."""
    target = Path(os.path.realpath(path))
    # A name such as `a` must not take the parts of `a.b`, so the random characters are counted.
    pattern = f".{glob.escape(target.name)}.{'?' * RANDOM}.part"
    for part in target.parent.glob(pattern):
        with contextlib.suppress(OSError):
            part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
