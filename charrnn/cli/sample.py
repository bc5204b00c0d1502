"""The command `charrnn sample`: generates texts and writes them to stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.options import Number, checkpoint_argument, quiet_option
from charrnn.cli.terminal import logger, write
from charrnn.errors import CharrnnError, CorpusError, VocabError
from charrnn.streams import display_name

if TYPE_CHECKING:
    from charrnn.api import TextModel
    from charrnn.sampling.sampler import GeneratedText

DEFAULT_RECORDS = 5  # at each temperature of a range
TEMPERATURES = 6  # in a range

FILTERS = ("match", "unique", "novel", "attempts")
NOT_WITH_PRIMES = ("prime", "prime_file", "count", "lines", *FILTERS)
OPTION_GROUPS = {  # heading in --help: names of parameters
    "Length": ("chars", "lines", "count", "max_lines", "stop"),
    "Choice of characters": ("temperatures", "top_k", "top_p"),
    "Filters": FILTERS,
    "Output": ("null", "as_json", "raw"),
    "Other options": (),  # all that are in no other group
}


class Options(NamedTuple):
    """The options of the command, parsed by Click."""

    chars: int | None
    lines: int | None
    count: int | None  # type: ignore[assignment]  # replaces tuple.count
    max_lines: int | None
    stop: str | None
    null: bool
    as_json: bool
    match: str | None
    unique: bool
    novel: bool
    attempts: int | None
    temperatures: tuple[float, ...]
    top_k: int | None
    top_p: float
    prime: str | None
    prime_file: str | None
    primes: str | None
    from_zero: bool
    seed: int | None
    raw: bool


def _temperatures(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Return one temperature, or six evenly spaced ones for a range. Raises BadParameter."""
    first, colon, last = value.partition(":")
    try:
        low, high = float(first), float(last if colon else first)
    except ValueError:
        low = high = math.nan
    if not (0 <= low < math.inf and 0 <= high < math.inf):
        raise click.BadParameter(
            f"{value!r} is neither a number of at least 0 nor a range such as 0.2:1.2"
        )
    step = (high - low) / (TEMPERATURES - 1)
    return tuple(round(low + k * step, 6) for k in range(TEMPERATURES)) if colon else (low,)


class _SampleCommand(click.Command):
    """A command whose help lists the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of options."""
        options = {p.name: p for p in self.get_params(ctx) if isinstance(p, click.Option)}
        for heading, names in OPTION_GROUPS.items():
            records = [options.pop(name).get_help_record(ctx) for name in names or [*options]]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record])


