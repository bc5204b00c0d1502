"""The command `charrnn eval`: its options, and how scores are printed."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.terminal import Number, logger, quiet_option, write_pieces, writer

if TYPE_CHECKING:
    from charrnn.evaluation.line_scores import Char, Line
    from charrnn.evaluation.scoring_task import Subject

ADAPT_RATE = 0.03  # that of `dynamic_evaluation`, which --help must not wait for

# Options that each print something else, and the pairs of them that go together.
VIEWS = ("per", "above", "below", "color", "adapt", "compare", "html", "window")
TOGETHER = {("per", "above"), ("per", "below"), ("above", "below"), ("per", "window")}
TOGETHER |= {("above", "window"), ("below", "window"), ("color", "window")}


class Rate(Number):
    """A number, which is not TEXT."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises BadParameter that tells where TEXT goes."""
        try:
            float(value)
        except ValueError:
            self.fail(f"{value!r} is not a rate. TEXT goes before --adapt.", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT")
@click.argument("text_path", metavar="[TEXT]", required=False)
@click.option(
    "--per",
    type=click.Choice(["line", "char"]),
    help="A row for each: `bits_per_char bits chars unknown line`, or `char bits rank "
    "entropy_bits likeliest`, tab-separated, as the text arrives.",
)
@click.option(
    "--above",
    type=Number(0),
    metavar="BITS",
    help="Print only the lines with more bits per character; exit code 1 if there are none.",
)
@click.option(
    "--below", type=Number(0), metavar="BITS", help="The same with fewer; both make a band."
)
@click.option(
    "--percentile",
    is_flag=True,
    help="BITS are percentiles, 0 to 100, of the validation lines of the model's own corpus.",
)
@click.option(
    "--color",
    is_flag=True,
    help="Shade each character by its bits, if stdout is a terminal and NO_COLOR is not set.",
)
@click.option(
    "--adapt",
    type=Rate(0, min_open=True),
    is_flag=False,
    flag_value=ADAPT_RATE,
    metavar="[RATE]",
    help="Score also with weights that learn from the text as they go, at this rate of the "
    f"gradient of nats per character. Give it after TEXT.  [default RATE: {ADAPT_RATE:g}]",
)
@click.option(
    "--compare",
    "other_path",
    metavar="OTHER",
    help="Another checkpoint on the same text: the difference in bits per character, with a "
    "95 % interval.",
)
@click.option(
    "--html",
    metavar="PAGE",
    help="Write also a web page (- is stdout, instead of the table): the text shaded by surprisal, "
    "what was expected in place of each character, and the cells that tell most about the text.",
)
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do about characters the model does not know; skip counts them.",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="N",
    help="Score running text in windows of N characters, each from the zero state, as models "
    "without a state are scored.  [default: the state is carried from the first to the last]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes that share lines or windows scored side by side.  [default: by the cores and "
    "the size of the work]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one a row.")
@click.option(
    "--raw",
    is_flag=True,
    help="Write control characters to a terminal as they are, not as escapes such as \\x1b.",
)
@quiet_option
def eval(checkpoint_path: str, text_path: str | None, **options: Any) -> None:
    """Score TEXT with the model in CKPT: nats and bits per character, and perplexity.

    TEXT is a file or - for stdin; without it, the validation part of the corpus that the model
    was trained on is scored. The text is read in pieces, in constant memory. Where the environment
    names a CHARRNN_CHECKPOINT, a single word that is no checkpoint is TEXT.

    \b
    charrnn eval runs/dinos.npz
    head -50 data/dinos.txt | charrnn eval runs/dinos.npz - --json
    charrnn eval runs/dinos.npz names.txt --per line | sort -n | tail
    charrnn eval runs/dinos.npz names.txt --above 99 --percentile
    """
    from charrnn import archive  # with zipfile, 7 ms that --help can do without

    in_environment = os.environ.get("CHARRNN_CHECKPOINT")
    is_text = checkpoint_path != in_environment and not archive.is_checkpoint(checkpoint_path)
    if in_environment and text_path is None and is_text:
        checkpoint_path, text_path = in_environment, checkpoint_path
    _check_together(checkpoint_path, text_path, options)
    from charrnn import checkpoint
    from charrnn.evaluation.scoring_task import Subject
    from charrnn.parallel import worker_count

    loaded = checkpoint.load(checkpoint_path)
    if options["window"] and loaded.config.corpus.mode == "lines":
        raise click.UsageError("--window is for running text: each line is scored by itself")
    side_by_side = options["window"] or loaded.config.corpus.mode == "lines"
    workers = options["workers"] or worker_count.for_scoring(loaded.config.model)
    with Subject(
        loaded,
        text_path,
        options["unknown"] == "skip",
        options["window"],
        workers if side_by_side else 1,
    ) as subject:
        _print(subject, options)


