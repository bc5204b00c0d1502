"""Workloads that the benchmarks time, each in a process of its own: no threads are shared.

    process = BenchmarkProcess("training", "model.hidden=100")  # starts it, waits until it is ready
    seconds = process.time(20)  # seconds a call, the mean of twenty

A process reads a number, makes as many calls, and prints the seconds a call took.
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
# As many distinct characters as tinyshakespeare, on which these sizes are usually trained.
TEXT += "".join(sorted(set(string.ascii_letters + "!&") - set(TEXT)))[: 65 - len(set(TEXT))]
NAMES = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8")
CHARS = 500  # sampled, or scored character by character, at a time
LINES_CHARS = 200_000  # of the lines that are scored

Call = Callable[[], object]


class BenchmarkProcess:
    """A process that runs one workload, seen from the process that started it."""

    def __init__(
        self,
        kind: str,
        *words: Any,
        environment: dict[str, str] | None = None,
        checkout: Path | None = None,
    ) -> None:
        """Start a workload; with `checkout`, that of another checkout in its own environment.

        Raises Unavailable when this machine lacks what the workload needs.
        """
        script = (
            __file__ if checkout is None else str(checkout / "scripts" / "benchmark_process.py")
        )
        self.process = subprocess.Popen(
            [python_of(checkout), script, kind, json.dumps(words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid
        self.facts = self._answer()
        if "unavailable" in self.facts:
            raise Unavailable(self.facts["unavailable"])

    def time(self, calls: int) -> float:
        """Return the seconds of one call, the mean over `calls`."""
        print(calls, file=self.process.stdin, flush=True)
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
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


def python_of(checkout: Path | None) -> str:
    """Return the interpreter of another checkout's own environment, or this one."""
    if checkout is None:
        return sys.executable
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"{checkout} has no environment of its own: cd {checkout} && python3 -m venv .venv && "
            ".venv/bin/pip install -e ."
        )
    return str(python)


class Unavailable(Exception):
    """A compiler or package that a workload needs and this machine does not have."""


def settings_of(overrides: list[str], path: str = "text") -> Any:
    """Return a config with these settings."""
    from charrnn.config import loader

    base = {"corpus": {"path": path}, "train": {"seed": 1}}
    return loader.override(loader.from_dict(base, "bench"), overrides, [], "bench")


def trainer(*overrides: str, text: str = TEXT, group: Any = None) -> Any:
    """Return a trainer on `text` with these settings, of one process or as a rank of a group."""
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(text, encoding="utf-8")
        settings = settings_of(list(overrides), str(path))
        return Trainer(settings, corpus.read(settings.corpus, 1), group)


def training(*overrides: str, group: Any) -> Call:
    """Return one update on running text, by as many processes as the program chooses."""
    return trainer(*overrides, group=group).update


def training_on_file(path: str, *overrides: str) -> Call:
    """Return one update on the text in a file."""
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    settings = settings_of(list(overrides), path)
    return Trainer(settings, corpus.read(settings.corpus, 1)).update


def training_on_names(*overrides: str) -> tuple[Call, dict[str, Any]]:
    """Return one epoch over a list of names, its characters and its share of padding."""
    run = trainer("corpus.mode=lines", *overrides, text=NAMES)
    count = run.batches.per_epoch()
    chars = int(run.corpus.records.lengths(run.corpus.training).sum())
    slots = used = 0
    for _ in range(count):
        batch = run.batches.next()
        slots, used = slots + batch.ids.size, used + batch.chars
    facts = {"chars": chars, "padding": 1 - used / slots}
    return (lambda: deque((run.update() for _ in range(count)), maxlen=0)), facts


def pytorch_training(*sizes: Any) -> Call:
    """Return one update by PyTorch's own modules."""
    import pytorch_rnn

    return pytorch_rnn.Trainer(*sizes, learning_rate=0.001).step


def jax_training(hidden: int, T: int) -> Call:
    """Return one update by a function that JAX compiles, of one row."""
    import min_char_rnn_jax

    return min_char_rnn_jax.Trainer(65, hidden, T).step


def textbook_training() -> Call:
    """Return one update by the textbook loop, in float64."""
    import min_char_rnn

    run = trainer()
    weights = min_char_rnn.init(len(run.corpus.vocab), 100)
    return min_char_rnn.Trainer(run.corpus.training, weights).step


def c_training() -> Call:
    """Return one update by the plain C loop."""
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
    loop.begin()
    loop.step.restype = ctypes.c_float
    loop.step.argtypes = [ctypes.c_void_p, ctypes.c_float, ctypes.c_float]
    import numpy as np

    ids = np.random.default_rng(0).integers(0, 65, 26).astype(np.int32)
    return lambda: loop.step(ids.ctypes.data, 0.001, 5.0)


