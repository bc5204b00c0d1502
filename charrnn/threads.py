"""How the cores are used: by helpers that share the rows of a window, or in each matrix product.

Helpers (see `team`) do everything side by side and meet twice a window; a product of two threads
leaves all that is not a product to one core, and meets at every step. How many times faster than
one thread two are, on two cores, both sides in turn ((rows x H) x (H x G H) is the product of a
step):

    training                product     rows shared   products divided
    rnn  100, T 25, B  4    0.04 M      0.8           1.0
    rnn  100, T 25, B 16    0.2 M       1.1           1.1
    rnn  128, T 50, B 50    0.8 M       1.6           1.4
    lstm 2 x 128, T 50, B 50  3.3 M     1.7           1.5
    gru  256, T 64, B 32    6.3 M       1.5           1.4
    gru  512, T 64, B  4    3.1 M       0.9           -
    lstm 512, T 64, B 64    67 M        1.7           1.7
    scoring 64 rows
    rnn   32                0.07 M      1.8           1.1
    rnn  100                0.6 M       1.6           1.0
    lstm 128                4.2 M       1.9           1.2
    gru  512                50 M        1.9           1.7

Threads instead of processes would wait for each other at every call from Python, and gain 1.1 times
for the rnn of 128, 1.4 for the gru of 256, 1.7 for the lstm of 512; in scoring 1.3 for the rnn of
100, 1.4 for the lstm of 128.

So rows are shared as far as there are enough of them and more than a little to do; else large
products are divided. Where something else needs a core, threads wait for each other in every
product: a gru of 128 with 16 rows then trained 150 times slower with two of them than with one.

NumPy's BLAS asks for its threads once, when NumPy is imported.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from charrnn.ranks import launch

FEW = 4  # rows that each of those who share them must have
SHARE = 1 << 17  # and multiplications in its part of a step's recurrent product
SCORED = 1 << 15  # the same for rows that are only scored
BY_THREADS = 32  # times as many, and for scored rows eight times, where helpers are threads
LARGE = 1 << 20  # multiplications from which a product is divided, where rows are not shared
ROWS = 64  # lines that each scores side by side; pieces of a stream, that all of them do
QUOTA = "/sys/fs/cgroup/cpu.max"
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def can_fork() -> bool:
    """Whether helpers are processes: whether this one can be forked safely.

    Not with several threads, of which only one would go on in the fork with the locks of all; not
    as a rank of MPI; not on macOS, whose system libraries do not allow it; and not where nothing
    tells how many threads there are.
    """
    if sys.platform != "linux" or launch().size > 1:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # no /proc, as in some chroots
        return False


class Plan(NamedTuple):
    """How the cores are used."""

    workers: int  # that share the rows of a window
    blas: int  # threads of each matrix product


def cores() -> int:
    """Those this process may use; of a container, the time that it may use them is counted."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    try:
        with open(QUOTA, encoding="ascii") as stream:  # microseconds of work in so many of time
            work, time = map(int, stream.read().split())
    except (OSError, ValueError):  # no container, or one without a limit: "max 100000"
        return count
    return max(1, min(count, math.ceil(work / time)))


def plan(config: Mapping[str, Any], rows: int | None = None) -> Plan:
    """For training with these settings, or for scoring so many rows side by side.

    The ranks that a launcher started on this machine share its cores, and all ranks the rows.
    Where the environment gives the products several threads, there is one worker.
    """
    try:
        model, asked = config["model"], config["train"].get("threads", "auto")
        ranks = launch()
        share = SHARE if rows is None else SCORED
        if not can_fork():
            share *= BY_THREADS if rows is None else BY_THREADS // 4
        rows = int(config["train"]["batch_size"]) // ranks.size if rows is None else rows
        product = rows * int(model["hidden"]) ** 2 * GATES[model["cell"]]
        count = max(1, cores() // ranks.local) if asked == "auto" else int(asked)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Plan(1, 1)  # not a config, as will be told when it is read
    named = _named()
    workers = min(count, rows // FEW, product // share)
    if asked != "auto":
        workers = min(count, rows)
    elif 2 * workers < count and product >= LARGE:
        workers = 1  # half of the cores would have nothing to do
    if workers > 1 and named in (None, 1):
        return Plan(workers, 1)
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
