"""The command `charrnn eval`: the score of a whole text, as a table or one JSON object."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.terminal import Number, logger, tell
from charrnn.cli.text_options import TextOptions, text_options

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.evaluation.evaluator import Score
    from charrnn.evaluation.scoring_task import ScoringTask
    from charrnn.evaluation.text_scoring import ScoredPiece

RATE = 0.03  # that of `dynamic_evaluation`, which --help must not wait for


@click.command(short_help="Score a text: nats and bits per character, and perplexity.")
@text_options
@click.option(
    "--dynamic",
    is_flag=True,
    help="Score also with weights that learn from the text as they go (dynamic evaluation).",
)
@click.option(
    "--dynamic-rate",
    "rate",
    type=Number(0, min_open=True),
    metavar="RATE",
    help=f"The same at this rate of the gradient of nats per character.  [default: {RATE:g}]",
)
@click.option(
    "--compare",
    "other_path",
    metavar="OTHER",
    help="Another checkpoint on the same text: the difference in bits per character, with a "
    "95 % interval.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def eval(
    text: TextOptions, dynamic: bool, rate: float | None, other_path: str | None, as_json: bool
) -> None:
    """Score TEXT with the model in CKPT: nats and bits per character, and perplexity.

    TEXT is a file or - for stdin; without it, the validation part of the corpus that the model
    was trained on is scored. The text is read in pieces, in constant memory. Where the environment
    names a CHARRNN_CHECKPOINT, a single word that is no checkpoint is TEXT. `charrnn score` prints
    the score of each line or character.

    \b
    charrnn eval runs/dinos.npz
    head -50 data/dinos.txt | charrnn eval runs/dinos.npz - --json
    charrnn eval runs/dinos.npz names.txt --dynamic
    charrnn eval runs/dinos.npz names.txt --compare runs/other.npz
    """
    dynamic = dynamic or rate is not None
    if dynamic and (other_path is not None or text.window is not None):
        raise click.UsageError(
            "--dynamic learns from the first character to the last: it goes with neither --compare "
            "nor --window"
        )
    from charrnn import checkpoint

    with text.open() as task:
        if other_path is not None:
            report = _comparison(task, checkpoint.load(other_path))
        elif dynamic:
            report = _dynamic(task, rate or RATE)
        else:
            report = Report({"": task.total_score(task.score_pieces(task.text()))}, {}, [])
        tell(_json(task.name, report) if as_json else _table(task.name, report))


class Report(NamedTuple):
    """Scores of one text by their headings, of which a single one has none, and what they tell."""

    scores: dict[str, Score]
    facts: dict[str, Any]  # in JSON
    rows: list[tuple[str, str]]  # of the table: label and value


def _json(name: str, report: Report) -> str:
    """One object; the figures of several scores stand under their headings."""
    figures = {
        heading: {
            "nats_per_char": score.nats,
            "bits_per_char": score.bits,
            "perplexity": score.perplexity,
            "chars": score.chars,
            "unknown": score.unknown,
        }
        for heading, score in report.scores.items()
    }
    return json.dumps({"text": name, **figures.get("", figures), **report.facts})


def _table(name: str, report: Report) -> str:
    """A column for each score, under its heading; what they have in common stands once."""
    scores = [*report.scores.values()]
    rows = [
        ("text", name),
        ("", *report.scores),
        ("nats per character", *(f"{score.nats:.4f}" for score in scores)),
        ("bits per character", *(f"{score.bits:.4f}" for score in scores)),
        ("perplexity", *(f"{score.perplexity:.3f}" for score in scores)),
        ("characters scored", f"{scores[0].chars:,}"),
        ("unknown, left out", f"{scores[0].unknown:,}"),
        *report.rows,
    ]
    lines = [f"{label:<20}" + "".join(f"{v:<10}" for v in values) for label, *values in rows]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _dynamic(task: ScoringTask, rate: float) -> Report:
    """The score by the weights as they are, and by weights that follow the text (dynamic)."""
    import dataclasses

    import numpy as np

    from charrnn.evaluation.dynamic_evaluation import DynamicEvaluator, windows

    follower = DynamicEvaluator(task.loaded.model, task.loaded.params, rate)
    text = windows(task.text()) if task.settings.mode == "stream" else task.text()
    one, two = itertools.tee(text)
    dynamic_nats = 0.0

    def static_pieces() -> Iterator[ScoredPiece]:
        nonlocal dynamic_nats
        both = zip(task.score_pieces(one), task.score_pieces(two, evaluator=follower), strict=True)
        for static, dynamic in both:
            dynamic_nats += float(np.nansum(dynamic.nats))
            yield static

    static = task.total_score(static_pieces())
    dynamic = dataclasses.replace(static, total_nats=dynamic_nats)
    return Report({"static": static, "dynamic": dynamic}, {"rate": rate}, [])


def _comparison(task: ScoringTask, other: Checkpoint) -> Report:
    """The scores of two models, and the difference with its interval."""
    from charrnn.evaluation.comparison import BLOCK, compare

    if task.is_validation_part and _split(task.loaded) != _split(other):
        logger.info(
            "the other model was trained on another text or part of it, and may have seen this "
            "validation part"
        )
    text, skip, workers = task.text(), task.skip_unknown, task.evaluator.pool.workers
    compared = compare(task.loaded, other, text, task.name, skip, workers, task.window)
    unit = "lines" if task.settings.mode == "lines" else f"blocks of {BLOCK} characters"
    interval = f"none: it takes more than one of the {unit}"
    if compared.interval_bits is not None:
        low, high = compared.interval_bits
        interval = f"{low:+.4f} to {high:+.4f}, from {compared.blocks:,} {unit}"
    return Report(
        {"this": compared.this, "other": compared.other},
        {
            "difference_bits_per_char": compared.difference_bits,
            "interval_95": compared.interval_bits,
            "blocks": compared.blocks,
        },
        [
            ("this minus other", f"{compared.difference_bits:+.4f} bits per character"),
            ("95 % interval", interval),
        ],
    )


def _split(loaded: Checkpoint) -> tuple[Any, ...]:
    """What decides which part of which text a model was trained on."""
    settings = loaded.config.corpus
    of_lines = (loaded.config.train.seed, settings.duplicates) if settings.mode == "lines" else ()
    return loaded.corpus_sha256, settings.mode, settings.validation, *of_lines
