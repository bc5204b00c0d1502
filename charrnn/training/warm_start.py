"""Warm start: a new run starts from the weights of an old one, also on a text with new characters.

The new vocabulary is the old one and all new characters of the text, sorted, so the id of an old
character may change. An old character keeps its row of the first layer's Wxh, its column of Why and
its entry of by. A new character gets a new initial row and column, and the smallest old entry of
by. All other weights do not depend on the vocabulary and are copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.config.schema import ModelConfig
from charrnn.data.characters import list_characters
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CheckpointError
from charrnn.nn.parameters import Params

FIXED_SETTINGS = (
    "cell",
    "hidden",
    "layers",
    "output_layers",
)  # all other settings may differ, such as dtype


def check_same_network(source: Checkpoint, config: ModelConfig) -> None:
    """Raise CheckpointError that names every difference between the two networks."""
    old = source.config.model
    different = [
        f"model.{key}: {getattr(old, key)} -> {getattr(config, key)}"
        for key in FIXED_SETTINGS
        if getattr(old, key) != getattr(config, key)
    ]
    if different:
        hint = " ".join(f"--set model.{key}={getattr(old, key)}" for key in FIXED_SETTINGS)
        raise CheckpointError(
            "the weights belong to another network, so a run cannot start from them:\n"
            + "\n".join(different),
            f"Use the network of the checkpoint: {hint}",
        )


def copy_weights(source: Checkpoint, config: ModelConfig, vocab: Vocab, params: Params) -> None:
    """Copy the weights of `source` into the initial `params` of a network of `config`.

    `vocab` contains every character of `source`. Raises CheckpointError if the two networks differ
    or a weight is too large for the dtype of `params`.
    """
    check_same_network(source, config)
    ids = vocab.encode(source.vocab.chars)  # (V,): the new id of every old character
    # The arrays that depend on the vocabulary have shapes (V, G*H), (H, V) and (V,).
    indices: dict[str, Any] = {"layer0.Wxh": ids, "Why": (..., ids), "by": ids}
    with np.errstate(over="ignore"):  # the check below finds an overflow
        # New characters become as unlikely as the least likely old one, so that the predictions
        # for the old ones hardly change.
        params["by"][...] = source.params["by"].min()
        for name, array in source.params.items():
            params[name][indices.get(name, ...)] = array
    if not np.isfinite(params.flat).all():
        raise CheckpointError(
            f"a weight is too large for {params.flat.dtype}",
            "Use a wider number type: --set model.dtype=float64",
        )


def new_characters(source: Checkpoint, vocab: Vocab) -> list[str]:
    """Return a message that lists the characters of `vocab` that `source` lacks, if any."""
    new = [char for char in vocab.chars if char not in source.vocab]
    if not new:
        return []
    count = "one character" if len(new) == 1 else f"{len(new):,} characters"
    return [f"new initial weights for {count} outside the old vocabulary: {list_characters(new)}"]
