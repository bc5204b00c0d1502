"""Fetches a missing corpus over http or https and checks its checksum.

A redirect may lead to http or https, but not from https to http. The download is written under a
temporary name, and renamed when it is complete and its checksum is right.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from charrnn import __version__
from charrnn.atomic import replace_file
from charrnn.bar import Bar
from charrnn.config.schema import CorpusConfig
from charrnn.errors import CorpusError

logger = logging.getLogger("charrnn")

CHUNK_BYTES = 1 << 16
TIMEOUT_S = 30
MAX_BYTES = 4 << 30  # much larger than the texts that character-level models are trained on


def fetch(url: str, path: str, sha256: str | None) -> None:
    """Download `url` to `path` through a temporary file in the same folder.

    Create the folder if it is missing. Raise CorpusError, and leave `path` as it was, if the
    download fails or its checksum is not `sha256`. If `sha256` is None, log the checksum.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as stream:
            digest = _download(url, stream)
            if sha256 is not None and digest != sha256:
                raise CorpusError(
                    f"{url} has sha256 {digest}, but corpus.sha256 is {sha256}: "
                    "this is not the text of the config, so it is not saved"
                )
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # closes the connection
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CorpusError(
            f"{path} is missing and could not be fetched ({reason}). "
            f"Fetch it from {url} and put it at {path}"
        ) from None
    if sha256 is None:
        logger.info(
            f"{path} was fetched and not checked, because the config has no corpus.sha256. "
            f"If it is the right text, add this line under `corpus:`: sha256: {digest}"
        )


def fetch_missing(settings: CorpusConfig) -> None:
    """Download the text of a config if it is a single missing file and the config has a URL."""
    (path, *more), url = settings.path, settings.url
    if url is not None and not more and path != "-" and not os.path.exists(path):
        fetch(url, path, settings.sha256)


def check_download_allowed(settings: CorpusConfig, source: str) -> None:
    """Raise CorpusError for a missing text whose path comes from `source`, a checkpoint.

    A checkpoint may come from an attacker, so it must not choose where a file is written.
    """
    missing = [path for path in settings.path if path != "-" and not os.path.exists(path)]
    if settings.url is not None and missing:
        raise CorpusError(
            f"{missing[0]} is missing, and is not fetched to a path that only {source} names",
            f"Name the text with --corpus FILE, or fetch it from {settings.url}",
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A redirect handler that follows to https, and from http also to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, *args: Any
    ) -> urllib.request.Request | None:
        """Return the redirected request. Raise HTTPError if its scheme is refused."""
        _, headers, url = args
        if urlsplit(url).scheme not in ("https", req.type):  # req.type is http or https
            reason = f"it redirects to {url}, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, *args)


def _download(url: str, stream: BinaryIO) -> str:
    """Write the response of `url` to the stream and return its SHA-256."""
    request = urllib.request.Request(url, headers={"User-Agent": f"charrnn/{__version__}"})
    if request.type not in ("http", "https"):
        raise ValueError(f"unknown url type: {request.type}")
    digest, received = hashlib.sha256(), 0
    with urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S) as response:
        total = response.length  # bytes, or None if the server does not send it
        with Bar.for_bytes(f"fetching {url}", total) as bar:
            while chunk := response.read(CHUNK_BYTES):
                received += len(chunk)
                if max(received, total or 0) > MAX_BYTES:
                    raise OSError(f"it has over {MAX_BYTES:,} bytes")
                stream.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    if total is not None and received < total:
        raise OSError(f"only {received:,} of {total:,} bytes arrived")
    return digest.hexdigest()
