"""Checks that a config and a corpus are those of the checkpoint that a run resumes from."""

from __future__ import annotations

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.config.kinds import format_value
from charrnn.config.schema import Config
from charrnn.data.characters import list_characters
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError

BLOCK = 1 << 20  # ids read at a time

CHANGEABLE = {  # the settings that a resumed run may change, by section
    "corpus": {"path", "url", "sha256"},
    "train": {"steps", "epochs", "patience", "workers"},
    "optimizer": {"learning_rate"},
    "output": {"checkpoint", "validate_every", "sample_every", "log_every", "keep"},
}


def check_same_run(saved: Checkpoint, config: Config, corpus: Corpus) -> list[str]:
    """Return the allowed differences between the checkpoint and the run, a line for each.

    The vocabulary of `corpus` is that of the checkpoint and all new characters. Raises
    CheckpointError that names every difference that is not allowed.
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
    refused += _corpus_differences(saved, corpus)
    if refused:
        raise CheckpointError(
            "the checkpoint belongs to another run, so this run cannot resume from it:\n"
            + "\n".join(refused),
            "Undo these changes, or leave --resume out to start a new run",
        )
    return allowed


def _corpus_differences(saved: Checkpoint, corpus: Corpus) -> list[str]:
    """Return a line for another checksum and a line for other characters, if there are any."""
    if saved.corpus_sha256 == corpus.sha256:
        return []
    lines = [f"corpus: sha256 {saved.corpus_sha256[:12]} -> {corpus.sha256[:12]}"]
    parts = [corpus.records.ids] if corpus.records else [corpus.training, corpus.validation]
    present: set[int] = set()
    for part in parts:
        for start in range(0, len(part), BLOCK):  # a large text does not fit in memory
            present.update(np.unique(part[start : start + BLOCK]).tolist())
    new = [char for char in corpus.vocab.chars if char not in saved.vocab]
    gone = [char for i, char in enumerate(corpus.vocab.chars) if i not in present]
    changes = [
        f"{change} {list_characters(chars)}"
        for change, chars in (("new", new), ("gone", gone))
        if chars
    ]
    return [*lines, f"vocabulary: {'; '.join(changes)}"] if changes else lines
