"""The command line: options in, messages out, and nothing of its own in between.

NumPy and all that needs it is imported inside the commands, so that `--help` is instant.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from charrnn import __version__
from charrnn.cli.terminal import harmless, logger, logging_to_stderr, note
from charrnn.errors import CharrnnError
from charrnn.parallel import blas
from charrnn.parallel.group import PeerFailed, exit_code
from charrnn.parallel.mpi import launch

# A file each in this folder, with a command of the same name.
COMMANDS = ("train", "sample", "eval", "score", "page", "plot", "gradcheck", "info", "new")

# Parameters that name a file to read, or - for stdin.
INPUTS = {"checkpoint_path", "text_path", "other_path", "prime_file"}
INPUTS |= {"config_path", "corpus", "init_from"}

VARIABLES = {"CHARRNN_CHECKPOINT", "CHARRNN_CACHE"}  # and one for every option, see below

# Errors of writing. Those of our own files come with a name or as a message of their own.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


class Program(click.Group):
    """The one place where an error that a user can cause becomes a message and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Be the program. NumPy is imported by the commands, after the first line."""
        blas.limit_threads()
        if sys.stdout is None:  # closed: whoever writes to it is to find out
            sys.stdout = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - until the end
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack characters of a text
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the options; some of them print and end the program."""
        with outcome():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. A closed pipe ends it quietly."""
        with outcome(), logging_to_stderr():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def outcome() -> Iterator[None]:
    """Turn an error in the block into a message and an exit code."""
    try:
        yield
    except CharrnnError as error:
        _fail(error.with_hint, error.exit_code)
    except (KeyboardInterrupt, PeerFailed) as error:
        sys.exit(exit_code(error))  # without a message: there is none, or another rank has told it
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and launch().local_rank:
            sys.exit(0)  # the first on a machine says it and fails
        message = error.message + _place_in_environment(error)
        error.message = harmless(message, sys.stderr)  # type: ignore[misc]  # Click's own
        raise
    except MemoryError:
        _fail("not enough memory: try a smaller model, batch or window")
    except OSError as error:
        message = _reason(error)
        # What is still buffered has nowhere to go: the interpreter must not try at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(0)
        _fail(message)


def _fail(message: str, code: int = 1) -> NoReturn:
    """Print an error and end the program."""
    with contextlib.suppress(OSError):  # nobody may be reading stderr, but the exit code
        note(f"Error: {message}")
    sys.exit(code)


def _place_in_environment(error: click.ClickException) -> str:
    """The variable that a bad value came from, if it did."""
    ctx, option = getattr(error, "ctx", None), getattr(error, "param", None)
    if ctx and option and ctx.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT:
        return f" It is from {option.envvar}."
    return ""


def _reason(error: OSError) -> str:
    """What an error of the system means for the user: that of the output, or another."""
    if isinstance(error, io.UnsupportedOperation):
        return "standard output is closed, so there is nowhere to write to"
    if error.filename is None and error.errno in UNWRITABLE:
        return f"the output cannot be written: {error.strerror}"
    try:
        os.getcwd()
    except OSError:
        return "the current folder does not exist any more. Change to one that does: cd FOLDER"
    return f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}"


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=Program, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="charrnn")
def main() -> None:
    """Train character-level recurrent networks, write text with them, and score text.

    \b
    charrnn train config.yaml          YAML + text -> checkpoint.npz
    charrnn sample ckpt.npz --n 200    checkpoint  -> new text on stdout
    charrnn eval ckpt.npz text.txt     checkpoint + text -> nats, bits per character, perplexity
    charrnn score ckpt.npz text.txt    checkpoint + text -> the same for each line or character
    charrnn page ckpt.npz -o page.html checkpoint  -> a web page to explore
    charrnn plot ckpt.npz              checkpoint  -> its losses as a curve, or as a picture
    charrnn new text.txt > config.yaml text -> a config that suits it

    Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the work failed,
    2 the command or the config is wrong, 3 training diverged, 130 interrupted after saving.
    """


def _call(callback: Callable[..., Any], **options: Any) -> Any:
    """Run a command, which first tells of variables that no option heeds, unless it is quiet.

    Raises UsageError when two files are to come from stdin.
    """
    unknown = {name for name in os.environ if name.startswith("CHARRNN_")} - VARIABLES
    for name in sorted(unknown) if not launch().local_rank else ():
        import difflib

        close = difflib.get_close_matches(name, VARIABLES, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        logger.info(f"{name} is set in the environment, but no option has that name{hint}")
    ctx = click.get_current_context()
    piped = [p for p in ctx.command.params if p.name in INPUTS and options.get(p.name) == "-"]
    if len(piped) > 1:
        hints = " and ".join(parameter.get_error_hint(ctx) for parameter in piped)
        raise click.UsageError(f"{hints} cannot both come from standard input")
    return callback(**options)


def _add(name: str) -> None:
    """Add a command; CHARRNN_SAMPLE_SEED is the default of `sample --seed`, and so on for all."""
    command = getattr(import_module(f"charrnn.cli.{name}"), name)
    command.callback = functools.partial(_call, command.callback)
    for option in command.params:
        if isinstance(option, click.Option):
            flag = max(option.opts, key=len).lstrip("-").replace("-", "_")
            option.envvar = f"CHARRNN_{name}_{flag}".upper()
            VARIABLES.add(option.envvar)
    main.add_command(command)


for _name in COMMANDS:
    _add(_name)
