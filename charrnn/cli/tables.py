"""What `eval` prints about a text as a whole: a table, or one JSON object."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.cli.terminal import logger, tell
from charrnn.evaluation.comparison import BLOCK, Comparison, compare
from charrnn.evaluation.dynamic_evaluation import AdaptiveEvaluator, windows
from charrnn.evaluation.evaluator import Score
from charrnn.evaluation.scoring_task import Subject
from charrnn.evaluation.text_scoring import ScoredPiece


def print_total(subject: Subject, as_json: bool) -> None:
    """The score of the whole text."""
    print_score(subject, subject.total(subject.scored(subject.text())), as_json)


def print_score(subject: Subject, score: Score, as_json: bool) -> None:
    """A score, wherever it came from."""
    figures = {"text": subject.name, **_figures(score)}
    tell(json.dumps(figures) if as_json else _table(subject.name, [score]))


def _figures(score: Score) -> dict[str, Any]:
    return {
        "nats_per_char": score.nats,
        "bits_per_char": score.bits,
        "perplexity": score.perplexity,
        "chars": score.chars,
        "unknown": score.unknown,
    }


def _table(name: str, scores: list[Score], heads: tuple[str, ...] = ()) -> str:
    """A column for each score, under its head; what they have in common stands once."""
    columns = [
        ("nats per character", [f"{score.nats:.4f}" for score in scores]),
        ("bits per character", [f"{score.bits:.4f}" for score in scores]),
        ("perplexity", [f"{score.perplexity:.3f}" for score in scores]),
    ]
    rows = [("text", name), *([("", _columns(heads))] if heads else [])]
    rows += [(label, _columns(values)) for label, values in columns]
    rows += [
        ("characters scored", f"{scores[0].chars:,}"),
        ("unknown, left out", f"{scores[0].unknown:,}"),
    ]
    return "\n".join(f"{label:<20}{value}" for label, value in rows)


def _columns(values: Iterable[str]) -> str:
    return "".join(f"{value:<10}" for value in values).rstrip()


def print_adapted(subject: Subject, rate: float, as_json: bool) -> None:
    """The score by the weights as they are, and by weights that follow the text."""
    follower = AdaptiveEvaluator(subject.loaded.model, subject.loaded.params, rate)
    text = subject.text()
    if subject.settings.mode == "stream":
        text = windows(text)
    one, two = itertools.tee(text)
    pairs = zip(subject.scored(one), subject.scored(two, evaluator=follower), strict=True)
    adapted_nats = [0.0]
    static = subject.total(_static_of(pairs, adapted_nats))
    adapted = dataclasses.replace(static, total_nats=adapted_nats[0])
    if as_json:
        facts = {"text": subject.name, "rate": rate}
        facts |= {"static": _figures(static), "adapted": _figures(adapted)}
        tell(json.dumps(facts))
    else:
        tell(_table(subject.name, [static, adapted], ("static", "adapted")))


def _static_of(
    pairs: Iterable[tuple[ScoredPiece, ScoredPiece]], adapted_nats: list[float]
) -> Iterator[ScoredPiece]:
    """The first of each pair, while the nats of the second are added up."""
    for static, adapted in pairs:
        adapted_nats[0] += float(np.nansum(adapted.nats))
        yield static


def print_comparison(subject: Subject, other: Checkpoint, as_json: bool) -> None:
    """The scores of two models, and the difference with its interval."""
    if subject.of_validation and _split(subject.loaded) != _split(other):
        logger.info(
            "the other model was trained on another text or part of it, and may have seen this "
            "validation part"
        )
    found = compare(
        subject.loaded,
        other,
        subject.text(),
        subject.name,
        subject.skip_unknown,
        subject.evaluator.pool.workers,
    )
    if not as_json:
        tell(_comparison_table(subject, found))
        return
    facts = {
        "text": subject.name,
        "this": _figures(found.this),
        "other": _figures(found.other),
        "difference_bits_per_char": found.difference_bits,
        "interval_95": found.interval_bits,
        "blocks": found.blocks,
    }
    tell(json.dumps(facts))


def _split(loaded: Checkpoint) -> tuple[Any, ...]:
    """What decides which part of which text a model was trained on."""
    settings = loaded.config.corpus
    of_lines = (loaded.config.train.seed, settings.copies) if settings.mode == "lines" else ()
    return loaded.corpus_sha256, settings.mode, settings.validation, *of_lines


def _comparison_table(subject: Subject, found: Comparison) -> str:
    unit = "lines" if subject.settings.mode == "lines" else f"blocks of {BLOCK} characters"
    if found.interval_bits is None:
        interval = f"none: it takes more than one of the {unit}"
    else:
        low, high = found.interval_bits
        interval = f"{low:+.4f} to {high:+.4f}, from {found.blocks:,} {unit}"
    rows = [
        ("this minus other", f"{found.difference_bits:+.4f} bits per character"),
        ("95 % interval", interval),
    ]
    table = _table(subject.name, [found.this, found.other], ("this", "other"))
    return "\n".join([table, *(f"{label:<20}{value}" for label, value in rows)])
