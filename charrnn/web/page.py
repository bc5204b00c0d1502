"""Writes one web page about a text: the surprisal of each character, and the hidden units.

The page is a single file. It requests nothing from the network, and its content security policy
forbids requests. Everything from the text is data: JSON in which no character can end the script
block. Characters that are invisible or change the reading direction are shown as escapes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import os
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.arrays import Floats, Ints
from charrnn.data.characters import MARKS, escape_unprintable
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.streams import display_name
from charrnn.web.inspection import MAX_CHARS, Inspection, inspect_text
from charrnn.web.unit_features import UnitFeature, most_correlated

logger = logging.getLogger("charrnn")

MAX_UNITS = 60  # in a page; each takes a byte per character
MAX_UNITS_PER_FEATURE = 12  # without this limit, most units would follow the ends of words
MAX_NAME_CHARS = 60  # of a file in the heading; the end is kept
NOT_READ = -128  # the activation of a character that is not read
MAX_INT8, MAX_UINT16 = 127, 65535

# Characters that can end a script block or a line of JavaScript, and their escapes in JSON.
JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def make_page(task: ScoringTask, checkpoint_path: str) -> str:
    """Return the page about a text and a model. Raises VocabError and CorpusError."""
    return render(task, inspect_text(task, MAX_CHARS), checkpoint_path)


def render(task: ScoringTask, inspection: Inspection, checkpoint_path: str) -> str:
    """Return the page about an inspected text. Logs a notice if it shows only the beginning."""
    model, score, text, notice = task.loaded.model, inspection.score, inspection.text, ""
    pairs = most_correlated(inspection.activations, text, MAX_UNITS, MAX_UNITS_PER_FEATURE)
    unit_count, total = len({pair.unit for pair in pairs}), model.layers * model.hidden
    style, script = (_resource(f"page.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    if len(text) < inspection.length:
        part = f"first {len(text):,} of {inspection.length:,} characters"
        logger.info(f"the page shows the {part}; the score is that of the whole text")
        notice = f'<p class="quiet">The {part} are shown; the score is that of the whole text.</p>'
    return Template(_resource("page.html")).substitute(
        policy=policy,
        version=__version__,
        title=html.escape(_heading(task, checkpoint_path)),
        style=style,
        script=script,
        bits=f"{score.bits:.4f}",
        perplexity=f"{score.perplexity:.3f}",
        chars=f"{score.chars:,}",
        unknown=f", {score.unknown:,} unknown" if score.unknown else "",
        model=f"{task.loaded.config.model.cell} of {model.layers} x {model.hidden} hidden units",
        notice=notice,
        units=f"{unit_count} of {total:,} hidden units, the most correlated first",
        inspection=json.dumps(_data(task, inspection, pairs)).translate(JSON_ESCAPES),
    )


def _heading(task: ScoringTask, checkpoint_path: str) -> str:
    """Return the heading, which names the checkpoint and the text."""
    text = _shorten(task.name)
    if task.is_validation_part:
        first, *others = task.settings.path
        more = f" and {len(others):,} more" if others else ""
        text += f" of {_shorten(os.path.basename(first))}{more}"
    return f"How {_shorten(display_name(checkpoint_path))} predicts {text}"


def _shorten(name: str) -> str:
    """Return the name of a file with marks and escapes; of a long one the end."""
    label = "".join(map(_label, name))
    return label if len(label) <= MAX_NAME_CHARS else "…" + label[1 - MAX_NAME_CHARS :]


def _data(task: ScoringTask, inspection: Inspection, pairs: list[UnitFeature]) -> dict[str, Any]:
    """Return what the script shows. Arrays are in base 64, little-endian."""
    model, vocab = task.loaded.model, task.loaded.vocab
    chars = sorted({*inspection.text, *vocab.decode(np.unique(inspection.likeliest).tolist())})
    index = {char: i for i, char in enumerate(chars)}
    text = np.array([index[char] for char in inspection.text])  # (N,): indices into `chars`
    indices = np.array([index.get(char, 0) for char in vocab.chars])  # (V,): of each id
    scales, quantized = _quantize(inspection.activations[[pair.unit for pair in pairs]])
    return {
        "chars": [_label(char) for char in chars],
        "codePoints": [ord(char) for char in chars],
        "marks": [i for i, char in enumerate(chars) if not char.isprintable()],
        "unknown": np.unique(text[vocab.lookup(inspection.text) == vocab.missing]).tolist(),
        "lines": task.settings.mode == "lines",
        "layers": model.layers,
        "V": model.vocab_size,
        "K": len(inspection.likeliest),
        "text": _pack(text, "<u2"),
        "bits": _pack(inspection.bits, "<f4"),
        "ranks": _pack(inspection.ranks, "<u2"),
        "likeliest": _pack(indices[inspection.likeliest.T], "<u2"),
        "probabilities": _pack(np.rint(inspection.probabilities.T * MAX_UINT16), "<u2"),
        "activations": _pack(quantized, "i1"),
        "units": [
            {
                "layer": 1 + pair.unit // model.hidden,
                "unit": 1 + pair.unit % model.hidden,
                "feature": pair.feature,
                "correlation": round(pair.correlation, 4),
                "scale": round(scale, 4),
            }
            for pair, scale in zip(pairs, scales, strict=True)
        ],
    }


def _quantize(activations: Floats) -> tuple[list[float], Ints]:
    """Return the largest magnitude of each row, and the rows (U, N) in 127ths of it."""
    scales = np.nan_to_num(np.abs(activations)).max(axis=1, initial=0.0)
    fractions = activations / np.where(scales > 0, scales, 1).reshape(-1, 1)
    rounded = np.rint(np.nan_to_num(fractions) * MAX_INT8)
    return scales.tolist(), np.where(np.isnan(fractions), NOT_READ, rounded).astype(np.int8)


def _pack(values: Floats | Ints, dtype: str) -> str:
    """Return the bytes of the values in base 64."""
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


def _label(char: str) -> str:
    """Return the character, or the mark or escape that is shown in its place."""
    return MARKS.get(char) or escape_unprintable(char)


def _resource(name: str) -> str:
    """Return the text of a file of this package."""
    return resources.files("charrnn.web").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Return the hash by which a policy allows a block (https://www.w3.org/TR/CSP3/)."""
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
    return f"sha256-{digest}"
