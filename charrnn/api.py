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
from charrnn.sampling.record_selection import LONGEST, Selection, compiled, literal_beginning
from charrnn.sampling.sampler import Limits, Sampler, Taste, Text

if TYPE_CHECKING:  # importing what scores would keep the first character waiting
    from typing_extensions import Unpack  # in typing from Python 3.11 on

    from charrnn.evaluation.evaluator import Score

DEFAULT_CHARS = 500  # of a text that nothing else ends


class Manner(TypedDict, total=False):
    """Keyword arguments of every method that writes text; all may be left out."""

    seed: int | None  # the same seed gives the same text; None: a fresh one
    prime: str  # the text begins with it; so does every record of a model of lines
    temperature: float  # 1 by default; these three are those of `sampler.Taste`
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
        self._fold: Callable[[str], str] = to_lowercase if loaded.config.corpus.lowercase else str

    def sample(
        self,
        chars: int | None = DEFAULT_CHARS,
        *,
        lines: int | None = None,
        stop: str = "",
        **manner: Unpack[Manner],
    ) -> Iterator[str]:
        """One text, character by character: the prime, then at most `chars` drawn ones.

        `chars=None` sets no limit; `lines` ends it after so many newlines, `stop` when that string
        has appeared. `manner`: see `Manner`. Raises VocabError for a prime with unknown characters.
        """
        return self._sampler().stream(*self._request(chars, lines, stop, **manner))

    def texts(
        self,
        count: int | None,
        *,
        chars: int | None = None,
        lines: int | None = None,
        stop: str = "",
        scored: bool = True,
        **manner: Unpack[Manner],
    ) -> Iterator[Text]:
        """`count` independent texts (None: endlessly many), generated side by side.

        In a model of lines each is one record; otherwise each has at most `chars` characters, 500
        if that is None and nothing else ends it. Text i depends on the seed and i alone. `manner`:
        see `Manner`. Without `scored` their `nats` are 0.
        """
        if chars is None and self.mode == "stream" and lines is None and not stop:
            chars = DEFAULT_CHARS
        request = self._request(chars, lines, stop, **manner)
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
        **manner: Unpack[Manner],
    ) -> Selection:
        """Up to `count` records that pass: iterate over the result, then ask what was dropped.

        `match` is a regular expression that must be found in a record, as `re.search` finds it;
        `unique` allows no repeats, `novel` nothing that stands in the training corpus. After
        `attempts` records (default 10,000 and 1,000 a record) it gives up. `manner`: see `Manner`.
        Raises CharrnnError for a model that does not write lines, for an expression that is none,
        and for a corpus that cannot be read again; VocabError for a beginning with unknown
        characters.
        """
        if self.mode != "lines":
            raise ConfigError(
                "the model was trained on running text, so it has no records to choose from: "
                "train with corpus.mode=lines"
            )
        pattern, beginning = compiled(match or ""), literal_beginning(match or "")
        self.vocab.encode(beginning, "the beginning of the expression")
        from charrnn.find_corpus import corpus_lines

        if beginning.startswith(self._fold(manner.get("prime", ""))):
            manner["prime"] = beginning
        return Selection(
            self.texts(None, chars=LONGEST if chars is None else chars, **manner),
            count,
            attempts=attempts or 10_000 + 1_000 * count,
            pattern=pattern,
            unique=unique,
            known=corpus_lines(self.checkpoint) if novel else frozenset(),
            longest=LONGEST if chars is None else None,
        )

    def score(self, text: str | Iterable[str], *, skip_unknown: bool = False) -> Score:
        """How well the model foretells a text, or the pieces of one (an open file, say).

        Raises VocabError for an unknown character unless they are skipped, and CorpusError for a
        text too short to score.
        """
        from charrnn.evaluation.evaluator import Evaluator
        from charrnn.evaluation.text_scoring import score_text

        pieces = map(self._fold, [text] if isinstance(text, str) else text)
        evaluator = Evaluator(self.model, self.params)
        return score_text(evaluator, self.vocab, pieces, self.mode, "the text", skip_unknown)

    def _request(
        self, chars: int | None, lines: int | None, stop: str, **manner: Unpack[Manner]
    ) -> tuple[int, Taste, Limits, str]:
        """The seed, the taste, the limits and the prime that these arguments ask for."""
        taste: dict[str, Any] = {**manner}
        seed, prime = taste.pop("seed", None), taste.pop("prime", "")
        seed = random_seed() if seed is None else seed
        return seed, Taste(**taste), Limits(chars, lines, self._fold(stop)), self._fold(prime)

    def _sampler(self) -> Sampler:
        return Sampler(self.model, self.params, self.vocab, self.mode)


def load(path: str) -> TextModel:
    """The model in a checkpoint file; `-` is stdin. Raises CheckpointError."""
    return TextModel(checkpoint.load(path))
