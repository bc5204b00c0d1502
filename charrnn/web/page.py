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
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web.inspection import MAX_CHARS, Inspection, inspect_text
from charrnn.web.unit_features import UnitFeature, most_correlated

logger = logging.getLogger("charrnn")

MAX_UNITS = 60  # that are in a page, a byte for each character
MAX_UNITS_PER_FEATURE = 12  # at most: most cells of a network tell where its words end
MARKS = {"\n": "↵", "\t": "→"}
NOT_READ = -128  # the activation of a character that is not read
MAX_INT8, MAX_UINT16 = 127, 65535

# What ends a script block or a line of JavaScript; JSON knows these characters by number too.
HARMFUL = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def make_page(task: ScoringTask) -> str:
    """The page about a text. Raises VocabError and CorpusError."""
    return render(task, inspect_text(task, MAX_CHARS))


def render(task: ScoringTask, reading: Inspection) -> str:
    """The page about a text that has been read; what is cut off is said in it and logged."""
    model, name = task.loaded.model, "".join(map(_label, task.name))
    cells = most_correlated(reading.activations, reading.text, MAX_UNITS, MAX_UNITS_PER_FEATURE)
    different, count = len({pair.unit for pair in cells}), model.layers * model.hidden
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
        model=f"{task.loaded.config.model.cell} of {model.layers} x {model.hidden} cells",
        notice=notice,
        cells=f"{different} of {count:,} cells, the most pair first",
        reading=json.dumps(_data(task, reading, cells)).translate(HARMFUL),
    )


def _data(task: ScoringTask, reading: Inspection, cells: list[UnitFeature]) -> dict[str, Any]:
    """What the script shows: lists of numbers in base 64, little-endian."""
    model, vocab = task.loaded.model, task.loaded.vocab
    ids = vocab.lookup(reading.text)
    chars = sorted({*reading.text, *vocab.decode(np.unique(reading.likeliest).tolist())})
    place = {char: index for index, char in enumerate(chars)}
    places = np.array([place.get(char, 0) for char in vocab.chars])  # of the ids in `chars`
    most, quantised = _quantised(reading.activations[[pair.unit for pair in cells]])
    return {
        "chars": [_label(char) for char in chars],
        "points": [ord(char) for char in chars],
        "marks": [index for index, char in enumerate(chars) if not char.isprintable()],
        "unknown": sorted({place[reading.text[at]] for at in np.flatnonzero(ids == vocab.missing)}),
        "lines": task.settings.mode == "lines",
        "layers": model.layers,
        "V": model.vocab_size,
        "K": len(reading.likeliest),
        "text": _packed(np.array([place[char] for char in reading.text]), "<u2"),
        "bits": _packed(reading.bits, "<f4"),
        "ranks": _packed(reading.ranks, "<u2"),
        "likeliest": _packed(places[reading.likeliest.T], "<u2"),
        "probabilities": _packed(np.rint(reading.probabilities.T * MAX_UINT16), "<u2"),
        "activations": _packed(quantised, "i1"),
        "cells": [
            {
                "layer": 1 + pair.unit // model.hidden,
                "unit": 1 + pair.unit % model.hidden,
                "feature": pair.feature,
                "correlation": round(pair.correlation, 4),
                "most": round(scale, 4),
            }
            for pair, scale in zip(cells, most, strict=True)
        ],
    }


def _quantised(activations: Floats) -> tuple[list[float], Ints]:
    """The largest magnitude of each row, and the rows (C, N) as shares of it, of 127."""
    most = np.nan_to_num(np.abs(activations)).max(axis=1, initial=0.0)
    shares = activations / np.where(most > 0, most, 1).reshape(-1, 1)
    rounded = np.where(np.isnan(shares), NOT_READ, np.rint(np.nan_to_num(shares) * MAX_INT8))
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
