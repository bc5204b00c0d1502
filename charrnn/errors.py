"""The errors of the program, each with its exit code."""

from __future__ import annotations

import signal

# Ctrl-C, the end of a service or a job, and a closed terminal.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class CharrnnError(Exception):
    """An error whose message contains what happened and where. Exit code 1.

    `hint` contains what to type next in a shell; the command line prints it after the message.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message and the hint, as the command line prints them."""
        separator = "\n" if "\n" in str(self) else ". "
        return f"{self}{separator}{self.hint}" if self.hint else str(self)


class ConfigError(CharrnnError):
    """The command or the config is wrong. Exit code 2."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A text cannot be read, decoded or fetched, or it is too short."""


class VocabError(CharrnnError):
    """A text has a character that is not in the model's vocabulary."""


class CheckpointError(CharrnnError):
    """A checkpoint cannot be read or written, or it does not fit the command."""


class DivergedError(CharrnnError):
    """Training diverged: the loss or another number is not finite. Exit code 3."""

    exit_code = 3


class Interrupted(CharrnnError):
    """A signal stopped the program; a first signal lets a run be saved before. Exit code 130."""

    exit_code = 130
