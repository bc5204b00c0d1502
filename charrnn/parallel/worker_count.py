"""The number of processes that share the rows of a batch, from the cores and the size of the work.

The speedup of two processes over one, on two cores, timed in turn. The columns are the model and
the batch, the multiplications of a step's recurrent product (rows x H) x (H x G H), the speedup,
and the time of a step with two processes:

    rnn  100, T 25, B  8      0.08 M   1.4    0.3 ms
    rnn  100, T 25, B 16      0.2 M    1.5    0.4
    gru  128, T 20, B  4      0.2 M    1.0    0.8
    gru  128, T 20, B 16      0.8 M    1.4    1.2
    rnn  128, T 50, B 50      0.8 M    1.8    2.5
    gru  512, T 64, B  4      3.1 M    0.9    29
    lstm 2 x 128, T 50, B 50  3.3 M    1.8    21
    gru  256, T 64, B 32      6.3 M    1.7    18
    lstm 512, T 64, B 64      67 M     1.8    147

So each process needs a few rows. While two other programs keep both cores busy, a step of two
processes takes at least 2 ms, until both have had a core. The rnn of 100 with 16 rows then takes 5
times as long as before, and 1.5 times with one process; the gru of 256 takes 2.1 and 1.5 times as
long. So small work is not shared.
"""

from __future__ import annotations

import logging
import math
import os

from charrnn.config.schema import Config, ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.parallel import blas

logger = logging.getLogger("charrnn")

MIN_ROWS = 4  # rows of each process, where there are several
MIN_TRAINING_PRODUCT = 1 << 16  # multiplications in a process's part of a step's recurrent product
MIN_SCORING_PRODUCT = 1 << 15  # the same, in scoring
SCORING_ROWS = 64  # lines, windows or pieces of a text that are scored side by side
QUOTA_PATH = "/sys/fs/cgroup/cpu.max"


def cores() -> int:
    """Return the number of cores that this process may use, within the CPU quota of a container."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    try:
        with open(QUOTA_PATH, encoding="ascii") as stream:
            quota, period = map(int, stream.read().split())  # microseconds
    except (OSError, ValueError):  # no container, or one without a limit: "max 100000"
        return count
    return max(1, min(count, math.ceil(quota / period)))


def for_training(config: Config) -> int:
    """Return the number of processes of this machine that train with this config.

    Each has at least one row. Where a product may take several threads, because their number is not
    set to 1 in the environment, it is one process unless the config sets another number.
    """
    rows, workers = config.train.batch_size, config.train.workers
    if isinstance(workers, int):
        if workers > rows:
            logger.info(f"using {rows} of {workers} workers, because train.batch_size is {rows}")
        return min(workers, rows)
    return _count(config.model, rows, MIN_TRAINING_PRODUCT)


def for_scoring(model: ModelConfig) -> int:
    """Return the number of processes that score lines or windows."""
    return _count(model, SCORING_ROWS, MIN_SCORING_PRODUCT)


def _count(model: ModelConfig, rows: int, min_product: int) -> int:
    """Return the largest useful number of processes, from the cores, the rows and the product."""
    if blas.threads_in_environment() != 1:
        return 1
    product = rows * model.hidden**2 * CELLS[model.cell].gates
    return max(1, min(cores(), rows // MIN_ROWS, product // min_product))
