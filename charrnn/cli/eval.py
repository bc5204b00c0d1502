"""The command `charrnn eval`: the score of a whole text, as a table or one JSON object."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.terminal import Number, logger, tell
from charrnn.cli.text_options import TextOptions, text_options

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.evaluation.comparison import Comparison
    from charrnn.evaluation.evaluator import Score
    from charrnn.evaluation.scoring_task import Subject
    from charrnn.evaluation.text_scoring import ScoredPiece

RATE = 0.03  # that of `dynamic_evaluation`, which --help must not wait for


@click.command()
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
    if other_path == "-" and "-" in (text.checkpoint_path, text.text_path):
        raise click.UsageError("only one of the checkpoints and the text can come from stdin")
    from charrnn import checkpoint

    with text.open() as subject:
        if other_path is not None:
            _print_comparison(subject, checkpoint.load(other_path), as_json)
        elif dynamic:
            _print_dynamic(subject, rate or RATE, as_json)
        else:
            _print_total(subject, as_json)


def _print_total(subject: Subject, as_json: bool) -> None:
    """The score of the whole text."""
    score = subject.total(subject.scored(subject.text()))
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


def _print_dynamic(subject: Subject, rate: float, as_json: bool) -> None:
    """The score by the weights as they are, and by weights that follow the text (dynamic)."""
    import dataclasses

    from charrnn.evaluation.dynamic_evaluation import AdaptiveEvaluator, windows

    follower = AdaptiveEvaluator(subject.loaded.model, subject.loaded.params, rate)
    text = subject.text()
    if subject.settings.mode == "stream":
        text = windows(text)
    one, two = itertools.tee(text)
    pairs = zip(subject.scored(one), subject.scored(two, evaluator=follower), strict=True)
    dynamic_nats = [0.0]
    static = subject.total(_static_of(pairs, dynamic_nats))
    dynamic = dataclasses.replace(static, total_nats=dynamic_nats[0])
    if as_json:
        facts = {"text": subject.name, "rate": rate}
        facts |= {"static": _figures(static), "dynamic": _figures(dynamic)}
        tell(json.dumps(facts))
    else:
        tell(_table(subject.name, [static, dynamic], ("static", "dynamic")))


def _static_of(
    pairs: Iterable[tuple[ScoredPiece, ScoredPiece]], dynamic_nats: list[float]
) -> Iterator[ScoredPiece]:
    """The first of each pair, while the nats of the second are added up."""
    import numpy as np

    for static, dynamic in pairs:
        dynamic_nats[0] += float(np.nansum(dynamic.nats))
        yield static


def _print_comparison(subject: Subject, other: Checkpoint, as_json: bool) -> None:
    """The scores of two models, and the difference with its interval."""
    from charrnn.evaluation.comparison import compare

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
        subject.window,
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
    from charrnn.evaluation.comparison import BLOCK

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
