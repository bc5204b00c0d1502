"""Writes one web page with the network inside, which writes and reads text in any browser.

The page is a single file, and its content security policy forbids requests. It has the weights, the
vocabulary and the text, but no number about a character: the scripts compute these. Everything from
the text is data: JSON in which no character can end the script block.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import os
from collections.abc import Iterable
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.arrays import Floats
from charrnn.data.characters import MARKS, escape_unprintable
from charrnn.data.vocabulary import code_points
from charrnn.errors import CheckpointError
from charrnn.evaluation.evaluator import Evaluator, Score
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.nn.parameters import Params
from charrnn.streams import display_name
from charrnn.web.inspection import activations
from charrnn.web.unit_features import most_correlated

logger = logging.getLogger("charrnn")

MAX_PAGE_MB = 30  # a phone loads this in a few seconds
MAX_CHARS = 200_000  # of the text in the page; all of it is scored
RANKED_CHARS = 20_000  # of the text by which the hidden units are ranked
UNITS_PER_FEATURE = 5  # that follow it most closely
FLOAT16_NATS = 0.001  # per character: float16 is the default where the loss changes by less

ENGINE = ("network.js", "sampling.js", "scoring.js")  # runs in the page and in its worker
SCRIPT = ("page.js", "write.js", "type.js", "read.js", "learn.js")
# Characters that can end a script block or a line of JavaScript, and their escapes in JSON.
JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def make_page(task: ScoringTask, checkpoint_path: str, dtype: str | None = None) -> str:
    """Return the page of a model and a text, with weights of this dtype.

    `dtype` is float16 or float32; None is float16 where the loss on the text changes by less than
    `FLOAT16_NATS`. Logs a notice if the page has only the beginning of the text. Raises
    CheckpointError if the weights are too many or too large, VocabError and CorpusError.
    """
    params = task.loaded.params
    fits_half = abs(params.flat).max() <= np.finfo(np.float16).max
    if dtype == "float16" and not fits_half:
        raise CheckpointError("float16 cannot hold the weights", "Use --dtype float32")
    dtype = dtype if fits_half else "float32"
    _check_size(params, dtype or "float16")
    text, dtype, score = _score(task, dtype)
    _check_size(params, dtype)
    if len(text) > MAX_CHARS:
        part = f"first {MAX_CHARS:,} of {len(text):,} characters"
        logger.info(f"the page has the {part}; the score is that of the whole text")
    return render(task, checkpoint_path, text[:MAX_CHARS], dtype, score)


def _check_size(params: Params, dtype: str) -> None:
    """Raise CheckpointError if a page with these weights would be too large."""
    megabytes = params.flat.size * np.dtype(dtype).itemsize * 4 / 3e6  # in base 64
    if megabytes > MAX_PAGE_MB:
        fits_half = dtype == "float32" and megabytes <= 2 * MAX_PAGE_MB
        raise CheckpointError(
            f"the model is too large for a page: its {params.flat.size:,} weights take "
            f"{megabytes:.0f} MB in {dtype}, and a page has at most {MAX_PAGE_MB} MB",
            "Use --dtype float16" if fits_half else "Train a model with a smaller model.hidden",
        )


def _score(task: ScoringTask, dtype: str | None) -> tuple[str, str, Score]:
    """Return the text, the dtype, and the score of the text with weights of this dtype."""
    model, params, pieces = task.loaded.model, task.loaded.params, [*task.text()]
    evaluators = {}  # all are registered at the pool before its workers start
    for name in (dtype,) if dtype else ("float16", "float32"):
        rounded = params.copy()
        rounded.flat[:] = params.flat.astype(name)
        evaluators[name] = Evaluator(model, rounded, task.evaluator.pool)
    scores = {
        name: task.total_score(task.score_pieces(pieces, evaluator=evaluator))
        for name, evaluator in evaluators.items()
    }
    if dtype is None:
        change = abs(scores["float16"].nats - scores["float32"].nats)
        dtype = "float16" if change < FLOAT16_NATS else "float32"
    return "".join(pieces), dtype, scores[dtype]


def render(task: ScoringTask, checkpoint_path: str, text: str, dtype: str, score: Score) -> str:
    """Return the page of a model, with the beginning of a text and the score of all of it."""
    settings = task.loaded.config.model
    style, engine, script = map(_resources, [("page.css",), ENGINE, SCRIPT])
    return Template(_resources(["page.html"])).substitute(
        policy=(
            f"default-src 'none'; style-src '{_hash(style)}'; worker-src blob:; "
            f"script-src '{_hash(engine)}' '{_hash(script)}'; base-uri 'none'; form-action 'none'"
        ),
        version=__version__,
        title=_escape(display_name(checkpoint_path)),
        model=f"{settings.cell} of {settings.layers} x {settings.hidden} hidden units, "
        f"{task.loaded.params.flat.size:,} parameters, {len(task.loaded.vocab):,} characters",
        bits=f"{score.bits:.4f}",
        text=_escape(_text_name(task)),
        score=f"perplexity {score.perplexity:.3f}, {score.chars:,} characters scored"
        + (f", {score.unknown:,} unknown" if score.unknown else ""),
        style=style,
        engine=engine,
        script=script,
        data=json.dumps(_data(task, text, dtype)).translate(JSON_ESCAPES),
    )


def _text_name(task: ScoringTask) -> str:
    """Return the name of the text; of the validation part, with that of the corpus."""
    if not task.is_validation_part:
        return task.name
    first, *others = task.settings.path
    more = f" and {len(others):,} more" if others else ""
    return f"{task.name} of {os.path.basename(first)}{more}"


def _escape(name: str) -> str:
    """Return the name of a file as HTML, with marks and escapes for invisible characters."""
    return html.escape("".join(MARKS.get(char) or escape_unprintable(char) for char in name))


def _data(task: ScoringTask, text: str, dtype: str) -> dict[str, Any]:
    """Return what the scripts need. Arrays are in base 64, little-endian."""
    loaded, settings, ranked = task.loaded, task.loaded.config.model, text[:RANKED_CHARS]
    starts, H = loaded.starts, settings.hidden
    pairs = most_correlated(activations(task, ranked), ranked, UNITS_PER_FEATURE)
    return {
        **{"cell": settings.cell, "L": settings.layers, "H": H, "V": len(loaded.vocab)},
        "dtype": dtype,
        "weights": _pack(loaded.params.flat, dtype),
        "startStates": _pack(starts.state.transpose(2, 0, 1, 3), dtype) if starts else "",
        "startIds": starts.ids.tolist() if starts else [],
        "codePoints": code_points(loaded.vocab.chars).tolist(),
        "lines": task.settings.mode == "lines",
        "lowercase": task.settings.lowercase,
        "window": task.window,
        "text": text,
        "units": [
            {"layer": unit // H, "unit": unit % H, "feature": feature, "correlation": round(r, 4)}
            for unit, feature, r in pairs
        ],
    }


def _pack(values: Floats, dtype: str) -> str:
    """Return the bytes of the values in base 64."""
    little_endian = values.astype(np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(little_endian.tobytes()).decode("ascii")


def _resources(names: Iterable[str]) -> str:
    """Return the text of files of this package, one after another."""
    folder = resources.files("charrnn.web")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _hash(content: str) -> str:
    """Return the hash by which a policy allows a block (https://www.w3.org/TR/CSP3/)."""
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
    return f"sha256-{digest}"
