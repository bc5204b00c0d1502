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
from collections.abc import Mapping
from typing import Any, NamedTuple

from charrnn.ranks import launch

LARGE = 1 << 20  # multiplications in a step's recurrent product from which all cores are used
SHARED = 1 << 17  # and from which, with rows enough, threads share the rows instead
ROWS = 64  # that are scored side by side
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Plan(NamedTuple):
    """How the cores are used."""

    workers: int  # threads that share the rows of a window
    blas: int  # threads of each matrix product


def cores() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan(config: Mapping[str, Any], rows: int | None = None) -> Plan:
    """For training with these settings, or for scoring so many rows side by side.

    The ranks that a launcher started on this machine share its cores, and all ranks the rows.
    Where the environment gives the products several threads, there is one worker.
    """
    try:
        model, asked = config["model"], config["train"].get("threads", "auto")
        ranks = launch()
        rows = int(config["train"]["batch_size"]) // ranks.size if rows is None else rows
        product = rows * int(model["hidden"]) ** 2 * GATES[model["cell"]]
        count = max(1, cores() // ranks.local) if asked == "auto" else int(asked)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Plan(1, 1)  # not a config, as will be told when it is read
    named = _named()
    if asked != "auto" and rows >= count:
        return Plan(count, named or 1)
    if asked == "auto" and rows >= 2 * count and product >= SHARED and named in (None, 1):
        return Plan(count, 1)
    return Plan(1, named or (count if product >= LARGE else 1))


def workers(config: Mapping[str, Any], rows: int | None = None) -> int:
    """Of the plan, once NumPy is there; one, if nobody told its products to take one thread."""
    return 1 if _named() is None else plan(config, rows).workers


def _named() -> int | None:
    """The threads of a product that the environment names, if it names any."""
    for variable in (*VARIABLES, "OMP_NUM_THREADS"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return None


def limit(config: Mapping[str, Any] | None = None, rows: int | None = None) -> None:
    """Give the products their threads; without a config, one each.

    What the environment says already counts more, and once NumPy is there it is too late.
    """
    if "numpy" in sys.modules or _named() is not None:
        return
    count = 1 if config is None else plan(config, rows).blas
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))


def settings_in(path: str) -> Mapping[str, Any]:
    """The config inside a checkpoint, read without NumPy; empty when there is none."""
    from charrnn import archive

    try:
        with open(path, "rb") as stream, archive.opened(stream) as members:
            member = members.getinfo("meta.npy")
            if archive.is_packed(member) or member.file_size > archive.MAX_META_BYTES:
                return {}
            raw = members.read(member)
        header = 10 + int.from_bytes(raw[8:10], "little")
        found = json.loads(raw[header:].decode("utf-32-le", "surrogatepass"))["config"]
        return found if isinstance(found, dict) else {}
    except Exception:  # whatever is wrong with it, `checkpoint.load` tells
        return {}
