"""A file is written beside the old one, flushed to disk and renamed over it: never a part of one.

What is being written has a hidden name that ends in `.part`. A process that is killed leaves it
behind; the next run clears it away, once it holds the lock of the same files.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CheckpointError

RANDOM_CHARS = 8  # characters that tell the parts of one file apart


@contextlib.contextmanager
def as_checkpoint_error(path: str | Path) -> Iterator[None]:
    """Raise CheckpointError where the block raises OSError: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}",
            "Choose another place with --out FILE",
        ) from None


def sibling_path(path: str | Path, ending: str) -> Path:
    """The file next to a checkpoint that belongs to it: its name without `.npz`, then `ending`.

    Nothing but `.npz` is cut: `lr0.01` and `lr0.003` are two names.

    >>> beside("runs/a.npz", ".jsonl").name, beside("runs/lr0.01", ".jsonl").name
    ('a.jsonl', 'lr0.01.jsonl')
    """
    path = Path(path)
    return path.with_name(path.name.removesuffix(".npz") + ending)


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and vanishes if not.

    A link stays, and what it leads to is replaced. A device or a pipe cannot be: it is written to.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # also what the shell makes of >(...)
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
    """Remove what killed runs have left of `path`. Nobody else may be writing it."""
    # A name such as `a` must not take the parts of `a.b`, so the random characters are counted.
    for part in glob.glob(_partial_path(glob.escape(os.path.realpath(path)), "?" * RANDOM_CHARS)):
        with contextlib.suppress(OSError):
            os.unlink(part)


def _partial_path(target: str, random: str) -> str:
    """Return the name of a file beside `target`, for what is to take its place."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{random}.part")