@click.command(
    cls=_SampleCommand, short_help="Write new text with a model, character by character."
)
@checkpoint_argument
@click.option(
    "-n",
    "--n",
    "chars",
    type=click.IntRange(-1),
    metavar="N",
    help="Generate at most N characters, not counting the prime and an added final newline; -1 "
    "sets no limit.  [default: 500, or no limit if another option ends each text]",
)
@click.option(
    "--lines",
    type=click.IntRange(1),
    metavar="K",
    help="Stop after K lines, or after K records of a model of lines.",
)
@click.option("--count", type=click.IntRange(1), metavar="K", help="Write K independent texts.")
@click.option("--max-lines", type=click.IntRange(1), metavar="L", help="End a text after L lines.")
@click.option("--stop", metavar="TEXT", help="End a text after TEXT has appeared in it.")
@click.option("-0", "--null", is_flag=True, help="End each text with a NUL, not with a newline.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write a JSON object per text: text, log-probability in nats, bits per character, seed, "
    "and its prime with --primes.",
)
@click.option(
    "--match",
    metavar="REGEX",
    help="Write only records with a match of REGEX; ^ and $ are the ends of a record.",
)
@click.option("--unique", is_flag=True, help="Write no record twice.")
@click.option("--novel", is_flag=True, help="Write no record of the training corpus.")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    metavar="A",
    help="Try at most A records.  [default: 10,000 + 1,000 for each record requested]",
)
@click.option(
    "--temperature",
    "temperatures",
    callback=_temperatures,
    default="1.0",
    metavar="T|A:B",
    help="Divide the logits by T: below 1 is more predictable, above 1 more varied, 0 takes the "
    "likeliest character. A range A:B writes texts at six temperatures.",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Draw from the K likeliest.")
@click.option(
    "--top-p",
    type=Number(0, 1, min_open=True),
    default=1.0,
    help="Draw from the likeliest characters that together have this probability.",
)
@click.option("--prime", metavar="TEXT", help="Begin each text or record with TEXT.")
@click.option("--prime-file", metavar="FILE", help="Read the prime from FILE, or - for stdin.")
@click.option(
    "--primes",
    metavar="FILE",
    help="Continue each line of FILE, or - for stdin, to the end of the line: a text for each, in "
    "their order. --max-lines sets more lines.",
)
@click.option(
    "--from-zero",
    is_flag=True,
    help="Start running text from the zero state.  [default: from a state after a stretch of the "
    "training text, which the seed chooses]",
)
@click.option(
    "--seed", type=click.IntRange(0), help="Repeat the text of a seed.  [default: random, printed]"
)
@click.option(
    "--raw",
    is_flag=True,
    help="Write control characters to a terminal unchanged, not as escapes such as \\x1b, and no "
    "newline after a text that ends without one.",
)
@quiet_option
def sample(checkpoint_path: str, **arguments: Any) -> None:
    """Write new text with the model in CKPT (- is stdin), character by character.

    \b
    charrnn sample runs/dinos.npz --n 200
    charrnn sample runs/dinos.npz --lines 10 --prime ty --temperature 0.7
    charrnn sample runs/dinos.npz --lines 10 --match '^tri.*tops$' --unique --novel
    charrnn sample runs/dinos.npz --n -1 | head -c 1000
    cut -c -3 names.txt | charrnn sample runs/dinos.npz --primes - --json
    """
    options = Options(**arguments)
    conflicts = {
        "--prime and --prime-file": options.prime and options.prime_file,
        "--count and --lines": options.count and options.lines,
        "--null and --json": options.null and options.as_json,
    }
    for name in NOT_WITH_PRIMES if options.primes is not None else ():
        conflicts[f"--primes and --{name.replace('_', '-')}"] = getattr(options, name)
    for names, conflict in conflicts.items():
        if conflict:
            raise click.UsageError(f"{names} cannot be used together")
    from charrnn import api, rng
    from charrnn.data.reader import read_text

    model = api.load(checkpoint_path)
    if "\n" not in model.vocab and (options.lines or options.max_lines):
        raise VocabError("the vocabulary has no newline, so no line can end", "Use --n N instead")
    if options.prime_file is not None:
        options = options._replace(prime=read_text(options.prime_file))  # a final newline included
    primes = None
    if options.primes is not None:
        text = read_text(options.primes)
        if not text:
            raise CorpusError(
                f"{display_name(options.primes)} is empty", "Write the start of a text on each line"
            )
        primes = text.removesuffix("\n").split("\n")
    if options.seed is None:
        options = options._replace(seed=rng.random_seed())
        logger.info(f"seed {options.seed}")
    sampling = {name: getattr(options, name) for name in ("seed", "top_k", "top_p", "from_zero")}
    for sampling["temperature"] in options.temperatures:
        if primes is not None:
            _continue(primes, model, sampling, options)
        else:
            _generate(model, sampling, options)


def _continue(
    primes: list[str], model: TextModel, sampling: dict[str, Any], options: Options
) -> None:
    """Continue each prime and write the texts.

    Raises UsageError for texts without an end.
    """
    from charrnn.api import DEFAULT_CHARS

    chars = DEFAULT_CHARS if options.chars is None and model.mode != "lines" else options.chars
    if chars == -1:
        chars = None
        if "\n" not in model.vocab and not options.stop:
            raise click.UsageError("with --n -1 no text ends: use --n N or --stop")
    _write_heading(sampling, options)
    texts = model.continuations(
        primes,
        chars=chars,
        lines=options.max_lines or 1,
        stop=options.stop or "",
        scored=options.as_json,
        **sampling,
    )
    _write_texts(texts, sampling, options, primes)


def _generate(model: TextModel, sampling: dict[str, Any], options: Options) -> None:
    """Generate texts and write them.

    Raises UsageError for a first text without an end, CharrnnError when no record passes.
    """
    from charrnn.api import DEFAULT_CHARS

    lines_mode, is_range = model.mode == "lines", len(options.temperatures) > 1
    filtered = options.match is not None or options.unique or options.novel
    count = options.count or (options.lines if lines_mode else None)
    if lines_mode and is_range and options.chars is None:
        count = count or DEFAULT_RECORDS
    lines = options.max_lines or (None if lines_mode else options.lines)
    separate = count or filtered or options.null or options.as_json
    ends = lines or options.stop or (separate and lines_mode)
    chars = DEFAULT_CHARS if options.chars is None and not ends else options.chars
    if chars == -1:
        chars = None
        if (separate or is_range) and not ends:
            raise click.UsageError("with --n -1 no text ends: use --n N, --max-lines or --stop")
    stops: dict[str, Any] = {"chars": chars, "lines": lines, "stop": options.stop or ""}
    sampling = {**sampling, "prime": options.prime or ""}
    _write_heading(sampling, options)
    if filtered:
        filters = {name: getattr(options, name) for name in FILTERS}
        selection = model.select(count or 1, chars=chars, **filters, **sampling)
        _write_texts(selection, sampling, options)
        logger.info(selection.summary())
        if not selection.kept:
            raise CharrnnError("no record passed", "Try a higher --temperature or more --attempts")
    elif separate:
        texts = model.texts(count or 1, **stops, scored=options.as_json, **sampling)
        _write_texts(texts, sampling, options)
    else:
        last = "\n"
        try:
            for char in model.sample(**stops, **sampling):
                write(char, options.raw)
                last = char
        finally:  # also after an error
            if last != "\n" and (is_range or not options.raw):
                write("\n")  # a shell prompt starts on a new line


def _write_heading(sampling: dict[str, Any], options: Options) -> None:
    """Write the temperature above the lines of a range."""
    if len(options.temperatures) > 1 and not (options.as_json or options.null):
        write(f"--- temperature {sampling['temperature']:g}\n")


def _write_texts(
    texts: Iterable[GeneratedText],
    sampling: dict[str, Any],
    options: Options,
    primes: Sequence[str] | None = None,
) -> None:
    """Write complete texts, each with its separator or as a JSON object."""
    for text in texts:
        if options.as_json:
            fields: dict[str, Any] = {} if primes is None else {"prime": primes[text.number]}
            fields |= {
                "text": text.text,
                "log_probability": -text.nats,
                "bits_per_char": text.bits_per_char,
                "chars": text.chars,
                "temperature": sampling["temperature"],
                "seed": sampling["seed"],
                "number": text.number,
            }
            row = json.dumps(fields) + "\n"
        elif options.null:
            row = text.text + "\0"
        else:
            row = text.text.removesuffix("\n") + "\n"
        write(row, options.raw)
