"""Opens the zip archive that a checkpoint is, which may be anybody's, in bounded memory.

A zip file has a directory, and Python makes an object of about ten times its size from each entry;
a packed member may become a thousand times larger; two members of one name may differ. None of
that belongs into a checkpoint.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from typing import BinaryIO

MAX_DIRECTORY_BYTES = 1 << 20  # that of the largest model, of 64 layers, has 20 kB
MAX_META_BYTES = 16 << 20  # of the JSON string, four bytes a character


def is_checkpoint(path: str) -> bool:
    """Whether a word of the command line names a checkpoint: by its ending, else by its content."""
    return path.endswith(".npz") or (os.path.isfile(path) and zipfile.is_zipfile(path))


class _BoundedStream:
    """A stream that hands out no large directory to whoever opens the archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self.most = MAX_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise zipfile.BadZipFile("its directory is too large")
        return self.stream.read(size)


def read_members(stream: BinaryIO) -> dict[str, bytes]:
    """What `numpy.savez` has written to a stream: the bytes of each array by its name.

    Raises BadZipFile when it is no archive, and ValueError that names the array that is not as
    `numpy.savez` writes it.
    """
    if not stream.seekable():  # such as the pipe that a shell makes of <(...)
        stream = io.BytesIO(stream.read())
    careful = _BoundedStream(stream)
    archive = zipfile.ZipFile(careful)
    careful.most = sys.maxsize
    left = stream.seek(0, os.SEEK_END)  # only the length is certain: the directory may lie
    members: dict[str, bytes] = {}
    for member in archive.infolist():
        key, size = member.filename.removesuffix(".npy")[:60], member.file_size
        left -= size  # so members cannot share their bytes and be larger than the file
        if key in members:
            raise ValueError("two of its members have the same name")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != size:
            raise ValueError(f"array {key} is compressed, and numpy.savez leaves it as it is")
        if left < 0:
            raise ValueError(f"array {key} claims {size:,} bytes, which it does not have")
        if key == "meta" and size > MAX_META_BYTES:
            raise ValueError(
                f"array {key} has {size:,} bytes, and never needs over {MAX_META_BYTES:,}"
            )
        members[key] = archive.read(member)
    return members
