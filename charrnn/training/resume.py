"""What ties a checkpoint to its corpus and to the run that continues it."""

from __future__ import annotations

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.config.schema import Config, format_value
from charrnn.data.characters import list_characters
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError

BLOCK = 1 << 20  # ids looked at at a time

CHANGEABLE = {
    "corpus": {"path", "url", "sha256"},
    "train": {"steps", "epochs", "patience", "workers"},
    "optimizer": {"learning_rate"},
    "output": {"checkpoint", "validate_every", "sample_every", "keep"},
}


def check_same_run(saved: Checkpoint, config: Config, corpus: Corpus) -> list[str]:
    """The differences that are allowed, one sentence each.

    The corpus is read with the checkpoint's vocabulary and whatever else the text has. Raises
    CheckpointError that names every difference which would make it another run.
    """
    old = saved.config.as_dict()
    allowed: list[str] = []
    refused: list[str] = []
    for section, settings in config.as_dict().items():
        for key, value in settings.items():
            if value != old[section][key]:
                changes = allowed if key in CHANGEABLE.get(section, ()) else refused
                changes.append(
                    f"{section}.{key}: {format_value(old[section][key])} -> {format_value(value)}"
                )
    refused += _other_text(saved, corpus)
    if refused:
        raise CheckpointError(
            "the checkpoint belongs to another run, so it cannot be continued:\n"
            + "\n".join(refused),
            "Set these back, or leave --resume out to start afresh",
        )
    return allowed


def _other_text(saved: Checkpoint, corpus: Corpus) -> list[str]:
    """How the corpus and its characters differ from those of the checkpoint, a line each."""
    if saved.corpus_sha256 == corpus.sha256:
        return []
    lines = [f"corpus: sha256 {saved.corpus_sha256[:12]} -> {corpus.sha256[:12]}"]
    parts = [corpus.records.ids] if corpus.records else [corpus.training, corpus.validation]
    present: set[int] = set()
    for part in parts:
        for start in range(0, len(part), BLOCK):  # a large text is not in memory
            present.update(np.unique(part[start : start + BLOCK]).tolist())
    new = [char for char in corpus.vocab.chars if char not in saved.vocab]
    gone = [char for i, char in enumerate(corpus.vocab.chars) if i not in present]
    words = [
        f"{word} {list_characters(chars)}"
        for word, chars in (("new", new), ("gone", gone))
        if chars
    ]
    return [*lines, f"vocabulary: {'; '.join(words)}"] if words else lines
