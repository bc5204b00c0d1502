"""A trained model as a Python object: text out, scores out. The command line uses the same calls.

    import charrnn

    model = charrnn.load("runs/dinos.npz")
    print("".join(model.sample(200, seed=1)))
    for text in model.texts(5, prime="ty", temperature=0.7, seed=1):
        print(text.text, text.bits_per_char)
    print(model.score("tyrannosaurus").bits)

Nothing is kept between two calls, so several threads may use one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypedDict

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.data.reader import to_lowercase
from charrnn.errors import ConfigError
from charrnn.rng import random_seed
from charrnn.sampling.record_selection import (
    MAX_RECORD_CHARS,
    Selection,
    compile_pattern,
    literal_prefix,
)
from charrnn.sampling.sampler import GeneratedText, Sampler, SamplingOptions, StopConditions

if TYPE_CHECKING:  # importing what scores would keep the first character waiting
    from typing_extensions import Unpack  # in typing from Python 3.11 on

    from charrnn.evaluation.evaluator import Score

DEFAULT_CHARS = 500  # of a text that nothing else ends


class SamplingKwargs(TypedDict, total=False):
    """Keyword arguments of every method that writes text; all may be left out."""

    seed: int | None  # the same seed gives the same text; None: a fresh one
    prime: str  # the text begins with it; so does every record of a model of lines
    temperature: float  # 1 by default; these three are those of `sampler.SamplingOptions`
    top_k: int | None
    top_p: float


class TextModel:
    """A checkpoint that writes and scores."""

    def __init__(self, loaded: Checkpoint) -> None:
        self.checkpoint = loaded
        self.config = loaded.config
        self.vocab = loaded.vocab
        self.mode = loaded.config.corpus.mode
        self.model = loaded.model
        self.params = loaded.params
        # As the model reads it: in lower case where it was trained so.
        self._fold_case: Callable[[str], str] = (
            to_lowercase if loaded.config.corpus.lowercase else str
        )

    def sample(
        self,
        chars: int | None = DEFAULT_CHARS,
        *,
        lines: int | None = None,
        stop: str = "",
        **kwargs: Unpack[SamplingKwargs],
    ) -> Iterator[str]:
        """One text, character by character: the prime, then at most `chars` drawn ones.

        `chars=None` sets no limit; `lines` ends it after so many newlines, `stop` when that string
        has appeared. `kwargs`: see `SamplingKwargs`. Raises VocabError for a prime with unknown
        characters.
        """
        return self._sampler().stream(*self._request(chars, lines, stop, **kwargs))

    def texts(
        self,
        count: int | None,
        *,
        chars: int | None = None,
        lines: int | None = None,
        stop: str = "",
        scored: bool = True,
        **kwargs: Unpack[SamplingKwargs],
    ) -> Iterator[GeneratedText]:
        """`count` independent texts (None: endlessly many), generated side by side.

        In a model of lines each is one record; otherwise each has at most `chars` characters, 500
        if that is None and nothing else ends it. Text i depends on the seed and i alone. `kwargs`:
        see `SamplingKwargs`. Without `scored` their `nats` are 0.
        """
        if chars is None and self.mode == "stream" and lines is None and not stop:
            chars = DEFAULT_CHARS
        request = self._request(chars, lines, stop, **kwargs)
        return self._sampler().texts(*request, count, scored)

    def select(
        self,
        count: int,
        *,
        match: str | None = None,
        unique: bool = False,
        novel: bool = False,
        attempts: int | None = None,
        chars: int | None = None,
        **kwargs: Unpack[SamplingKwargs],
    ) -> Selection:
        """Return up to `count` records that pass filters: iterate over it, then read its counts.

        `match` is a regular expression that `re.search` must find in a record; `unique` allows no
        repeats, `novel` no record of the training corpus. It gives up after `attempts` records
        (default: 10,000, and 1,000 for each of `count`). `kwargs`: see `SamplingKwargs`. Raises
        CharrnnError for a model that does not write lines, for an invalid expression, and for a
        corpus that cannot be read again; VocabError for a beginning with unknown characters.
        """
        if self.mode != "lines":
            raise ConfigError(
                "the model was trained on running text, so it has no records to choose from: "
                "train with corpus.mode=lines"
            )
        pattern, beginning = compile_pattern(match or ""), literal_prefix(match or "")
        self.vocab.encode(beginning, "the beginning of the expression")
        from charrnn.find_corpus import corpus_lines

        if beginning.startswith(self._fold_case(kwargs.get("prime", ""))):
            kwargs["prime"] = beginning
        return Selection(
            self.texts(None, chars=MAX_RECORD_CHARS if chars is None else chars, **kwargs),
            count,
            attempts=attempts or 10_000 + 1_000 * count,
            pattern=pattern,
            unique=unique,
            known=corpus_lines(self.checkpoint) if novel else frozenset(),
            longest=MAX_RECORD_CHARS if chars is None else None,
        )

    def score(self, text: str | Iterable[str], *, skip_unknown: bool = False) -> Score:
        """How well the model foretells a text, or the pieces of one (an open file, say).

        Raises VocabError for an unknown character unless they are skipped, and CorpusError for a
        text too short to score.
        """
        from charrnn.evaluation.evaluator import Evaluator
        from charrnn.evaluation.text_scoring import score_text

        pieces = map(self._fold_case, [text] if isinstance(text, str) else text)
        evaluator = Evaluator(self.model, self.params)
        return score_text(evaluator, self.vocab, pieces, self.mode, "the text", skip_unknown)

    def _request(
        self, chars: int | None, lines: int | None, stop: str, **kwargs: Unpack[SamplingKwargs]
    ) -> tuple[int, SamplingOptions, StopConditions, str]:
        """The seed, the taste, the limits and the prime that these arguments ask for."""
        options: dict[str, Any] = {**kwargs}
        seed, prime = options.pop("seed", None), options.pop("prime", "")
        seed = random_seed() if seed is None else seed
        return (
            seed,
            SamplingOptions(**options),
            StopConditions(chars, lines, self._fold_case(stop)),
            self._fold_case(prime),
        )

    def _sampler(self) -> Sampler:
        return Sampler(self.model, self.params, self.vocab, self.mode)


def load(path: str) -> TextModel:
    """The model in a checkpoint file; `-` is stdin. Raises CheckpointError."""
    return TextModel(checkpoint.load(path))
