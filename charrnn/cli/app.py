"""The program: its commands, error messages and exit codes.

The commands import NumPy inside their functions, so that `--help` is fast.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from charrnn import __version__
from charrnn.cli.terminal import escape_controls, logger, logging_to_stderr, note
from charrnn.errors import CharrnnError, Interrupted
from charrnn.parallel import blas
from charrnn.parallel.group import PeerFailed, exit_code
from charrnn.parallel.mpi import launch

# Each has a file of the same name in this folder.
COMMANDS = (
    *("train", "new", "settings", "info", "plot", "gradcheck"),
    *("sample", "next", "eval", "score", "page"),
)

# Parameters that name an input file; - is stdin.
INPUTS = {"checkpoint_path", "text_path", "other_path", "prime_file"}
INPUTS |= {"config_path", "inputs", "corpus", "init_from", "primes", "text"}

VARIABLES = {"CHARRNN_CHECKPOINT", "CHARRNN_CACHE"}  # `_add_command` adds one for each option

ARGUMENTS = "charrnn.arguments"  # in the `meta` of a context: the arguments of the command

# Names that other programs give to options and settings of this one.
SYNONYMS = {
    "length": "--n",
    "chars": "--n",
    "temp": "--temperature",
    "prompt": "--prime",
    "colour": "--color",
    "lr": "optimizer.learning_rate",
    "optimizer": "optimizer.name",
    "grad_clip": "optimizer.clip",
    "model": "model.cell",
    "hidden_size": "model.hidden",
    "rnn_size": "model.hidden",
    "num_layers": "model.layers",
    "batch": "train.batch_size",
    "seq_len": "train.seq_length",
    "iterations": "train.steps",
    "max_iters": "train.steps",
}

# Errors of a write to stdout. Errors of other files have a file name or are a CharrnnError.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


class Program(click.Group):
    """The group of all commands. It turns users' errors into messages and exit codes."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program. Limit the threads of BLAS before a command imports NumPy."""
        blas.limit_threads()
        if sys.stderr is None:  # stderr is closed: messages are lost
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if sys.stdout is None:  # stdout is closed; a write to this read-only file is an error
            sys.stdout = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the exit
        if isinstance(sys.stdout, io.TextIOWrapper):  # ASCII may be its encoding
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the command line. --help and --version print and exit."""
        with exit_on_error():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Exit without a message when the pipe of stdout is closed."""
        ctx.meta[ARGUMENTS] = [*ctx.args]  # Click removes them
        with exit_on_error(), logging_to_stderr():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error of the block, and exit with its exit code."""
    try:
        yield
    except Interrupted as error:  # the user's wish is no error
        _fail(error.with_hint, error.exit_code, "")
    except CharrnnError as error:
        _fail(error.with_hint, error.exit_code)
    except (KeyboardInterrupt, PeerFailed) as error:
        sys.exit(exit_code(error))  # without a message: Ctrl-C, or another rank has printed it
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and launch().local_rank:
            sys.exit(0)  # the first rank of this machine prints the error and fails
        if isinstance(error, click.NoSuchOption):
            _suggest_option(error)
        message = error.message + _variable_hint(error)
        error.message = escape_controls(message, sys.stderr)  # type: ignore[misc]  # Click's own
        raise
    except MemoryError:
        _fail("not enough memory: try a smaller model, batch or window")
    except OSError as error:
        # The buffer of stdout cannot be written. At exit the interpreter flushes it to /dev/null.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(0)
        _fail(_describe(error))


def _fail(message: str, code: int = 1, label: str = "Error: ") -> NoReturn:
    """Print an error and exit."""
    note(f"{label}{message}")
    sys.exit(code)


def _variable_hint(error: click.ClickException) -> str:
    """Return a sentence that names the environment variable of a bad value, or nothing."""
    ctx, option = getattr(error, "ctx", None), getattr(error, "param", None)
    if ctx and option and ctx.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT:
        return f" The value comes from {option.envvar}."
    return ""


def _suggest_option(error: click.NoSuchOption) -> None:
    """Suggest the option or the `--set` that an unknown option means, with its value."""
    from charrnn.config.schema import FIELDS

    if error.ctx is None:
        return
    name = error.option_name.lstrip("-").replace("-", "_")
    meant = SYNONYMS.get(name) or next((key for key in FIELDS if key.endswith(f".{name}")), "")
    options = {flag for parameter in error.ctx.command.params for flag in parameter.opts}
    if ("--set" if meant in FIELDS else meant) not in options:
        return
    value = "VALUE"
    for argument, following in itertools.pairwise([*error.ctx.meta[ARGUMENTS], "VALUE"]):
        flag, equals, after = argument.partition("=")
        if flag == error.option_name:
            value = after if equals else following
    if meant not in FIELDS:
        meant = f"{meant} {shlex.quote(value)}"
    elif FIELDS[meant].default is False:  # a flag elsewhere
        meant = f"--set {meant}=true"
    else:
        meant = f"--set {shlex.quote(f'{meant}={value}')}"
    error.possibilities = [escape_controls(meant, sys.stderr)]  # type: ignore[misc]  # Click's own


def _describe(error: OSError) -> str:
    """Return the message for an error of the system, which may be an error of stdout."""
    if isinstance(error, io.UnsupportedOperation):
        return "standard output is closed: redirect it to a file or a pipe"
    if error.filename is None and error.errno in WRITE_ERRORS:
        return f"the output cannot be written: {error.strerror}"
    try:
        os.getcwd()
    except OSError:
        return "the current folder no longer exists. Change to another one: cd FOLDER"
    return f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}"


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}

EPILOG = "Settings: charrnn settings; documentation: README.md."


@click.group(cls=Program, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, prog_name="charrnn")
def main() -> None:
    """Train character-level recurrent networks, write text with them, and score text.

    \b
    charrnn train text.txt              text -> a config for it, text.npz
    charrnn new text.txt > config.yaml  text -> a config for it
    charrnn train config.yaml           config + text -> checkpoint.npz
    charrnn sample ckpt.npz --n 200     checkpoint -> new text on stdout
    charrnn eval ckpt.npz text.txt      checkpoint + text -> bits per character
    charrnn score ckpt.npz text.txt     checkpoint + text -> bits of each line
    charrnn next ckpt.npz "text"        checkpoint + text -> what may come next
    charrnn page ckpt.npz -o page.html  checkpoint -> a web page to explore
    charrnn plot ckpt.npz               checkpoint -> its loss curves

    Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 failure, 2 wrong
    command or config, 3 training diverged, 130 interrupted.
    """


def _call(callback: Callable[..., Any], **options: Any) -> Any:
    """Run a command. First log the variables CHARRNN_* that belong to no option.

    Raises UsageError when two parameters name stdin.
    """
    unknown = {name for name in os.environ if name.startswith("CHARRNN_")} - VARIABLES
    for name in sorted(unknown) if not launch().local_rank else ():
        import difflib

        matches = difflib.get_close_matches(name, VARIABLES, n=1)
        hint = f": did you mean {matches[0]}?" if matches else ""
        logger.info(f"{name} is set in the environment, but no option has that name{hint}")
    ctx = click.get_current_context()
    inputs = [p for p in ctx.command.params if p.name in INPUTS]
    piped = [p for p in inputs if options.get(p.name) in ("-", ("-",))]
    if len(piped) > 1:
        names = " and ".join(parameter.get_error_hint(ctx) for parameter in piped)
        raise click.UsageError(f"{names} cannot both come from standard input")
    return callback(**options)


def _add_command(name: str) -> None:
    """Add a command. The environment variable of `sample --seed` is CHARRNN_SAMPLE_SEED."""
    command = getattr(import_module(f"charrnn.cli.{name}"), name)
    command.callback = functools.partial(_call, command.callback)
    for option in command.params:
        if isinstance(option, click.Option):
            flag = max(option.opts, key=len).lstrip("-").replace("-", "_")
            option.envvar = f"CHARRNN_{name}_{flag}".upper()
            VARIABLES.add(option.envvar)
    main.add_command(command)


for _name in COMMANDS:
    _add_command(_name)
