"""Finds the corpus again that a model was trained on."""

from __future__ import annotations

import itertools
import os

from charrnn.checkpoint import Checkpoint
from charrnn.data.corpus import Corpus, read_corpus
from charrnn.errors import CorpusError


def reload_corpus(loaded: Checkpoint) -> Corpus:
    """The corpus a model was trained on, found again and split as it was. Raises CorpusError."""
    settings, seed = loaded.config.corpus, loaded.config.train.seed
    if "-" in settings.path:
        raise CorpusError("the model was trained on standard input, and that text is gone")
    for path in settings.path:
        if os.path.exists(path) and not os.path.isfile(path):  # such as a device without end
            raise CorpusError(f"{path}, which the checkpoint names as its corpus, is no file")
    return read_corpus(settings, seed or 0, loaded.vocab, loaded.corpus_sha256)


def corpus_lines(loaded: Checkpoint) -> set[str]:
    """Every line of the corpus a model of lines was trained on. Raises CorpusError."""
    corpus = reload_corpus(loaded)
    if corpus.records is None:
        return set()
    ids, bounds = corpus.records.ids, itertools.pairwise(corpus.records.starts.tolist())
    lines = (loaded.vocab.decode(ids[start : stop - 1].tolist()) for start, stop in bounds)
    return {"", *lines}  # nor is an empty line a new one
