"""Workloads that the benchmarks time, each in its own process with its own threads.

    process = BenchmarkProcess("training", "model.hidden=100")  # returns when it is ready
    seconds = process.time(20)  # seconds per call, the mean of twenty

The process reads a number of calls on stdin, makes them, and prints the seconds per call as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import string
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.parallel import blas

ROOT = Path(__file__).resolve().parent.parent
PARAGRAPH = (
    "A page of plain prose, with commas; a few numbers such as 17 or 1986, and a question?\n"
    "It is here so that nothing has to be fetched, and is never quite the same twice: {}.\n"
)
TEXT = "".join(PARAGRAPH.format(n * n) for n in range(6000))
# 65 distinct characters, as in tinyshakespeare.
TEXT += "".join(sorted(set(string.ascii_letters + "!&") - set(TEXT)))[: 65 - len(set(TEXT))]
NAMES = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8")
CHARS = 500  # characters per call, sampled or scored one by one
LINES_CHARS = 200_000  # characters of the lines that are scored

Call = Callable[[], object]


class BenchmarkProcess:
    """A handle of a child process that runs one workload."""

    def __init__(
        self,
        workload: str,
        *arguments: Any,
        environment: dict[str, str] | None = None,
        checkout: Path | None = None,
    ) -> None:
        """Start a workload of this checkout, or of another one in its own environment.

        `environment` has variables to set in addition to those of this process.

        Raises Unavailable when the workload needs a program or package that is not installed.
        """
        script = (
            __file__ if checkout is None else str(checkout / "scripts" / "benchmark_process.py")
        )
        self.process = subprocess.Popen(
            [python_path(checkout), script, workload, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid
        self.facts = self._read_reply()
        if "unavailable" in self.facts:
            raise Unavailable(self.facts["unavailable"])

    def time(self, calls: int) -> float:
        """Return the seconds per call, the mean over this many calls."""
        print(calls, file=self.process.stdin, flush=True)
        return float(self._read_reply()["seconds"])

    def _read_reply(self) -> dict[str, Any]:
        """Return the next line of the process. Raises SystemExit when the process has ended."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a benchmark process ended early: {self.process.args}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> BenchmarkProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def python_path(checkout: Path | None) -> str:
    """Return the path of the interpreter in a checkout's .venv; None is this interpreter.

    Raises SystemExit when the checkout has no .venv.
    """
    if checkout is None:
        return sys.executable
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"{checkout} has no .venv; to make one: cd {checkout} && python3 -m venv .venv && "
            ".venv/bin/pip install -e ."
        )
    return str(python)


class Unavailable(Exception):
    """An error: a compiler or package that a workload needs is not installed."""


def make_config(overrides: list[str], path: str = "text") -> Any:
    """Return the config of a run on the text at `path`, with settings given as for `--set`."""
    from charrnn.config import loader

    base = {"corpus": {"path": path}, "train": {"seed": 1}}
    return loader.override(loader.from_dict(base, "bench"), overrides, [], "bench")


def trainer(*overrides: str, text: str = TEXT, group: Any = None) -> Any:
    """Return a trainer on `text` with settings given as for `--set`.

    It trains in one process, or as a rank of `group`.
    """
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(text, encoding="utf-8")
        config = make_config(list(overrides), str(path))
        return Trainer(config, corpus.read_corpus(config.corpus, 1), group)


def training(*overrides: str, group: Any) -> Call:
    """Return a call that makes one update on running text, as a rank of `group`."""
    return trainer(*overrides, group=group).update


def training_on_file(path: str, *overrides: str) -> Call:
    """Return a call that makes one update on the text in a file."""
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    config = make_config(list(overrides), path)
    return Trainer(config, corpus.read_corpus(config.corpus, 1)).update


