"""Run the program as a real process, and read the lines it prints."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys

CHARRNN = [sys.executable, "-m", "charrnn"]


def wait_for_exit(pid):
    """Wait up to 20 seconds for a process to end; return whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], 20)[0])


class Process(subprocess.Popen):
    """A Popen that kills its process when the `with` block raises, so that no test leaves it."""

    def __exit__(self, *error):
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)


def start(*arguments, code=None, **options):
    """Start charrnn with these arguments and return the process; its output goes to pipes.

    With `code`, the interpreter executes that first. `options` are those of Popen.
    """
    command = CHARRNN if code is None else [sys.executable, "-c", f"{code}\n{MAIN_CODE}"]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return Process(
        [*command, *map(str, arguments)], **({"stdin": subprocess.DEVNULL} | pipes | options)
    )


# Code that runs the command line in `sys.argv`.
MAIN_CODE = "import charrnn.cli.app; charrnn.cli.app.main(prog_name='charrnn')"


def read_until(process, prefix):
    """Return the lines on stderr up to the first one that starts with `prefix`.

    Raises AssertionError when stderr ends before.
    """
    lines = []
    for line in process.stderr:
        lines.append(line.decode())
        if lines[-1].startswith(prefix):
            return lines
    raise AssertionError(f"stderr ended without {prefix!r}: {''.join(lines)}")


class ForkServer:
    """An interpreter that has imported the program and forks a process for each command line.

    A fork takes a hundredth of the time of a new interpreter. One process runs at a time.
    """

    CODE = """
import json, os, sys
from charrnn.cli import progress
from charrnn.training import session
from charrnn.cli.app import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        main(json.loads(line), prog_name="charrnn")
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    os.write(2, b"the end\\n")  # at once: a worker of the killed run may be writing too
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # one thread, so that forking is safe
        )
        self.stderr = self.process.stderr
        return self

    def __exit__(self, *error):
        self.process.__exit__(*error)

    @contextlib.contextmanager
    def start(self, *arguments):
        """Run a command line for the block: `.pid`, `.stderr`, and after the block `.returncode`.

        Kill the process when the block raises.
        """
        self.process.stdin.write(json.dumps([*map(str, arguments)]).encode() + b"\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline())
        try:
            yield self
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            raise
        while self.stderr.readline() != b"the end\n":
            pass
        self.returncode = int(self.process.stdout.readline())