def _print(subject: Subject, options: dict[str, Any]) -> None:
    """Print what is asked for."""
    from charrnn import checkpoint
    from charrnn.cli import tables

    if options["other_path"] is not None:
        other = checkpoint.load(options["other_path"])
        tables.print_comparison(subject, other, options["as_json"])
    elif options["adapt"] is not None:
        tables.print_adapted(subject, options["adapt"], options["as_json"])
    elif options["per"] == "char":
        _print_chars(subject, options["as_json"])
    elif options["per"] or options["above"] is not None or options["below"] is not None:
        _print_lines(subject, options)
    elif options["color"]:
        _print_shaded(subject, options["raw"])
    elif options["html"] is not None:
        _write_page(subject, options)
    else:
        tables.print_total(subject, options["as_json"])


def _check_together(checkpoint_path: str, text_path: str | None, options: dict[str, Any]) -> None:
    """UsageError for options that make no sense together."""
    values = {**options, "compare": options["other_path"]}
    given = [view for view in VIEWS if values[view] not in (None, False)]
    shown = {view: f"--{view}" for view in VIEWS} | {"per": f"--per {options['per']}"}
    for pair in itertools.combinations(given, 2):
        if pair not in TOGETHER or (pair[0] == "per" and options["per"] == "char"):
            first, second = (shown[view] for view in pair)
            raise click.UsageError(f"{first} and {second} cannot be used together")
    thresholds = [options[view] for view in ("above", "below") if view in given]
    if options["as_json"] and ("color" in given or (thresholds and "per" not in given)):
        raise click.UsageError(
            "--json and --color cannot be used together"
            if "color" in given
            else f"--json with {shown[given[0]]} needs --per line: without it lines are printed "
            "as they are"
        )
    if options["html"] == "-" and options["as_json"]:
        raise click.UsageError("--json and --html - cannot both be on stdout: name a file")
    if options["html"] is not None and _same_file(options["html"], checkpoint_path, text_path):
        raise click.UsageError(f"--html {options['html']} would replace what is read")
    if options["percentile"]:
        if not thresholds:
            raise click.UsageError("--percentile needs --above or --below")
        if max(thresholds) > 100:
            raise click.UsageError(f"a percentile is 0 to 100, not {max(thresholds):g}")
    if len(thresholds) == 2 and thresholds[0] >= thresholds[1]:
        raise click.UsageError(
            f"nothing is both above {thresholds[0]:g} and below {thresholds[1]:g}"
        )
    if [checkpoint_path, text_path, options["other_path"]].count("-") > 1:
        both = "the checkpoint and the text cannot both"
        both = both if text_path == "-" else "both checkpoints cannot"
        raise click.UsageError(f"{both} come from standard input")


def _same_file(path: str, *others: str | None) -> bool:
    there = [other for other in others if other is not None and os.path.exists(other)]
    return os.path.exists(path) and any(os.path.samefile(path, other) for other in there)


