"""Fetches a corpus that is not there yet, and lets nothing but the right bytes take its place."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from charrnn import __version__
from charrnn.errors import CorpusError

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30


def fetch(url: str, path: str, sha256: str | None, quiet: bool = False) -> None:
    """Download `url` to `path` by way of a temporary file beside it.

    Raises CorpusError when it cannot be had or is not what `sha256` promises; `path` is then
    untouched.
    """
    target = Path(path)
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
        with os.fdopen(descriptor, "wb") as stream:
            digest = _copy(url, stream, quiet)
            stream.flush()
            os.fsync(stream.fileno())
        if sha256 is not None and digest != sha256:
            raise CorpusError(
                f"{url} has sha256 {digest}, but corpus.sha256 asks for {sha256}: "
                "it is not the text the config means, and was not kept"
            )
        os.chmod(part, 0o644)
        os.replace(part, target)
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CorpusError(
            f"{path} is missing and could not be fetched ({reason}). "
            f"Fetch it from {url} and put it at {path}"
        ) from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)


def _copy(url: str, stream: object, quiet: bool) -> str:
    """Write what `url` gives to the stream; its sha256."""
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": f"charrnn/{__version__}"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        promised = response.headers.get("Content-Length")
        total = int(promised) if promised and promised.isdigit() else None
        with tqdm(
            desc=f"fetching {url}", total=total, unit="B", unit_scale=True, disable=quiet or None
        ) as bar:
            received = 0
            while chunk := response.read(CHUNK_BYTES):
                stream.write(chunk)  # type: ignore[attr-defined]
                digest.update(chunk)
                received += len(chunk)
                bar.update(len(chunk))
    if total is not None and received < total:
        raise OSError(f"only {received:,} of {total:,} bytes came")
    return digest.hexdigest()
