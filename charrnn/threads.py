"""How the cores are used: by threads that share the rows of a window, or in each matrix product.

Threads that share rows do everything side by side, but wait for each other at every call of Python;
a product of two threads loses nothing between its calls. How many times faster than one thread two
are, on two cores (scripts/bench.py threads; (rows x H) x (H x G H) is the product of a step):

    training          product     rows shared   products divided
    rnn  128, B 50    0.8 M       1.2           1.4
    gru  256, B 32    6.3 M       1.4           1.5
    gru  384, B 32    14 M        1.7           1.5
    lstm 512, B 64    67 M        1.7           1.6
    scoring 64 rows
    rnn  100          0.6 M       1.3           1.3
    lstm 128          4.2 M       1.4           1.2
    gru  512          50 M        1.7           1.7

So rows are shared in training only where the products are very large, and in scoring nearly always.
Small products get one thread. Where something else needs a core, threads wait for each other in
every product: a gru of 128 with 16 rows then trained 150 times slower with two threads than with
one.

NumPy's BLAS asks for its threads once, when NumPy is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from charrnn.ranks import launch

LARGE = 1 << 20  # multiplications in a step's recurrent product from which all cores are used
SHARED = 1 << 23  # and from which, with rows enough, threads share the rows instead
SCORED = 1 << 19  # the same for rows that are only scored
ROWS = 64  # that are scored side by side
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


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
        shared = SHARED if rows is None else SCORED
        rows = int(config["train"]["batch_size"]) // ranks.size if rows is None else rows
        product = rows * int(model["hidden"]) ** 2 * GATES[model["cell"]]
        count = max(1, cores() // ranks.local) if asked == "auto" else int(asked)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Plan(1, 1)  # not a config, as will be told when it is read
    named = _named()
    if asked != "auto" and rows >= count and named in (None, 1):
        return Plan(count, 1)
    if asked == "auto" and rows >= 2 * count and product >= shared and named in (None, 1):
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
