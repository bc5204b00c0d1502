"""A new run may begin with the weights of an old one, also on a text with other characters.

The new vocabulary is the old one and whatever else the text has, sorted, so a character may have
another number than before. It keeps its own row of the first layer's Wxh, its column of Why and its
entry of by; a character that is new gets those of a fresh network. All other weights have nothing
to do with characters.
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

FIXED_SETTINGS = ("cell", "hidden", "layers")  # dtype, dropout and init may differ


def check_same_network(source: Checkpoint, config: ModelConfig) -> None:
    """Raise CheckpointError that names every difference between the two networks."""
    old = source.config.model
    different = [
        f"model.{key}: {getattr(old, key)} -> {getattr(config, key)}"
        for key in FIXED_SETTINGS
        if getattr(old, key) != getattr(config, key)
    ]
    if different:
        back = " ".join(f"--set model.{key}={getattr(old, key)}" for key in FIXED_SETTINGS)
        raise CheckpointError(
            "the weights belong to another network, so a run cannot begin with them:\n"
            + "\n".join(different),
            f"Take the network they are from: {back}",
        )


def copy_weights(source: Checkpoint, config: ModelConfig, vocab: Vocab, params: Params) -> None:
    """Put the weights of `source` into the fresh `params` of a network of `config`.

    Every character of `source` is in `vocab`. Raises CheckpointError for weights that do not fit.
    """
    check_same_network(source, config)
    known = vocab.encode(source.vocab.chars)  # (V,): the new number of every old character
    # Of the arrays that have to do with characters: (V, G*H), (H, V) and (V,).
    places: dict[str, Any] = {"layer0.Wxh": known, "Why": (..., known), "by": known}
    with np.errstate(over="ignore"):  # seen just below
        # As unlikely as the least likely of the old, whose predictions stay nearly the same.
        params["by"][...] = source.params["by"].min()
        for name, old in source.params.items():
            params[name][places.get(name, ...)] = old
    if not np.isfinite(params.flat).all():
        raise CheckpointError(
            f"a weight is too large for {params.flat.dtype}",
            "Take more bits for each: --set model.dtype=float64",
        )


def new_characters(source: Checkpoint, vocab: Vocab) -> list[str]:
    """A sentence on the characters that `vocab` has beyond those of `source`, if there are any."""
    new = [char for char in vocab.chars if char not in source.vocab]
    if not new:
        return []
    count = "one character" if len(new) == 1 else f"{len(new):,} characters"
    return [f"fresh weights for {count} that the model does not know: {list_characters(new)}"]
