"""Character-level recurrent language models in pure NumPy: train, sample and score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api import TextModel

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def load(path: str) -> TextModel:
    """Return the model in a checkpoint file, ready to `sample` and `score`; `-` is stdin.

    Raises charrnn.errors.CheckpointError.
    """
    from charrnn import api  # here, because it imports NumPy, which delays `charrnn --help`

    return api.load(path)
