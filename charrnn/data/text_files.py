"""Decides whether an input is a config or a text, and lists the text files of folders.

An ending decides where it can: `.yaml` and `.yml` are configs. Otherwise the content does.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from charrnn.config import loader
from charrnn.data.text_profile import check_text, detect_encoding
from charrnn.errors import CorpusError

logger = logging.getLogger("charrnn")

BINARY_BYTES = 8_192  # a NUL in the first bytes of a file: not a text, and not read further


def is_config(path: str) -> bool:
    """Return whether this is a config: by its ending, otherwise by its content.

    Stdin (`-`) and pipes, which can be read only once, are configs.
    """
    if path == "-" or path.lower().endswith((".yaml", ".yml")):
        return True
    if not os.path.isfile(path):
        return os.path.exists(path) and not os.path.isdir(path)
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return loader.is_config(stream.read(loader.MAX_CONFIG_BYTES + 1))
    return False


def list_texts(paths: Sequence[str]) -> list[str]:
    """Return these paths, with the text files of a folder in its place, and log those it skips.

    Raise CorpusError for a folder without texts.
    """
    texts: list[str] = []
    for path in paths:
        texts += _list_folder(path) if os.path.isdir(path) else [path]
    return [*dict.fromkeys(texts)]


def base_name(path: str) -> str:
    """Return the name of a text without its ending, or that of a folder, to name files after.

    >>> base_name("texts/mine.txt"), base_name("texts.old/"), base_name("-")
    ('mine', 'texts.old', 'charrnn')
    """
    if path == "-":
        return "charrnn"
    absolute = Path(os.path.abspath(path))
    is_folder = path.endswith(os.sep) or absolute.is_dir()
    return (absolute.name if is_folder else absolute.stem) or "charrnn"


def _list_folder(folder: str) -> list[str]:
    """Return the paths of all texts below a folder, sorted, and log the number of skipped files.

    A corpus has one encoding. So where UTF-8 and other texts are mixed, the fewer are skipped.
    """
    encodings = dict(_encodings(folder))
    ascii_texts, utf8_texts, other_texts = (
        [path for path, encoding in encodings.items() if encoding in names]
        for names in (("ascii",), ("utf-8",), ("cp1252", "latin-1"))
    )
    texts = sorted(ascii_texts + max(utf8_texts, other_texts, key=len))
    skipped = len(encodings) - len(texts)
    if not texts:
        raise CorpusError(
            f"{folder} has no text files", "Name a folder that has texts, or the files themselves"
        )
    counts = f"{folder}: {len(texts):,} text files"
    reasons = "hidden, empty, links, of another encoding, not texts, or of a charrnn run"
    logger.info(f"{counts}, {skipped:,} skipped ({reasons})" if skipped else counts)
    return texts


def _encodings(folder: str) -> Iterator[tuple[str, str]]:
    """Yield each file below a folder and its encoding, "" for what is not taken as a text.

    A hidden folder, a link to a folder and a folder that cannot be read count as one file.
    """
    unreadable: list[str] = []
    for root, folders, files in os.walk(folder, onerror=lambda e: unreadable.append(e.filename)):
        for name in list(folders):
            path = os.path.join(root, name)
            if name.startswith(".") or os.path.islink(path):
                folders.remove(name)
                yield path, ""
        for name in files:
            path = os.path.join(root, name)
            hidden = name.startswith(".") or os.path.islink(path) or not os.path.isfile(path)
            yield path, "" if hidden else _text_encoding(path)
    for path in unreadable:
        yield path, ""


def _text_encoding(path: str) -> str:
    """Return the encoding of a text file, or "" if it is not a text or belongs to a run."""
    if path.endswith(".jsonl") and os.path.isfile(f"{path.removesuffix('.jsonl')}.npz"):
        return ""  # the loss curve of a run
    try:
        with open(path, "rb") as stream:
            raw = stream.read(BINARY_BYTES)
            if b"\0" in raw:
                return ""
            raw += stream.read()
        if not raw.strip() or loader.is_config(raw):
            return ""
        encoding = "ascii" if raw.isascii() else detect_encoding(raw)[0]
        text = raw.decode(encoding)
        check_text(text, Counter(text), path, encoding)
    except (OSError, UnicodeError, CorpusError):
        return ""
    return encoding
