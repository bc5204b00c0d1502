"""How many threads a matrix product takes: one, unless the user has said otherwise.

The program shares rows among processes instead. The BLAS asks for its threads once, when NumPy is
imported.
"""

from __future__ import annotations

import os
import sys

LIMITED = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
VARIABLES = (*LIMITED, "OMP_NUM_THREADS")


def limit_threads() -> None:
    """Give every product one thread. What the environment says already counts more."""
    if "numpy" not in sys.modules and threads_in_environment() is None:
        os.environ.update(dict.fromkeys(LIMITED, "1"))


def threads_in_environment() -> int | None:
    """The threads of a product that the environment names, if it names any."""
    for variable in VARIABLES:
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return None
