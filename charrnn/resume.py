"""What ties a checkpoint to its corpus and to the run that continues it."""

from __future__ import annotations

from typing import Any

from charrnn import corpus as corpora
from charrnn.checkpoint import Checkpoint
from charrnn.corpus import Corpus
from charrnn.errors import CheckpointError, CorpusError
from charrnn.settings import Config

CHANGEABLE = {
    "corpus.path",
    "corpus.url",
    "train.steps",
    "train.epochs",
    "train.patience",
    "optimizer.learning_rate",
    "output.checkpoint",
    "output.validate_every",
    "output.sample_every",
    "output.keep",
}


def check_same_run(saved: Checkpoint, config: Config, corpus: Corpus) -> list[str]:
    """The differences that are allowed, one sentence each.

    Raises CheckpointError that names every difference which would make it another run.
    """
    old, new = _flat(saved.config), _flat(config)
    changed = [key for key in new if old[key] != new[key]]
    said = [f"{key}: {old[key]} -> {new[key]}" for key in changed if key in CHANGEABLE]
    refused = [f"{key}: {old[key]} -> {new[key]}" for key in changed if key not in CHANGEABLE]
    if saved.corpus_sha256 != corpus.sha256:
        refused.append(f"corpus: sha256 {saved.corpus_sha256[:12]} -> {corpus.sha256[:12]}")
    if refused:
        raise CheckpointError(
            "the checkpoint belongs to another run, so it cannot be continued:\n"
            + "\n".join(refused)
            + "\nSet these back, or leave --resume out to start afresh"
        )
    return said


def read_again(loaded: Checkpoint) -> Corpus:
    """The corpus a model was trained on, found again and split as it was. Raises CorpusError."""
    settings, seed = loaded.config.corpus, loaded.config.train.seed
    if "-" in settings.path:
        raise CorpusError("the model was trained on standard input, and that text is gone")
    return corpora.read(settings, seed or 0, loaded.vocab, loaded.corpus_sha256)


def known_lines(loaded: Checkpoint) -> set[str]:
    """Every line of the corpus a model of lines was trained on. Raises CorpusError."""
    records = read_again(loaded).records
    if records is None:
        return set()
    text = loaded.vocab.decode(records.ids.tolist())
    return set(text.split("\n"))


def _flat(config: Config) -> dict[str, Any]:
    settings = config.as_dict()
    return {f"{part}.{key}": value for part in settings for key, value in settings[part].items()}