def matrix_product() -> Call:
    """Return one large float32 product by NumPy's BLAS with all cores: 2 x 2048^3 operations."""
    import numpy as np

    a, b = np.ones((2, 2048, 2048), np.float32)
    out = np.empty_like(a)
    return lambda: a.dot(b, out)


def sampling(cell: str, hidden: int) -> Call:
    """Return a call that samples one text as `charrnn sample` does."""
    from charrnn.sampling.sampler import Limits, Sampler, Taste

    run = trainer(f"model.cell={cell}", f"model.hidden={hidden}")
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "stream")
    return lambda: deque(sampler.stream(1, Taste(), Limits(chars=CHARS)), maxlen=0)


def pytorch_sampling(cell: str, hidden: int) -> Call:
    """Return a call that samples one text by PyTorch's modules, step by step."""
    import pytorch_rnn

    network = pytorch_rnn.Network(cell, 65, hidden, 1)
    return lambda: pytorch_rnn.sample(network, CHARS)


def sampling_names(hidden: int, count: int) -> tuple[Call, dict[str, Any]]:
    """Return a call that samples `count` names at once, or for 1 two hundred one after another."""
    from charrnn.sampling.sampler import Limits, Sampler, Taste

    run = trainer("corpus.mode=lines", f"model.hidden={hidden}", text=NAMES)
    for _ in range(3000):
        run.update()
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "lines")
    if count == 1:
        sampled = "".join(sampler.stream(1, Taste(), Limits(lines=200)))
        facts = {"chars": len(sampled)}
        return lambda: deque(sampler.stream(1, Taste(), Limits(lines=200)), maxlen=0), facts
    sampled_texts = sampler.texts(1, Taste(), Limits(), count=count)
    facts = {"chars": sum(text.chars for text in sampled_texts)}
    return lambda: deque(sampler.texts(1, Taste(), Limits(), count=count), maxlen=0), facts


def scoring(
    cell: str, hidden: int, mode: str, workers: int | None = None, chars: int = 10_000
) -> Any:
    """Return a call that scores `chars` characters of a stream, or many lines side by side."""
    settings = [f"model.cell={cell}", f"model.hidden={hidden}"]
    from charrnn.data.corpus import Records
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.parallel import worker_count
    from charrnn.parallel.pool import WorkerPool

    run = trainer(*settings)
    workers = workers or worker_count.for_scoring(run.config.model)
    evaluator = Evaluator(run.model, run.params, WorkerPool(workers))
    if mode == "stream":
        ids = run.corpus.training[: chars + 1]
        state = run.model.zero_state(1)
        return (lambda: evaluator.follow(ids, state)), {"chars": chars}
    lines = [line for line in TEXT[:LINES_CHARS].split("\n") if line]
    records = Records.of(lines, run.corpus.vocab.encode)
    facts = {"chars": sum(len(line) + 1 for line in lines)}
    return (lambda: evaluator.each(records)), facts


def pytorch_scoring(cell: str, hidden: int) -> tuple[Call, dict[str, Any]]:
    """Return a call that scores a text by PyTorch, a character at a time."""
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
    """Run the workload that the command line names."""
    kind, words = sys.argv[1], json.loads(sys.argv[2])
    if not kind.startswith(
        ("pytorch", "jax", "matrix_product")
    ):  # which take all cores as they come
        blas.limit()
    if kind != "training":
        serve(None, kind, words)
        return
    from charrnn.parallel import local, worker_count

    workers = worker_count.for_training(settings_of(words))
    local.run(workers, functools.partial(serve, kind=kind, words=words))


def serve(group: Any, kind: str, words: list[Any]) -> None:
    """Time calls of a workload; rank 0 reads how many and prints the seconds."""
    is_first = group is None or group.is_first
    try:
        prepared = (
            WORKLOADS[kind](*words) if group is None else WORKLOADS[kind](*words, group=group)
        )
    except (Unavailable, ImportError) as error:
        print(json.dumps({"unavailable": str(error)}), flush=True)
        return
    call, facts = prepared if isinstance(prepared, tuple) else (prepared, {})
    call()
    if is_first:
        print(json.dumps(facts), flush=True)
    while True:
        calls = int(sys.stdin.readline() or 0) if is_first else 0
        calls = calls if group is None else group.broadcast(calls)
        if not calls:
            return
        started_at = time.perf_counter()
        for _ in range(calls):
            call()
        if is_first:
            print(json.dumps({"seconds": (time.perf_counter() - started_at) / calls}), flush=True)


if __name__ == "__main__":
    main()
