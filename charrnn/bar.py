"""A progress bar on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from typing_extensions import Never

    Base = tqdm[Never]
else:
    Base = tqdm


class Bar(Base):
    """tqdm's, without the thread that looks after bars nobody moves.

    With a second thread this process could not be forked safely (see `team`).
    """

    monitor_interval = 0

    @classmethod
    def of_bytes(cls, what: str, total: int | None, quiet: bool, **settings: Any) -> Bar:
        """One that counts bytes; shown only on a terminal, and not if `quiet`."""
        return cls(
            desc=what, total=total, unit="B", unit_scale=True, disable=quiet or None, **settings
        )
