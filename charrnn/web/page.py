"""One web page about a text: every character's surprise, and the cells that tell most about it.

It is a single file that asks the network for nothing, and its policy forbids it to. What comes
from the text is data: JSON in which nothing can end the block it stands in. Characters that are
not to be seen, or would turn the reading direction, are shown as escapes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.arrays import Floats, Ints
from charrnn.data.characters import escape_unprintable
from charrnn.evaluation.scoring_task import Subject
from charrnn.web.inspection import SHOWN, Reading, read
from charrnn.web.unit_features import Telling, most_telling

logger = logging.getLogger("charrnn")

CELLS = 60  # that are in a page, a byte for each character
OF_A_FEATURE = 12  # at most: most cells of a network tell where its words end
MARKS = {"\n": "↵", "\t": "→"}
UNREAD = -128  # the activation of a character that is not read
MOST_BYTE, MOST_SHORT = 127, 65535

# What ends a script block or a line of JavaScript; JSON knows these characters by number too.
HARMFUL = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def of(subject: Subject) -> str:
    """The page about a text. Raises VocabError and CorpusError."""
    return page(subject, read(subject, SHOWN))


def page(subject: Subject, reading: Reading) -> str:
    """The page about a text that has been read; what is cut off is said in it and logged."""
    model, name = subject.loaded.model, "".join(map(_label, subject.name))
    cells = most_telling(reading.activations, reading.text, CELLS, OF_A_FEATURE)
    different, count = len({telling.cell for telling in cells}), model.layers * model.hidden
    style, script = (_part(f"page.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    score, shown, notice = reading.score, len(reading.text), ""
    if shown < reading.length:
        part = f"first {shown:,} of {reading.length:,} characters"
        logger.info(f"the page shows the {part}; the score is that of the whole text")
        notice = f'<p class="quiet">The {part} are shown; the score is that of the whole text.</p>'
    return Template(_part("page.html")).substitute(
        policy=policy,
        version=__version__,
        title=html.escape(f"What a network makes of {name}"),
        style=style,
        script=script,
        bits=f"{score.bits:.4f}",
        perplexity=f"{score.perplexity:.3f}",
        chars=f"{score.chars:,}",
        unknown=f", {score.unknown:,} unknown" if score.unknown else "",
        model=f"{subject.loaded.config.model.cell} of {model.layers} x {model.hidden} cells",
        notice=notice,
        cells=f"{different} of {count:,} cells, the most telling first",
        reading=json.dumps(_data(subject, reading, cells)).translate(HARMFUL),
    )


def _data(subject: Subject, reading: Reading, cells: list[Telling]) -> dict[str, Any]:
    """What the script shows: lists of numbers in base 64, little-endian."""
    model, vocab = subject.loaded.model, subject.loaded.vocab
    ids = vocab.lookup(reading.text)
    chars = sorted({*reading.text, *vocab.decode(np.unique(reading.likeliest).tolist())})
    place = {char: index for index, char in enumerate(chars)}
    places = np.array([place.get(char, 0) for char in vocab.chars])  # of the ids in `chars`
    most, quantised = _quantised(reading.activations[[telling.cell for telling in cells]])
    return {
        "chars": [_label(char) for char in chars],
        "points": [ord(char) for char in chars],
        "marks": [index for index, char in enumerate(chars) if not char.isprintable()],
        "unknown": sorted({place[reading.text[at]] for at in np.flatnonzero(ids == vocab.missing)}),
        "lines": subject.settings.mode == "lines",
        "layers": model.layers,
        "V": model.vocab_size,
        "K": len(reading.likeliest),
        "text": _packed(np.array([place[char] for char in reading.text]), "<u2"),
        "bits": _packed(reading.bits, "<f4"),
        "ranks": _packed(reading.ranks, "<u2"),
        "likeliest": _packed(places[reading.likeliest.T], "<u2"),
        "probabilities": _packed(np.rint(reading.probabilities.T * MOST_SHORT), "<u2"),
        "activations": _packed(quantised, "i1"),
        "cells": [
            {
                "layer": 1 + telling.cell // model.hidden,
                "unit": 1 + telling.cell % model.hidden,
                "feature": telling.feature,
                "correlation": round(telling.correlation, 4),
                "most": round(scale, 4),
            }
            for telling, scale in zip(cells, most, strict=True)
        ],
    }


def _quantised(activations: Floats) -> tuple[list[float], Ints]:
    """The largest magnitude of each row, and the rows (C, N) as shares of it, of 127."""
    most = np.nan_to_num(np.abs(activations)).max(axis=1, initial=0.0)
    shares = activations / np.where(most > 0, most, 1).reshape(-1, 1)
    rounded = np.where(np.isnan(shares), UNREAD, np.rint(np.nan_to_num(shares) * MOST_BYTE))
    return most.tolist(), rounded.astype(np.int8)


def _packed(values: Floats | Ints, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


def _label(char: str) -> str:
    """The character, or what is shown for it."""
    return MARKS.get(char) or escape_unprintable(char)


def _part(name: str) -> str:
    return resources.files("charrnn.web").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """By which a policy knows a block that may run (https://www.w3.org/TR/CSP3/)."""
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
    return f"sha256-{digest}"
