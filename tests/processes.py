"""The program as a real process, and the lines it says."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys

CHARRNN = [sys.executable, "-m", "charrnn"]


def has_ended(pid):
    """Whether a process is at its end, now or soon."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], 20)[0])


class Process(subprocess.Popen):
    """One that does not outlive a test that fails."""

    def __exit__(self, *error):
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)


def start(*words, code=None, **options):
    """Run a command line; with `code`, in an interpreter that has executed this before."""
    program = CHARRNN if code is None else [sys.executable, "-c", f"{code}\n{RUN}"]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return Process(
        [*program, *map(str, words)], **({"stdin": subprocess.DEVNULL} | pipes | options)
    )


RUN = "import charrnn.cli.app; charrnn.cli.app.main(prog_name='charrnn')"


def read_until(process, beginning):
    """The lines on stderr up to one that begins so."""
    lines = []
    for line in process.stderr:
        lines.append(line.decode())
        if lines[-1].startswith(beginning):
            return lines
    raise AssertionError(f"the run ended by itself: {''.join(lines)}")


class Nursery:
    """An interpreter that has imported all it needs, and forks a process for each command line.

    That takes a hundredth of the time of a new interpreter. One process lives at a time.
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
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # what is forked has one thread
        )
        self.stderr = self.process.stderr
        return self

    def __exit__(self, *error):
        self.process.__exit__(*error)

    @contextlib.contextmanager
    def start(self, *words):
        """Like a process: `.pid`, `.stderr`, and after the block `.returncode`."""
        self.process.stdin.write(json.dumps([*map(str, words)]).encode() + b"\n")
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