def training_on_names(*overrides: str) -> tuple[Call, dict[str, Any]]:
    """Return a call that trains one epoch on a list of names.

    The facts are the number of its characters and the share of padding in its batches.
    """
    run = trainer("corpus.mode=lines", *overrides, text=NAMES)
    updates = run.batches.per_epoch()
    chars = int(run.corpus.records.lengths(run.corpus.training).sum())
    positions = unpadded = 0
    for _ in range(updates):
        batch = run.batches.next()
        positions, unpadded = positions + batch.ids.size, unpadded + batch.chars
    facts = {"chars": chars, "padding": 1 - unpadded / positions}
    return (lambda: deque((run.update() for _ in range(updates)), maxlen=0)), facts


def pytorch_training(*sizes: Any) -> Call:
    """Return a call that makes one update of PyTorch's recurrent modules."""
    import pytorch_rnn

    return pytorch_rnn.Trainer(*sizes, learning_rate=0.001).step


def jax_training(hidden: int, T: int) -> Call:
    """Return a call that makes one update of one row, by a function that JAX compiles."""
    import min_char_rnn_jax

    return min_char_rnn_jax.Trainer(65, hidden, T).step


def textbook_training() -> Call:
    """Return a call that makes one update of the textbook loop, in float64."""
    import min_char_rnn

    run = trainer()
    weights = min_char_rnn.init(len(run.corpus.vocab), 100)
    return min_char_rnn.Trainer(run.corpus.training, weights).step


def c_training() -> Call:
    """Return a call that makes one update of the plain C loops, in float32.

    Raises Unavailable when there is no C compiler.
    """
    import ctypes
    import shutil

    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("there is no C compiler")
    folder = tempfile.mkdtemp()
    library = Path(folder, "loop.so")
    flags = ["-O3", "-march=native", "-ffast-math", "-DH=100", "-DV=65", "-DT=25"]
    source = str(Path(__file__).with_name("min_char_rnn.c"))
    subprocess.run(
        [compiler, *flags, "-shared", "-fPIC", source, "-o", str(library), "-lm"], check=True
    )
    loop = ctypes.CDLL(str(library))
    shutil.rmtree(folder)
    loop.initialize()
    loop.step.restype = ctypes.c_float
    loop.step.argtypes = [ctypes.c_void_p, ctypes.c_float, ctypes.c_float]
    import numpy as np

    ids = np.random.default_rng(0).integers(0, 65, 26).astype(np.int32)
    return lambda: loop.step(ids.ctypes.data, 0.001, 5.0)


def matrix_product() -> Call:
    """Return a call of one float32 matrix product of 2 x 2048^3 operations, on all cores."""
    import numpy as np

    a, b = np.ones((2, 2048, 2048), np.float32)
    out = np.empty_like(a)
    return lambda: a.dot(b, out)


def sampling(cell: str, hidden: int) -> Call:
    """Return a call that samples one text as `charrnn sample` does."""
    from charrnn.sampling.drawing import SamplingOptions
    from charrnn.sampling.sampler import Sampler, StopConditions

    run = trainer(f"model.cell={cell}", f"model.hidden={hidden}")
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "stream")
    return lambda: deque(
        sampler.stream(1, SamplingOptions(), StopConditions(chars=CHARS)), maxlen=0
    )


def pytorch_sampling(cell: str, hidden: int) -> Call:
    """Return a call that samples one text from PyTorch's modules, step by step."""
    import pytorch_rnn

    network = pytorch_rnn.Network(cell, 65, hidden, 1)
    return lambda: pytorch_rnn.sample(network, CHARS)


def sampling_names(hidden: int, count: int) -> tuple[Call, dict[str, Any]]:
    """Return a call that samples `count` names at once, or 200 one by one where `count` is 1.

    The facts are the number of characters per call.
    """
    from charrnn.sampling.drawing import SamplingOptions
    from charrnn.sampling.sampler import Sampler, StopConditions

    run = trainer("corpus.mode=lines", f"model.hidden={hidden}", text=NAMES)
    for _ in range(3000):
        run.update()
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "lines")
    if count == 1:
        sampled = "".join(sampler.stream(1, SamplingOptions(), StopConditions(lines=200)))
        facts = {"chars": len(sampled)}
        return lambda: deque(
            sampler.stream(1, SamplingOptions(), StopConditions(lines=200)), maxlen=0
        ), facts
    sampled_texts = sampler.texts(1, SamplingOptions(), StopConditions(), count=count)
    facts = {"chars": sum(text.chars for text in sampled_texts)}
    return lambda: deque(
        sampler.texts(1, SamplingOptions(), StopConditions(), count=count), maxlen=0
    ), facts


