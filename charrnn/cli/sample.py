"""The command `charrnn sample`: its options, and how texts are written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli.terminal import Number, logger, quiet_option, write
from charrnn.errors import CharrnnError, VocabError

if TYPE_CHECKING:
    from charrnn.api import TextModel
    from charrnn.sampling.sampler import GeneratedText

DEFAULT_RECORDS = 5  # for each temperature of a range
TEMPERATURES = 6  # in a range


class Options(NamedTuple):
    """The options of the command, as Click has read them."""

    chars: int | None
    lines: int | None
    count: int | None  # type: ignore[assignment]  # hides the method of tuples
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
    seed: int | None
    raw: bool


def _temperatures(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """One temperature, or six at equal distances."""
    first, _, last = value.partition(":")
    try:
        low, high = float(first), float(last or first)
    except ValueError:
        low = high = math.nan
    if not (0 <= low < math.inf and 0 <= high < math.inf):
        raise click.BadParameter(
            f"{value!r} is neither a number, 0 or more, nor a range such as 0.2:1.2"
        )
    step = (high - low) / (TEMPERATURES - 1)
    return tuple(round(low + k * step, 6) for k in range(TEMPERATURES)) if last else (low,)


@click.command(short_help="Write new text with a model, character by character.")
@click.argument("checkpoint_path", metavar="CKPT", envvar="CHARRNN_CHECKPOINT")
@click.option(
    "-n",
    "--n",
    "chars",
    type=click.IntRange(-1),
    metavar="N",
    help="Characters to generate, neither the prime nor the newline that ends the output counted; "
    "-1 sets no limit.  "
    "[default: 500, or no limit where something else ends a text]",
)
@click.option(
    "--lines",
    type=click.IntRange(1),
    metavar="K",
    help="Stop after K whole lines; from a model of lines, K records.",
)
@click.option("--count", type=click.IntRange(1), metavar="K", help="K independent texts.")
@click.option("--max-lines", type=click.IntRange(1), metavar="L", help="End a text after L lines.")
@click.option("--stop", metavar="TEXT", help="End a text when TEXT has appeared in it.")
@click.option("-0", "--null", is_flag=True, help="Put a NUL after each text instead of a newline.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object a text: text, log-probability in nats, bits per character, seed.",
)
@click.option(
    "--match",
    metavar="REGEX",
    help="Only records in which grep would find this: ^ is their beginning, $ their end.",
)
@click.option("--unique", is_flag=True, help="No record twice.")
@click.option("--novel", is_flag=True, help="No record that stands in the training corpus.")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    metavar="A",
    help="Records tried at most for --match, --unique, --novel.  [default: 10,000 + 1,000 K]",
)
@click.option(
    "--temperature",
    "temperatures",
    callback=_temperatures,
    default="1.0",
    metavar="T|A:B",
    help="Below 1 is safer, above 1 is wilder, 0 always takes the likeliest character; a range "
    "writes a text for each of six temperatures.",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Draw among the K likeliest.")
@click.option(
    "--top-p",
    type=Number(0, 1, min_open=True),
    default=1.0,
    help="Draw among the likeliest characters that make up this probability.",
)
@click.option("--prime", metavar="TEXT", help="Text to begin with; records each begin with it.")
@click.option("--prime-file", metavar="FILE", help="The same from a file, or - for stdin.")
@click.option(
    "--seed", type=click.IntRange(0), help="Repeats a text.  [default: random, and named]"
)
@click.option(
    "--raw",
    is_flag=True,
    help="Write control characters to a terminal as they are, not as escapes such as \\x1b, and no "
    "newline behind a text that ends without one.",
)
@quiet_option
def sample(checkpoint_path: str, **options: Any) -> None:
    """Write new text with the model in CKPT (- is stdin), character by character.

    \b
    charrnn sample runs/dinos.npz --n 200
    charrnn sample runs/dinos.npz --lines 10 --prime ty --temperature 0.7
    charrnn sample runs/dinos.npz --lines 10 --match '^tri.*tops$' --unique --novel
    charrnn sample runs/dinos.npz --n -1 | head -c 1000
    """
    asked = Options(**options)
    for names, both in (
        ("--prime and --prime-file", asked.prime and asked.prime_file),
        ("--count and --lines", asked.count and asked.lines),
        ("--null and --json", asked.null and asked.as_json),
    ):
        if both:
            raise click.UsageError(f"{names} cannot be used together")
    from charrnn import api, rng
    from charrnn.data.reader import open_text

    model = api.load(checkpoint_path)
    if "\n" not in model.vocab and (asked.lines or asked.max_lines):
        raise VocabError("the model has never seen a newline, so no line would end", "Use --n N")
    if asked.prime_file is not None:
        reader = open_text(asked.prime_file)
        with reader.stream:
            prime = "".join(reader)  # with the newline that an editor left at its end
        asked = asked._replace(prime=prime)
    if asked.seed is None:
        asked = asked._replace(seed=rng.random_seed())
        logger.info(f"seed {asked.seed}")
    for temperature in asked.temperatures:
        if len(asked.temperatures) > 1 and not asked.as_json:
            write(f"--- temperature {temperature:g}\n")
        _write_at(temperature, model, asked)


def _write_at(temperature: float, model: TextModel, asked: Options) -> None:
    """Write what is asked for at one temperature."""
    from charrnn.api import DEFAULT_CHARS

    of_lines, several = model.mode == "lines", len(asked.temperatures) > 1
    choosing = asked.match is not None or asked.unique or asked.novel
    count = asked.count or (asked.lines if of_lines else None)
    if of_lines and several and asked.chars is None:
        count = count or DEFAULT_RECORDS
    lines = asked.max_lines or (None if of_lines else asked.lines)
    separate = count or choosing or asked.null or asked.as_json
    ends = lines or asked.stop or (separate and of_lines)
    chars = DEFAULT_CHARS if asked.chars is None and not ends else asked.chars
    if chars == -1:
        chars = None
        if separate and not ends:
            raise click.UsageError("with --n -1 a text never ends, so no other would follow")
    limits: dict[str, Any] = {"chars": chars, "lines": lines, "stop": asked.stop or ""}
    manner = {name: getattr(asked, name) for name in ("seed", "top_k", "top_p")}
    manner |= {"prime": asked.prime or "", "temperature": temperature}
    if choosing:
        choice = {name: getattr(asked, name) for name in ("match", "unique", "novel", "attempts")}
        selection = model.select(count or 1, chars=chars, **choice, **manner)
        _write_texts(selection, temperature, asked)
        logger.info(selection.summary())
        if not selection.kept:
            raise CharrnnError("no record passed", "Try a higher --temperature or more --attempts")
    elif separate:
        texts = model.texts(count or 1, **limits, scored=asked.as_json, **manner)
        _write_texts(texts, temperature, asked)
    else:
        last = "\n"
        for char in model.sample(**limits, **manner):
            write(char, asked.raw)
            last = char
        if last != "\n" and (several or not asked.raw):
            write("\n")  # a prompt, and the next command of a pipe, begin on a line of their own


def _write_texts(texts: Iterable[GeneratedText], temperature: float, asked: Options) -> None:
    """Write finished texts, each with its separator or as a JSON object."""
    for text in texts:
        if asked.as_json:
            facts = {
                "text": text.text,
                "log_probability": -text.nats,
                "bits_per_char": text.bits_per_char,
                "chars": text.chars,
                "temperature": temperature,
                "seed": asked.seed,
                "number": text.number,
            }
            row = json.dumps(facts) + "\n"
        elif asked.null:
            row = text.text + "\0"
        else:
            row = text.text.removesuffix("\n") + "\n"
        write(row, asked.raw)
