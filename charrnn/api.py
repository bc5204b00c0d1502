"""A trained model as a Python object that samples and scores. The command line uses it too.

    import charrnn

    model = charrnn.load("runs/dinos.npz")
    print(model.generate(200, seed=1))
    for text in model.texts(5, prime="ty", temperature=0.7, seed=1):
        print(text.text, text.bits_per_char)
    print(model.score("tyrannosaurus").bits)
    print(model.next("tyranno", top=3))

A call does not change the model, so several threads may use one model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.data.reader import to_lowercase, whole_lines
from charrnn.errors import ConfigError
from charrnn.rng import random_seed
from charrnn.sampling.drawing import SamplingOptions, probabilities
from charrnn.sampling.record_selection import Selection, compile_pattern, literal_prefix
from charrnn.sampling.sampler import MAX_RECORD_CHARS, GeneratedText, Sampler, StopConditions

if TYPE_CHECKING:  # importing the evaluator would delay the first character
    from typing_extensions import Unpack  # in typing from Python 3.11 on

    from charrnn.evaluation.evaluator import Readout, Score
    from charrnn.evaluation.line_scores import CharScore, LineScore
    from charrnn.evaluation.text_scoring import ScoredPiece
    from charrnn.training.from_python import ConfigSource

DEFAULT_CHARS = 500  # of a text without another stop condition


class ContinuationKwargs(TypedDict, total=False):
    """Keyword arguments of every method that samples; all are optional."""

    seed: int | None  # the same seed gives the same text; None: a random seed
    temperature: float  # 1 by default; it and the next two are fields of `sampler.SamplingOptions`
    top_k: int | None
    top_p: float
    from_zero: bool  # start running text from the zero state, not after the training text


class SamplingKwargs(ContinuationKwargs, total=False):
    """Keyword arguments of the methods whose texts have one prime."""

    prime: str  # the start of the text, or of every record of a model of lines


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

    def __repr__(self) -> str:
        """Return the size of the model and the state of its training."""
        settings, best = self.config.model, self.checkpoint.training_state.get("best_nats")
        validation = f", best validation {best:.4f} nats" if isinstance(best, float) else ""
        return (
            f"<TextModel: {settings.cell} {settings.layers} x {settings.hidden}, "
            f"{self.params.flat.size:,} parameters, {len(self.vocab):,} characters, "
            f"step {self.checkpoint.step:,}{validation}>"
        )

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

    def generate(
        self,
        chars: int | None = DEFAULT_CHARS,
        *,
        lines: int | None = None,
        stop: str = "",
        **kwargs: Unpack[SamplingKwargs],
    ) -> str:
        """Return the text that `sample` yields, as one string.

        Raises ConfigError without a stop condition, and VocabError.
        """
        if chars is None and lines is None and not stop:
            raise ConfigError("a text without `chars`, `lines` and `stop` has no end")
        return "".join(self.sample(chars, lines=lines, stop=stop, **kwargs))

    def next(self, text: str, top: int | None = 10) -> list[tuple[str, float]]:
        """Return the `top` likeliest characters after a text and their probabilities.

        The likeliest is first; None returns all that are possible. Running text is read from the
        zero state after a newline, as in `sample` with `from_zero` (and the seed 0, where the
        vocabulary has no newline). Of several lines, a model of lines reads the last one. Raises
        VocabError.
        """
        text = self._fold_case(text)
        self.vocab.encode(text)
        prime = text.rpartition("\n")[2] if self.mode == "lines" else text
        sampler = Sampler(self.model, self.params, self.vocab, self.mode)
        logits, _ = sampler.after_prime(0, prime, np.array([0]))
        p = probabilities(logits.astype(np.float64), SamplingOptions())[:, 0]
        p /= p.sum()
        ids = np.argsort(-p, kind="stable")[:top]
        return [(self.vocab.chars[i], float(p[i])) for i in ids.tolist() if p[i] > 0]

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

    def continuations(
        self,
        primes: Sequence[str],
        *,
        chars: int | None = DEFAULT_CHARS,
        lines: int | None = 1,
        stop: str = "",
        scored: bool = True,
        **kwargs: Unpack[ContinuationKwargs],
    ) -> Iterator[GeneratedText]:
        """Yield a text for each prime, in their order, sampled in one batch.

        By default a text ends with its line or after 500 characters; `None` sets no limit. The
        random numbers of text i are those of text i of `texts`. `kwargs`: see `ContinuationKwargs`.
        Raises VocabError, before any text, for a prime with unknown characters.
        """
        folded = [self._fold_case(prime) for prime in primes]
        for number, prime in enumerate(folded, 1):
            self.vocab.encode(prime, f"prime {number:,}")
        sampler, (seed, options, until, _) = self._prepare(chars, lines, stop, prime="", **kwargs)
        return sampler.texts(seed, options, until, folded, len(folded), scored)

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
        from charrnn.evaluation.evaluator import SURPRISAL
        from charrnn.evaluation.text_scoring import total_score

        scored = self._score_pieces(text, SURPRISAL, skip_unknown)
        return total_score(scored, self.mode, "the text")

    def line_scores(
        self, text: str | Iterable[str], *, skip_unknown: bool = False
    ) -> Iterator[LineScore]:
        """Yield the score of each line of a text, as `charrnn score` does; lines may be in pieces.

        Raises VocabError for an unknown character, unless `skip_unknown` is set.
        """
        from charrnn.evaluation.evaluator import SURPRISAL
        from charrnn.evaluation.line_scores import line_scores

        pieces, copy = itertools.tee([text] if isinstance(text, str) else text)
        originals = (line for lines in whole_lines(copy) for line in lines[:-1].split("\n"))
        scored = self._score_pieces(pieces, SURPRISAL, skip_unknown)
        return itertools.chain.from_iterable(line_scores(scored, originals))

    def char_scores(
        self, text: str | Iterable[str], *, skip_unknown: bool = False
    ) -> Iterator[CharScore]:
        """Yield the score of each character of a text, as `charrnn score --per char` does.

        Raises VocabError for an unknown character, unless `skip_unknown` is set.
        """
        from charrnn.evaluation.evaluator import PREDICTION
        from charrnn.evaluation.line_scores import char_scores

        scored = self._score_pieces(text, PREDICTION, skip_unknown)
        return itertools.chain.from_iterable(char_scores(scored, self.vocab))

    def _score_pieces(
        self, text: str | Iterable[str], readout: Readout, skip_unknown: bool
    ) -> Iterator[ScoredPiece]:
        """Yield the pieces of a text with their readout."""
        from charrnn.evaluation.evaluator import Evaluator
        from charrnn.evaluation.line_scores import split_long_pieces
        from charrnn.evaluation.text_scoring import ReadOptions, score_pieces

        options = ReadOptions(self.mode, "the text", skip_unknown)
        evaluator = Evaluator(self.model, self.params)
        pieces = split_long_pieces([text] if isinstance(text, str) else text)
        return score_pieces(evaluator, self.vocab, map(self._fold_case, pieces), options, readout)

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


def train(config: ConfigSource, text: str | None, settings: Mapping[str, Any]) -> TextModel:
    """Return the model that a config trains; see `charrnn.train`."""
    from charrnn.training import from_python

    return TextModel(from_python.train(config, text, settings))
