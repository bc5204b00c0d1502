"""A progress bar on stderr."""

from __future__ import annotations

import logging
import threading
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("charrnn")


class Bar(tqdm):  # type: ignore[type-arg]  # it takes none when it runs
    """tqdm's, without the thread that looks after bars nobody moves, and for one process.

    With a second thread this process could not be forked safely (see `parallel.local`); tqdm's own
    lock is a semaphore of the system, which a process that is killed leaves behind.
    """

    monitor_interval = 0

    @classmethod
    def for_bytes(cls, what: str, total: int | None, **settings: Any) -> Bar:
        """One that counts bytes; shown only on a terminal, and where notes are logged."""
        disabled = None if logger.isEnabledFor(logging.INFO) else True
        return cls(desc=what, total=total, unit="B", unit_scale=True, disable=disabled, **settings)


Bar.set_lock(threading.RLock())