def scoring(
    cell: str, hidden: int, mode: str, workers: int | None = None, chars: int = 10_000
) -> Any:
    """Return a call that scores `chars` characters of a stream, or many lines in batches.

    `workers` is by default the number that charrnn chooses. The facts are the number of
    characters per call.
    """
    from charrnn.data.corpus import Records
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.parallel import worker_count
    from charrnn.parallel.pool import WorkerPool

    run = trainer(f"model.cell={cell}", f"model.hidden={hidden}")
    workers = workers or worker_count.for_scoring(run.config.model)
    evaluator = Evaluator(run.model, run.params, WorkerPool(workers))
    if mode == "stream":
        ids = run.corpus.training[: chars + 1]
        state = run.model.zero_state(1)
        return (lambda: evaluator.score_sequence(ids, state)), {"chars": chars}
    lines = [line for line in TEXT[:LINES_CHARS].split("\n") if line]
    records = Records.of(lines, run.corpus.vocab.encode)
    facts = {"chars": sum(len(line) + 1 for line in lines)}
    return (lambda: evaluator.score_records(records)), facts


def pytorch_scoring(cell: str, hidden: int) -> tuple[Call, dict[str, Any]]:
    """Return a call that scores a text with PyTorch, one character at a time."""
    import numpy as np
    import pytorch_rnn

    network = pytorch_rnn.Network(cell, 65, hidden, 1)
    ids = np.random.default_rng(0).integers(0, 65, CHARS + 1).tolist()
    return (lambda: pytorch_rnn.score(network, ids)), {"chars": CHARS}


WORKLOADS = {
    workload.__name__: workload
    for workload in (
        training,
        training_on_file,
        training_on_names,
        pytorch_training,
        jax_training,
        textbook_training,
        c_training,
        matrix_product,
        sampling,
        pytorch_sampling,
        sampling_names,
        scoring,
        pytorch_scoring,
    )
}


def main() -> None:
    """Run the workload that the command line names; `training` in one or more processes."""
    workload, arguments = sys.argv[1], json.loads(sys.argv[2])
    if not workload.startswith(("pytorch", "jax", "matrix_product")):  # they use all cores
        blas.limit_threads()
    if workload != "training":
        serve(None, workload, arguments)
        return
    from charrnn.parallel import local, worker_count

    # as many processes as `charrnn train` would start
    workers = worker_count.for_training(make_config(arguments))
    local.run(workers, functools.partial(serve, workload=workload, arguments=arguments))


def serve(group: Any, workload: str, arguments: list[Any]) -> None:
    """Prepare a workload, make one warm-up call, then time the requested numbers of calls.

    Rank 0 reads the number of calls, prints the seconds per call, and ends all ranks at the end of
    stdin.
    """
    is_rank_zero = group is None or group.is_rank_zero
    try:
        prepared = (
            WORKLOADS[workload](*arguments)
            if group is None
            else WORKLOADS[workload](*arguments, group=group)
        )
    except (Unavailable, ImportError) as error:
        print(json.dumps({"unavailable": str(error)}), flush=True)
        return
    call, facts = prepared if isinstance(prepared, tuple) else (prepared, {})
    call()
    if is_rank_zero:
        print(json.dumps(facts), flush=True)
    while True:
        calls = int(sys.stdin.readline() or 0) if is_rank_zero else 0
        calls = calls if group is None else group.broadcast(calls)
        if not calls:
            return
        started_at = time.perf_counter()
        for _ in range(calls):
            call()
        if is_rank_zero:
            print(json.dumps({"seconds": (time.perf_counter() - started_at) / calls}), flush=True)


if __name__ == "__main__":
    main()