def _write_page(subject: Subject, options: dict[str, Any]) -> None:
    """The page into its file and the score to stdout, or the page alone to stdout."""
    from charrnn.cli import tables
    from charrnn.web import page

    if options["html"] == "-":
        # The page says that it is UTF-8, whatever the terminal's encoding.
        click.echo(page.of(subject).encode(), nl=False)
        return
    score = page.write(subject, options["html"])
    tables.print_score(subject, score, options["as_json"])


def _print_lines(subject: Subject, options: dict[str, Any]) -> None:
    """Rows, or the lines themselves, of the lines within the thresholds. Exit code 1 if none."""
    from charrnn.evaluation import line_scores

    least, most = (_threshold(subject, options, side) for side in ("above", "below"))
    filtering = least is not None or most is not None
    text, write, matched = subject.text(), writer(options["raw"]), False
    originals = text if isinstance(text, line_scores.Folded) else None
    for lines in line_scores.lines(subject.scored(text), originals):
        kept = [
            line
            for line in lines
            if (least is None or line.bits_per_char > least)
            and (most is None or line.bits_per_char < most)
        ]
        if kept:
            matched = True
            if options["per"]:
                write("".join(_line_row(line, options["as_json"]) for line in kept))
            else:
                write("".join(line.text + "\n" for line in kept))
    if filtering and not matched:
        raise click.exceptions.Exit(1)


def _threshold(subject: Subject, options: dict[str, Any], side: str) -> float | None:
    """Bits per character, where need be those of a percentile, which is then told."""
    from charrnn.evaluation import line_scores

    number = options[side]
    if number is None or not options["percentile"]:
        return float(number) if number is not None else None
    bits, count = line_scores.percentile(subject.evaluator, subject.corpus(), number)
    logger.info(
        f"{side} {bits:.4f} bits per character: percentile {number:g} of {count:,} validation lines"
    )
    return bits


def _line_row(line: Line, as_json: bool) -> str:
    if not as_json:
        figures = (f"{line.bits_per_char:.4f}", f"{line.bits:.4f}", line.chars, line.unknown)
        return "\t".join(map(str, (*figures, line.text))) + "\n"
    facts = {
        "bits_per_char": line.bits_per_char if math.isfinite(line.bits_per_char) else None,
        "bits": line.bits,
        "chars": line.chars,
        "unknown": line.unknown,
        "line": line.text,
    }
    return json.dumps(facts) + "\n"


def _print_chars(subject: Subject, as_json: bool) -> None:
    from charrnn.evaluation import line_scores
    from charrnn.evaluation.evaluator import PREDICTION

    write = writer()
    for chars in line_scores.chars(
        subject.scored(subject.text(), PREDICTION), subject.loaded.vocab
    ):
        if chars:
            write("".join(_char_row(char, as_json) for char in chars))


def _char_row(char: Char, as_json: bool) -> str:
    if as_json:
        return json.dumps(char._asdict()) + "\n"
    figures = (f"{char.bits:.4f}", char.rank, f"{char.entropy_bits:.4f}")
    shown, likeliest = (
        json.dumps(c, ensure_ascii=not c.isprintable()) for c in (char.char, char.likeliest)
    )
    return "\t".join(map(str, (shown, *figures, likeliest))) + "\n"


def _print_shaded(subject: Subject, raw: bool) -> None:
    """The text in colour, or plain where colour is not wanted."""
    from charrnn.cli import shade
    from charrnn.evaluation.line_scores import LN2

    write = writer(raw)
    if not shade.wanted(sys.stdout.isatty(), os.environ):
        write_pieces(write, subject.pieces(), ended=not raw)
        return
    write = writer(raw=True)  # the colours; what the text has of such is escaped by `shaded`
    write(shade.legend())
    shaded = (
        shade.shaded(scored.text, scored.nats / LN2, raw)
        for scored in subject.scored(subject.text())
    )
    write_pieces(write, shaded, ended=not raw)
