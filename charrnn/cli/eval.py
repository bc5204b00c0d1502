"""The command `charrnn eval`: prints the score of a text as a table or a JSON object."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.options import Number, TextOptions, text_options
from charrnn.cli.terminal import logger, print_result

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.evaluation.evaluator import Score
    from charrnn.evaluation.scoring_task import ScoringTask
    from charrnn.evaluation.text_scoring import ScoredPiece

RATE = 0.06  # as in `dynamic_evaluation`, whose import would delay --help


@click.command(short_help="Score a text: nats and bits per character, and perplexity.")
@text_options
@click.option(
    "--dynamic",
    is_flag=True,
    help="Also score with weights that learn from the text as it is read (dynamic evaluation).",
)
@click.option(
    "--dynamic-rate",
    "rate",
    type=Number(0, min_open=True),
    metavar="RATE",
    help=f"--dynamic with this learning rate; the loss is nats per character.  [default: {RATE:g}]",
)
@click.option(
    "--compare",
    "other_path",
    metavar="OTHER",
    help="Also score with checkpoint OTHER; print the difference in bits per character and its "
    "95 % interval.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def eval(
    text: TextOptions, dynamic: bool, rate: float | None, other_path: str | None, as_json: bool
) -> None:
    """Score TEXT with the model in CKPT: nats and bits per character, and perplexity.

    TEXT is a file, or - for stdin. The default is the validation part of the corpus that the model
    was trained on. Running text is scored from the zero state, each line of a list too. The text is
    read in pieces, in constant memory. If CHARRNN_CHECKPOINT is set, a single argument that is not
    a checkpoint is TEXT. `charrnn score` prints the score of each line or character.

    \b
    charrnn eval runs/dinos.npz
    head -50 data/dinos.txt | charrnn eval runs/dinos.npz - --json
    charrnn eval runs/dinos.npz names.txt --dynamic
    charrnn eval runs/dinos.npz names.txt --compare runs/other.npz
    """
    dynamic = dynamic or rate is not None
    if dynamic and (other_path is not None or text.window is not None):
        raise click.UsageError(
            "--dynamic trains on the text in order: it cannot be used with --compare or --window"
        )
    from charrnn import checkpoint

    with text.open() as task:
        if other_path is not None:
            report = _comparison(task, checkpoint.load(other_path))
        elif dynamic:
            report = _dynamic(task, rate or RATE)
        else:
            report = Report({"": task.total_score(task.score_pieces(task.text()))}, {}, [])
        print_result(_json(task.name, report) if as_json else _table(task.name, report))


class Report(NamedTuple):
    """The scores of a text and values computed from them, for JSON and for a table."""

    scores: dict[str, Score]  # by heading; the heading of a single score is ""
    fields: dict[str, Any]  # added to the JSON object
    rows: list[tuple[str, str]]  # added to the table: label and value


def _json(name: str, report: Report) -> str:
    """Return a JSON object; several scores are objects in it, named by their headings."""
    scores = {
        heading: {
            "nats_per_char": score.nats,
            "bits_per_char": score.bits,
            "perplexity": score.perplexity,
            "chars": score.chars,
            "unknown": score.unknown,
        }
        for heading, score in report.scores.items()
    }
    return json.dumps({"text": name, **scores.get("", scores), **report.fields})


def _table(name: str, report: Report) -> str:
    """Return a table with a column for each score; values common to all scores appear once."""
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
    lines = [f"{label:<20}" + "".join(f"{x:<10}" for x in values) for label, *values in rows]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _dynamic(task: ScoringTask, rate: float) -> Report:
    """Return the scores by the constant weights (static) and by weights trained on the text."""
    import dataclasses

    import numpy as np

    from charrnn.evaluation.dynamic_evaluation import DynamicEvaluator, windows

    evaluator = DynamicEvaluator(task.loaded.model, task.loaded.params, rate)
    text = windows(task.text()) if task.settings.mode == "stream" else task.text()
    text, copy = itertools.tee(text)
    dynamic_nats = 0.0

    def static_pieces() -> Iterator[ScoredPiece]:
        """Yield the static pieces and sum up the nats of the dynamic ones."""
        nonlocal dynamic_nats
        scored = task.score_pieces(copy, evaluator=evaluator)
        for static, dynamic in zip(task.score_pieces(text), scored, strict=True):
            dynamic_nats += float(np.nansum(dynamic.nats))
            yield static

    static = task.total_score(static_pieces())
    dynamic = dataclasses.replace(static, total_nats=dynamic_nats)
    return Report({"static": static, "dynamic": dynamic}, {"rate": rate}, [])


def _comparison(task: ScoringTask, other: Checkpoint) -> Report:
    """Return the scores of two models and their difference with its 95 % interval."""
    from charrnn.evaluation.comparison import BLOCK, compare

    if task.is_validation_part and _split(task.loaded) != _split(other):
        logger.info(
            "the other model was trained on another corpus or split, which may contain this "
            "validation part"
        )
    text, skip, workers = task.text(), task.skip_unknown, task.evaluator.pool.workers
    comparison = compare(task.loaded, other, text, task.name, skip, workers, task.window)
    unit = "lines" if task.settings.mode == "lines" else f"blocks of {BLOCK} characters"
    interval = f"none: needs at least two {unit}"
    if comparison.interval_bits is not None:
        low, high = comparison.interval_bits
        interval = f"{low:+.4f} to {high:+.4f}, from {comparison.blocks:,} {unit}"
    return Report(
        {"this": comparison.this, "other": comparison.other},
        {
            "difference_bits_per_char": comparison.difference_bits,
            "interval_95": comparison.interval_bits,
            "blocks": comparison.blocks,
        },
        [
            ("this minus other", f"{comparison.difference_bits:+.4f} bits per character"),
            ("95 % interval", interval),
        ],
    )


def _split(loaded: Checkpoint) -> tuple[Any, ...]:
    """Return the values that determine the training part of a model's corpus."""
    settings = loaded.config.corpus
    shuffle = (loaded.config.train.seed, settings.duplicates) if settings.mode == "lines" else ()
    return loaded.corpus_sha256, settings.mode, settings.validation, *shuffle
