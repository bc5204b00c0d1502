"""Fetches a corpus that is not there yet, and lets nothing but the right bytes take its place.

Only http and https are spoken, also after a redirect, and from https there is no way back to http.
What arrives is written under another name until all of it is there and its checksum is right.
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
MAX_BYTES = 4 << 30  # far above any text that people train on by characters


def fetch(url: str, path: str, sha256: str | None) -> None:
    """Download `url` to `path` by way of a temporary file beside it.

    Its folder is made. Raises CorpusError when it cannot be had or is not what `sha256` promises;
    `path` is then as it was. Without `sha256` it is told what that would be.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as stream:
            digest = _download(url, stream)
            if sha256 is not None and digest != sha256:
                raise CorpusError(
                    f"{url} has sha256 {digest}, but corpus.sha256 asks for {sha256}: "
                    "it is not the text the config means, and was not kept"
                )
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise CorpusError(
            f"{path} is missing and could not be fetched ({reason}). "
            f"Fetch it from {url} and put it at {path}"
        ) from None
    if sha256 is None:
        logger.info(
            f"{path} was fetched and not checked, because the config has no corpus.sha256. "
            f"If it is the text you mean, put this there: sha256: {digest}"
        )


def fetch_missing(settings: CorpusConfig) -> None:
    """Download the text of a config that is not there, if the config says where from."""
    (first, *others), url = settings.path, settings.url
    if url is not None and not others and first != "-" and not os.path.exists(first):
        fetch(url, first, settings.sha256)


def check_download_allowed(settings: CorpusConfig, source: str) -> None:
    """Raise CorpusError for a missing text whose place `source`, a checkpoint, has chosen.

    Anybody can make a checkpoint, and what it says must not put files anywhere.
    """
    missing = [path for path in settings.path if path != "-" and not os.path.exists(path)]
    if settings.url is not None and missing:
        raise CorpusError(
            f"{missing[0]} is missing, and is not fetched to a place that only {source} names",
            f"Name the text with --corpus FILE, or fetch it from {settings.url}",
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, unless that is one to be wary of."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, *rest: Any
    ) -> urllib.request.Request | None:
        """The request that follows. Raises HTTPError."""
        _, headers, url = rest
        if urlsplit(url).scheme not in ("https", req.type):  # req.type is http or https
            why = f"it sends on to {url}, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, why, headers, fp)
        return super().redirect_request(req, fp, code, *rest)


def _download(url: str, stream: BinaryIO) -> str:
    """Write what `url` gives to the stream; its sha256."""
    request = urllib.request.Request(url, headers={"User-Agent": f"charrnn/{__version__}"})
    if request.type not in ("http", "https"):
        raise ValueError(f"unknown url type: {request.type}")
    digest, received = hashlib.sha256(), 0
    with urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S) as response:
        total = response.length  # None where the server does not tell
        with Bar.for_bytes(f"fetching {url}", total) as bar:
            while chunk := response.read(CHUNK_BYTES):
                received += len(chunk)
                if max(received, total or 0) > MAX_BYTES:
                    raise OSError(f"it has over {MAX_BYTES:,} bytes")
                stream.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    if total is not None and received < total:
        raise OSError(f"only {received:,} of {total:,} bytes came")
    return digest.hexdigest()
