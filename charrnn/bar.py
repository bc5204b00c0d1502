"""A progress bar on stderr."""

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("charrnn")


class Bar(tqdm):  # type: ignore[type-arg]  # it takes no type argument at run time
    """tqdm's bar, without its monitor thread, and with a lock for one process.

    With a second thread, this process could not be forked safely (see `parallel.local`). tqdm's
    default lock is a semaphore of the system, which stays when the process is killed.
    """

    monitor_interval = 0

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """The values of a frame; two columns are left for the ^C of Ctrl-C."""
        values = super().format_dict
        if values["ncols"]:
            values["ncols"] = max(1, values["ncols"] - 2)
        return values

    @classmethod
    def for_bytes(cls, label: str, total: int | None, **settings: Any) -> Bar:
        """Return a bar that counts bytes, visible on a terminal unless the logger is quiet."""
        disabled = None if logger.isEnabledFor(logging.INFO) else True  # None: on a terminal only
        return cls(desc=label, total=total, unit="B", unit_scale=True, disable=disabled, **settings)


Bar.set_lock(threading.RLock())
