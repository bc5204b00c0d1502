"""Opens the zip archive of a checkpoint in bounded memory, also when it is not trusted.

Python makes an object of about ten times its size from each entry of a zip file's directory; a
compressed member may become a thousand times larger; two members with one name may differ. A valid
checkpoint has a small directory, no compressed members and no repeated names.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import zipfile
from typing import BinaryIO

MAX_DIRECTORY_BYTES = 1 << 20  # the directory of the largest model, with 64 layers, has 20 kB
MAX_META_BYTES = 16 << 20  # of the JSON string, which has four bytes per character


def is_checkpoint(path: str) -> bool:
    """Return whether a path is that of a checkpoint: by its suffix, otherwise by its content.

    A checkpoint is a zip file with the member meta.npy.
    """
    if path.endswith(".npz") or not os.path.isfile(path):
        return path.endswith(".npz")
    errors = (OSError, ValueError, RuntimeError, zipfile.BadZipFile)
    with contextlib.suppress(*errors), open(path, "rb") as stream:
        return "meta.npy" in zipfile.ZipFile(_BoundedStream(stream)).namelist()
    return False


class _BoundedStream:
    """A stream that raises BadZipFile for a read of more than `max_bytes`, such as a directory."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self.max_bytes = MAX_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if size > self.max_bytes:
            raise zipfile.BadZipFile("its directory is too large")
        return self.stream.read(size)


def read_members(stream: BinaryIO) -> dict[str, bytes]:
    """Return the bytes of each array in a stream that `numpy.savez` has written, by name.

    Raises BadZipFile when it is not an archive, and ValueError, with the array's name, when an
    array is not as `numpy.savez` writes it.
    """
    if not stream.seekable():  # such as the pipe of a shell's <(...)
        stream = io.BytesIO(stream.read())
    bounded = _BoundedStream(stream)
    archive = zipfile.ZipFile(bounded)
    bounded.max_bytes = sys.maxsize
    remaining = stream.seek(0, os.SEEK_END)  # bytes; the sizes in the directory may be wrong
    members: dict[str, bytes] = {}
    for member in archive.infolist():
        key, size = member.filename.removesuffix(".npy")[:60], member.file_size
        remaining -= size  # so overlapping members cannot be larger than the file together
        if key in members:
            raise ValueError("two of its members have the same name")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != size:
            raise ValueError(f"array {key} is compressed, but numpy.savez does not compress")
        if remaining < 0:
            raise ValueError(f"array {key} is listed with {size:,} bytes, too many for the file")
        if key == "meta" and size > MAX_META_BYTES:
            raise ValueError(
                f"array {key} has {size:,} bytes, more than the limit of {MAX_META_BYTES:,}"
            )
        members[key] = archive.read(member)
    return members
