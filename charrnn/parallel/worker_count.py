"""How many processes share the rows of a batch, by the cores and the size of the work.

How many times faster two are than one, on two cores, both in turn ((rows x H) x (H x G H) is the
product of a step; the last column tells how long a step of two takes):

    rnn  100, T 25, B  8      0.08 M   1.4    0.3 ms
    rnn  100, T 25, B 16      0.2 M    1.5    0.4
    gru  128, T 20, B  4      0.2 M    1.0    0.8
    gru  128, T 20, B 16      0.8 M    1.4    1.2
    rnn  128, T 50, B 50      0.8 M    1.8    2.5
    gru  512, T 64, B  4      3.1 M    0.9    29
    lstm 2 x 128, T 50, B 50  3.3 M    1.8    21
    gru  256, T 64, B 32      6.3 M    1.7    18
    lstm 512, T 64, B 64      67 M     1.8    147

So each needs a few rows. While two other programs keep both cores busy, a step of two takes 2 ms at
least, until both have had a core: the rnn of 100 with 16 rows is then 5 times slower than before,
with one process 1.5 times, and the gru of 256 2.1 and 1.5 times. So small work is not shared.
"""

from __future__ import annotations

import logging
import math
import os

from charrnn.config.schema import Config, ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.parallel import blas

logger = logging.getLogger("charrnn")

MIN_ROWS = 4  # rows that each of several processes must have
MIN_TRAINING_PRODUCT = 1 << 16  # and multiplications in its part of a step's recurrent product
MIN_SCORING_PRODUCT = 1 << 15  # the same for rows that are only scored
SCORING_ROWS = 64  # lines, windows or pieces of a text that are scored side by side
QUOTA_PATH = "/sys/fs/cgroup/cpu.max"


def cores() -> int:
    """Return those this process may use; of a container, the time that it may use them counts."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    try:
        with open(
            QUOTA_PATH, encoding="ascii"
        ) as stream:  # microseconds of work in so many of time
            work, time = map(int, stream.read().split())
    except (OSError, ValueError):  # no container, or one without a limit: "max 100000"
        return count
    return max(1, min(count, math.ceil(work / time)))


def for_training(config: Config) -> int:
    """Return how many processes of this machine train by this config.

    Each has a row at least. Where products take several threads, because the environment says so or
    nobody told NumPy otherwise, there is one unless the config asks for more.
    """
    rows, asked = config.train.batch_size, config.train.workers
    if isinstance(asked, int):
        if asked > rows:
            has = "1 row: 1 works" if rows == 1 else f"{rows} rows: {rows} work"
            logger.info(f"{asked} workers were asked for, and a batch has {has}")
        return min(asked, rows)
    return _count(config.model, rows, MIN_TRAINING_PRODUCT)


def for_scoring(model: ModelConfig) -> int:
    """Return how many processes share lines or windows to be scored."""
    return _count(model, SCORING_ROWS, MIN_SCORING_PRODUCT)


def _count(model: ModelConfig, rows: int, share: int) -> int:
    if blas.threads_in_environment() != 1:
        return 1
    product = rows * model.hidden**2 * CELLS[model.cell].gates
    return max(1, min(cores(), rows // MIN_ROWS, product // share))
