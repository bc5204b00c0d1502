"""The command `charrnn sample`: its options, and how texts are written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.terminal import Number, Write, logger, quiet_option, write_pieces, writer
from charrnn.errors import CharrnnError, VocabError

if TYPE_CHECKING:
    from charrnn.api import TextModel
    from charrnn.sampling.sampler import Text

DEFAULT_CHARS = 500
DEFAULT_RECORDS = 5  # for each temperature of a range
TEMPERATURES = 6  # in a range


class Temperature(click.ParamType):  # type: ignore[type-arg]  # generic from Click 8.4 on
    """A number, or a range such as 0.2:1.2; always a tuple of temperatures."""

    name = "temperature"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """One temperature, or six at equal distances."""
        if isinstance(value, tuple):
            return value
        try:
            ends = [float(end) for end in str(value).split(":")]
        except ValueError:
            ends = []
        if not 1 <= len(ends) <= 2 or not all(0 <= end < math.inf for end in ends):
            self.fail(f"{value!r} is neither a number, 0 or more, nor a range such as 0.2:1.2")
        if len(ends) == 1:
            return (ends[0],)
        step = (ends[1] - ends[0]) / (TEMPERATURES - 1)
        return tuple(round(ends[0] + k * step, 6) for k in range(TEMPERATURES))


@click.command()
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
@click.option("--stop", default="", metavar="TEXT", help="End a text when TEXT has appeared in it.")
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
    type=Temperature(),
    default="1.0",
    show_default=True,
    metavar="T|A:B",
    help="Below 1 is safer, above 1 is wilder, 0 always takes the likeliest character; a range "
    "writes a text for each of six temperatures.",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Draw among the K likeliest.")
@click.option(
    "--top-p",
    type=Number(0, 1, min_open=True),
    default=1.0,
    show_default=True,
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
    _check_together(checkpoint_path, options)
    from charrnn import api, rng

    model = api.load(checkpoint_path)
    if "\n" not in model.vocab and (options["lines"] or options["max_lines"]):
        raise VocabError("the model has never seen a newline, so no line would end", "Use --n N")
    prime = options["prime"] or ""
    if options["prime_file"] is not None:
        prime = _prime(options["prime_file"])
    seed = options["seed"]
    if seed is None:
        seed = rng.fresh_seed()
        logger.info(f"seed {seed}")
    write, several = writer(options["raw"]), len(options["temperatures"]) > 1
    for temperature in options["temperatures"]:
        if several and not options["as_json"]:
            write(f"--- temperature {temperature:g}\n")
        taste = {
            "seed": seed,
            "prime": prime,
            "temperature": temperature,
            "top_k": options["top_k"],
            "top_p": options["top_p"],
        }
        _write_at(model, taste, options, write)


def _check_together(checkpoint_path: str, options: dict[str, Any]) -> None:
    """UsageError for options that contradict each other."""
    pairs = [("prime", "prime_file"), ("count", "lines"), ("null", "as_json")]
    for one, other in pairs:
        if options[one] not in (None, False) and options[other] not in (None, False):
            names = [name.replace("as_", "").replace("_", "-") for name in (one, other)]
            raise click.UsageError(f"--{names[0]} and --{names[1]} cannot be used together")
    if checkpoint_path == "-" and options["prime_file"] == "-":
        raise click.UsageError("the checkpoint and the prime cannot both come from standard input")


def _prime(path: str) -> str:
    """The text of --prime-file. A newline that an editor left at its end is kept."""
    from charrnn.data.reader import open_text

    reader = open_text(path)
    with reader.stream:
        return "".join(reader)


def _write_at(
    model: TextModel, taste: dict[str, Any], options: dict[str, Any], write: Write
) -> None:
    """Write what is asked for at one temperature."""
    choosing = options["match"] is not None or options["unique"] or options["novel"]
    of_lines = model.mode == "lines"
    several = len(options["temperatures"]) > 1
    wanted = options["count"] or (options["lines"] if of_lines else None)
    if wanted is None and of_lines and several and options["chars"] is None:
        wanted = DEFAULT_RECORDS
    chars = None if options["chars"] == -1 else options["chars"]
    line_limit = options["max_lines"] or (None if of_lines else options["lines"])
    separate = wanted is not None or choosing or options["null"] or options["as_json"]
    ends = line_limit or options["stop"] or (separate and of_lines)
    if options["chars"] is None and not ends:
        chars = DEFAULT_CHARS
    if options["chars"] == -1 and separate and not ends:
        raise click.UsageError("with --n -1 a text never ends, so no other would follow")
    if choosing:
        selection = model.select(
            wanted or 1,
            match=options["match"],
            unique=options["unique"],
            novel=options["novel"],
            attempts=options["attempts"],
            chars=chars,
            **taste,
        )
        _write_texts(selection, taste, options, write)
        logger.info(selection.summary())
        if not selection.kept:
            raise CharrnnError("no record passed", "Try a higher --temperature or more --attempts")
    elif separate:
        texts = model.texts(
            wanted or 1,
            chars=chars,
            lines=line_limit,
            stop=options["stop"],
            scored=options["as_json"],
            **taste,
        )
        _write_texts(texts, taste, options, write)
    else:
        text = model.sample(chars, lines=line_limit, stop=options["stop"], **taste)
        write_pieces(write, text, ended=several or not options["raw"])


def _write_texts(
    texts: Iterable[Text], taste: dict[str, Any], options: dict[str, Any], write: Write
) -> None:
    """Write finished texts, each with its separator or as a JSON object."""
    for text in texts:
        if not options["as_json"]:
            ended = text.text.endswith("\n")
            write(text.text + ("\0" if options["null"] else "" if ended else "\n"))
            continue
        facts = {
            "text": text.text,
            "log_probability": -text.nats,
            "bits_per_char": text.bits_per_char,
            "chars": text.chars,
            "temperature": taste["temperature"],
            "seed": taste["seed"],
            "number": text.number,
        }
        write(json.dumps(facts) + "\n")
