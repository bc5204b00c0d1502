"""The number of threads of a matrix product: one, unless the environment sets another number.

The program divides the rows among processes instead. The BLAS reads the variables once, when NumPy
is imported.
"""

from __future__ import annotations

import os
import sys

LIMITED = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
VARIABLES = (*LIMITED, "OMP_NUM_THREADS")


def limit_threads() -> None:
    """Set the number of threads to one, unless NumPy is imported or the number is already set."""
    if "numpy" not in sys.modules and threads_in_environment() is None:
        os.environ.update(dict.fromkeys(LIMITED, "1"))


def threads_in_environment() -> int | None:
    """Return the number of threads that the environment sets, or None."""
    for variable in VARIABLES:
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return None
