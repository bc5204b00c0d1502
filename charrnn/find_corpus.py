"""Reads the corpus again that a model was trained on."""

from __future__ import annotations

import itertools
import os

from charrnn.checkpoint import Checkpoint
from charrnn.data.corpus import Corpus, read_corpus
from charrnn.errors import CorpusError


def reload_corpus(loaded: Checkpoint, otherwise: str = "name a text to score") -> Corpus:
    """Return the corpus of a model, split as in its training.

    Raises CorpusError with the hint to put the text back, or to do `otherwise`.
    """
    settings, seed = loaded.config.corpus, loaded.config.train.seed
    if "-" in settings.path:
        raise CorpusError(
            "the model was trained on standard input, which cannot be read again",
            f"Train on a file, or {otherwise}",
        )
    hint = f"Put the training text back, or {otherwise}"
    for path in settings.path:
        if not os.path.exists(path):
            raise CorpusError(f"{path}, which the model was trained on, no longer exists", hint)
        if not os.path.isfile(path):  # a device may never end
            reason = f"{path}, which the checkpoint names as its corpus, is not a file"
            raise CorpusError(reason, hint)
    try:
        return read_corpus(settings, seed or 0, loaded.vocab, loaded.corpus_sha256)
    except CorpusError as error:
        raise CorpusError(str(error), hint) from None


def corpus_lines(loaded: Checkpoint) -> set[str]:
    """Return every line of the corpus of a model of lines. Raises CorpusError."""
    corpus = reload_corpus(loaded, "leave --novel out")
    if corpus.records is None:
        return set()
    ids, bounds = corpus.records.ids, itertools.pairwise(corpus.records.starts.tolist())
    lines = (loaded.vocab.decode(ids[start : stop - 1].tolist()) for start, stop in bounds)
    return {"", *lines}  # an empty line is not novel
