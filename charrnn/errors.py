"""The mistakes a user can make, each with the exit code it ends the program with."""

from __future__ import annotations

import signal

# Ctrl-C, the end of a service or a job, and a terminal that hangs up.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class CharrnnError(Exception):
    """What happened and where, as one message. Exit code 1.

    `hint` is what to type next in a shell; the command line prints it behind the message.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message and the hint, as a user of the command line reads them."""
        between = "\n" if "\n" in str(self) else ". "
        return f"{self}{between}{self.hint}" if self.hint else str(self)


class ConfigError(CharrnnError):
    """The command or the config is wrong. Exit code 2."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A text cannot be read, decoded, fetched, or is too short for what is asked of it."""


class VocabError(CharrnnError):
    """A text holds a character that the model has never seen."""


class CheckpointError(CharrnnError):
    """A checkpoint cannot be read, cannot be written, or does not fit what is asked of it."""


class DivergedError(CharrnnError):
    """Training ran away: the loss is no longer a finite number. Exit code 3."""

    exit_code = 3


class Interrupted(CharrnnError):
    """The user stopped the program; a run is saved first, unless they insist. Exit code 130."""

    exit_code = 130
