"""How many threads the matrix products get; NumPy's BLAS asks once, when NumPy is imported.

Two threads help large products and hurt small ones. Microseconds of one (B, H) x (H, G*H) product
with one thread and with two, on two cores:

    32 x 100 x 100      7.0    8.2
    32 x 100 x 400     25      17
    50 x 128 x 512     69      40
    64 x 512 x 2048  1305     710

And where something else needs a core, the two wait for each other in every product: a gru of 128
with 16 rows then trained 150 times slower with two threads than with one.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

LARGE = 1 << 20  # multiplications in a step's recurrent product from which all cores are used
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MAX_META_BYTES = 64 << 20


def limit(config: Mapping[str, Any] | None = None) -> None:
    """Choose for a run with these settings, or for sampling and scoring.

    What the environment says already counts more, and once NumPy is there it is too late.
    """
    chosen = {*VARIABLES, "OMP_NUM_THREADS"} & set(os.environ)
    if "numpy" in sys.modules or chosen or (config is not None and _is_large(config)):
        return
    os.environ.update(dict.fromkeys(VARIABLES, "1"))


def _is_large(config: Mapping[str, Any]) -> bool:
    try:
        model, rows = config["model"], int(config["train"]["batch_size"])
        return rows * int(model["hidden"]) ** 2 * GATES[model["cell"]] >= LARGE
    except (KeyError, TypeError, ValueError):
        return False  # not a config, as will be told when it is read


def settings_in(path: str) -> Mapping[str, Any]:
    """The config inside a checkpoint, read without NumPy; empty when there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("meta.npy")
            if member.file_size > MAX_META_BYTES:
                return {}
            raw = archive.read(member)
        header = 10 + int.from_bytes(raw[8:10], "little")
        found = json.loads(raw[header:].decode("utf-32-le"))["config"]
        return found if isinstance(found, dict) else {}
    except Exception:  # whatever is wrong with it, `checkpoint.load` tells
        return {}
