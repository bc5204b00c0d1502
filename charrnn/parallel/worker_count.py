"""How many share the rows of a window, by the size of the work.

Those who share rows (see `team`) do everything side by side and meet twice a window. How many times
faster than one process two are, on two cores, both sides in turn ((rows x H) x (H x G H) is the
product of a step):

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

So rows are shared as far as there are enough of them and more than a little to do. Products are not
divided: that would pay for large ones of few rows alone (see scripts/bench.py, `divided`), and
where something else needs a core, threads wait for each other in every product: a gru of 128 with
16 rows then trained 150 times slower with two of them than with one.
"""

from __future__ import annotations

import math
import os
import sys

from charrnn.config.schema import Config
from charrnn.nn.cells import CELLS
from charrnn.parallel import blas
from charrnn.parallel.mpi import launch

FEW = 4  # rows that each of those who share them must have
SHARE = 1 << 17  # and multiplications in its part of a step's recurrent product
SCORED = 1 << 15  # the same for rows that are only scored
BY_THREADS = 32  # times as many, and for scored rows eight times, where helpers are threads
ROWS = 64  # lines that each scores side by side; pieces of a stream, that all of them do
QUOTA = "/sys/fs/cgroup/cpu.max"


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


def workers(config: Config, rows: int | None = None) -> int:
    """How many share the rows of training by this config, or so many rows that are scored.

    The ranks that a launcher started on this machine share its cores, and all ranks the rows. Where
    products take several threads, because the environment says so or nobody told NumPy otherwise,
    there is one worker.
    """
    if blas.named() != 1:
        return 1
    ranks, share = launch(), SHARE if rows is None else SCORED
    if not can_fork():
        share *= BY_THREADS if rows is None else BY_THREADS // 4
    rows = config.train.batch_size // ranks.size if rows is None else rows
    asked = config.train.threads
    if isinstance(asked, int):
        return max(1, min(asked, rows))
    product = rows * config.model.hidden**2 * CELLS[config.model.cell].gates
    return max(1, min(cores() // ranks.local, rows // FEW, product // share))
