r"""Character-level recurrent language models in pure NumPy: train, sample and score.

    import pathlib, charrnn

    names = pathlib.Path("data/dinos.txt").read_text(encoding="utf-8")
    config = {"corpus": {"mode": "lines"}, "model": {"cell": "gru", "hidden": 64}}
    model = charrnn.train(config, names, name="adam", batch_size=16, epochs=5, seed=1)
    print(model)
    print(model.generate(lines=3, chars=None, temperature=0.7, seed=1))
    for char, probability in model.next("tyranno", top=3):
        print(char, round(probability, 3))
    for line in model.line_scores("allosaurus\nqwxzk\n"):
        print(line.text, line.bits_per_char)

`train` and `load` return a `charrnn.api.TextModel`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from charrnn.api import TextModel

__version__ = "0.2.0"
__all__ = ["__version__", "load", "train"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library prints no warnings


def load(path: str) -> TextModel:
    """Return the model in a checkpoint file, ready to `sample` and `score`; `-` is stdin.

    Raises charrnn.errors.CheckpointError.
    """
    from charrnn import api  # here, because it imports NumPy, which delays `charrnn --help`

    return api.load(path)


def train(
    config: str | os.PathLike[str] | Mapping[str, Any], text: str | None = None, **settings: Any
) -> TextModel:
    """Train the model that a config describes, and return it.

    `config` is the path of a YAML file, or dictionaries as in one, such as `{"model": {"hidden":
    64}}`. `text` is trained on instead of the files of `corpus.path`. `settings` change the config
    by the names of settings, such as `hidden=64`, or by sections, such as `model={"hidden": 64}`.

    Nothing is printed: messages go to the logger `charrnn`. A checkpoint is written only if
    `checkpoint` is set. Training uses this process alone unless `workers` is a number; a script
    then needs `if __name__ == "__main__":`, as `multiprocessing` does. Raises subclasses of
    charrnn.errors.CharrnnError, such as ConfigError.
    """
    from charrnn import api

    return api.train(config, text, settings)
