"""A trained model as a Python object that samples and scores. The command line uses it too.

    import charrnn

    model = charrnn.load("runs/dinos.npz")
    print("".join(model.sample(200, seed=1)))
    for text in model.texts(5, prime="ty", temperature=0.7, seed=1):
        print(text.text, text.bits_per_char)
    print(model.score("tyrannosaurus").bits)

A call does not change the model, so several threads may use one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypedDict

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.data.reader import to_lowercase
from charrnn.errors import ConfigError
from charrnn.rng import random_seed
from charrnn.sampling.record_selection import Selection, compile_pattern, literal_prefix
from charrnn.sampling.sampler import (
    MAX_RECORD_CHARS,
    GeneratedText,
    Sampler,
    SamplingOptions,
    StopConditions,
)

if TYPE_CHECKING:  # importing the evaluator would delay the first character
    from typing_extensions import Unpack  # in typing from Python 3.11 on

    from charrnn.evaluation.evaluator import Score

DEFAULT_CHARS = 500  # of a text without another stop condition


class SamplingKwargs(TypedDict, total=False):
    """Keyword arguments of every method that samples; all are optional."""

    seed: int | None  # the same seed gives the same text; None: a random seed
    prime: str  # the start of the text, or of every record of a model of lines
    temperature: float  # 1 by default; it and the next two are fields of `sampler.SamplingOptions`
    top_k: int | None
    top_p: float
    from_zero: bool  # start running text from the zero state, not after the training text


class TextModel:
    """A model from a checkpoint, with methods that sample and score."""

    def __init__(self, loaded: Checkpoint) -> None:
        self.checkpoint = loaded
        self.config = loaded.config
        self.vocab = loaded.vocab
        self.mode = loaded.config.corpus.mode
        self.model = loaded.model
        self.params = loaded.params
        lowercase = loaded.config.corpus.lowercase
        self._fold_case: Callable[[str], str] = to_lowercase if lowercase else str

    def sample(
        self,
        chars: int | None = DEFAULT_CHARS,
        *,
        lines: int | None = None,
        stop: str = "",
        **kwargs: Unpack[SamplingKwargs],
    ) -> Iterator[str]:
        """Yield a text character by character: the prime, then at most `chars` sampled ones.

        `chars=None` sets no limit; the text also ends after `lines` newlines, and at the string
        `stop`. `kwargs`: see `SamplingKwargs`. Raises VocabError for a prime with unknown
        characters.
        """
        sampler, request = self._prepare(chars, lines, stop, **kwargs)
        return sampler.stream(*request)

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
        """Yield `count` independent texts (None: without end), sampled in one batch.

        Each text of a model of lines is one record. Another model's text has at most `chars`
        characters, or 500 when there is no stop condition at all. Text i depends only on the seed
        and i. `kwargs`: see `SamplingKwargs`. Without `scored`, `nats` of each text is 0.
        """
        if chars is None and self.mode == "stream" and lines is None and not stop:
            chars = DEFAULT_CHARS
        sampler, request = self._prepare(chars, lines, stop, **kwargs)
        return sampler.texts(*request, count, scored)

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
        """Return an iterator over up to `count` records that pass filters; it also counts them.

        `match` is a regular expression that `re.search` must find in a record; `unique` excludes
        repeats, and `novel` excludes records of the corpus. The iterator ends after `attempts`
        records (default: 10,000 plus 1,000 for each of `count`). `kwargs`: see `SamplingKwargs`.
        Raises CharrnnError for a model of running text, an invalid expression, and a corpus that
        cannot be read again; VocabError for an expression whose start has unknown characters.
        """
        if self.mode != "lines":
            raise ConfigError(
                "the model was trained on running text, so it has no records to choose from: "
                "train with corpus.mode=lines"
            )
        pattern, prefix = compile_pattern(match or ""), literal_prefix(match or "")
        self.vocab.encode(prefix, "the beginning of the expression")
        from charrnn.find_corpus import corpus_lines

        if prefix.startswith(self._fold_case(kwargs.get("prime", ""))):
            kwargs["prime"] = prefix
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
        """Return the score of a text; the text may be in pieces, such as the lines of a file.

        Raises VocabError for an unknown character, unless `skip_unknown` is set, and CorpusError
        for a text that is too short to score.
        """
        from charrnn.evaluation.evaluator import Evaluator
        from charrnn.evaluation.text_scoring import score_text

        pieces = map(self._fold_case, [text] if isinstance(text, str) else text)
        evaluator = Evaluator(self.model, self.params)
        return score_text(evaluator, self.vocab, pieces, self.mode, "the text", skip_unknown)

    def _prepare(
        self, chars: int | None, lines: int | None, stop: str, **kwargs: Unpack[SamplingKwargs]
    ) -> tuple[Sampler, tuple[int, SamplingOptions, StopConditions, str]]:
        """Return a sampler, and its seed, sampling options, stop conditions and prime."""
        options: dict[str, Any] = {**kwargs}
        seed, prime = options.pop("seed", None), self._fold_case(options.pop("prime", ""))
        seed = random_seed() if seed is None else seed
        starts = None if options.pop("from_zero", False) else self.checkpoint.starts
        sampler = Sampler(self.model, self.params, self.vocab, self.mode, starts)
        until = StopConditions(chars, lines, self._fold_case(stop))
        return sampler, (seed, SamplingOptions(**options), until, prime)


def load(path: str) -> TextModel:
    """Return the model in a checkpoint file; `-` is stdin. Raises CheckpointError."""
    return TextModel(checkpoint.load(path))
