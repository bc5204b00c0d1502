"""Opens the zip archive that a checkpoint is, which may be anybody's, in bounded memory.

A zip file has a directory, and Python makes an object of about ten times its size from each entry;
a packed member may become a thousand times larger; two members of one name may differ. None of
that belongs into a checkpoint.
"""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

MAX_DIRECTORY_BYTES = 1 << 20  # that of the largest model, of 64 layers, has 20 kB
MAX_META_BYTES = 16 << 20  # of the JSON string, four bytes a character


def is_checkpoint(path: str) -> bool:
    """Whether a word of the command line names a checkpoint: by its ending, else by its content."""
    return path.endswith(".npz") or (os.path.isfile(path) and zipfile.is_zipfile(path))


class _Careful:
    """A stream that hands out no large directory to whoever opens the archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.most: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise zipfile.BadZipFile("its directory is too large")
        return self.stream.read(size)

    def seekable(self) -> bool:
        return True


def opened(stream: BinaryIO) -> zipfile.ZipFile:
    """The archive in a stream. Raises BadZipFile when it is none, or none that NumPy writes."""
    careful = _Careful(stream)
    archive = zipfile.ZipFile(careful)
    careful.most = None
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise zipfile.BadZipFile("two of its members have the same name")
    return archive


def is_packed(member: zipfile.ZipInfo) -> bool:
    """Whether unpacking this member could take any memory; `numpy.savez` leaves all as they are."""
    return member.compress_type != zipfile.ZIP_STORED
