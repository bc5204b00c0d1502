"""The sides of the benchmarks: each in a process of its own, so that none meets another's threads.

    side = Side("charrnn", "model.hidden=100")      # starts the process, which makes itself ready
    seconds = side.time(20)                         # of one call, over twenty

A process waits for a number, makes so many calls, and tells the seconds.
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


class Side:
    """One side, as the other end of its process sees it."""

    def __init__(
        self,
        kind: str,
        *words: Any,
        environment: dict[str, str] | None = None,
        checkout: Path | None = None,
    ) -> None:
        """`checkout` is another one, whose own side and environment are taken.

        Raises Missing when this machine lacks what it needs.
        """
        script = __file__ if checkout is None else str(checkout / "scripts" / "sides.py")
        self.process = subprocess.Popen(
            [python_of(checkout), script, kind, json.dumps(words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid
        self.facts = self._answer()
        if "missing" in self.facts:
            raise Missing(self.facts["missing"])

    def time(self, calls: int) -> float:
        """Seconds of one call, over so many."""
        print(calls, file=self.process.stdin, flush=True)
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended early: {self.process.args}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def python_of(checkout: Path | None) -> str:
    """The interpreter of another checkout's own environment, or this one."""
    if checkout is None:
        return sys.executable
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"{checkout} has no environment of its own: cd {checkout} && python3 -m venv .venv && "
            ".venv/bin/pip install -e ."
        )
    return str(python)


class Missing(Exception):
    """What a side needs and this machine does not have."""


def settings_of(overrides: list[str], path: str = "text") -> Any:
    """A config of these settings."""
    from charrnn.config import loader

    base = {"corpus": {"path": path}, "train": {"seed": 1}}
    return loader.override(loader.from_dict(base, "bench"), overrides, [], "bench")


def trainer(*overrides: str, text: str = TEXT, group: Any = None) -> Any:
    """A run on `text` with these settings, of one process or as a rank of a group."""
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(text, encoding="utf-8")
        settings = settings_of(list(overrides), str(path))
        return Trainer(settings, corpus.read(settings.corpus, 1), group)


def charrnn(*overrides: str, group: Any) -> Call:
    """Updates of a run on running text, by as many processes as the program chooses."""
    return trainer(*overrides, group=group).update


def on_text(path: str, *overrides: str) -> Call:
    """Updates of a run on the text in a file."""
    from charrnn.data import corpus
    from charrnn.training.trainer import Trainer

    settings = settings_of(list(overrides), path)
    return Trainer(settings, corpus.read(settings.corpus, 1)).update


def names(*overrides: str) -> tuple[Call, dict[str, Any]]:
    """Epochs over a list of names."""
    run = trainer("corpus.mode=lines", *overrides, text=NAMES)
    count = run.batches.per_epoch()
    chars = int(run.corpus.records.lengths(run.corpus.training).sum())
    shown = used = 0
    for _ in range(count):
        batch = run.batches.next()
        shown, used = shown + batch.ids.size, used + batch.chars
    facts = {"chars": chars, "padding": 1 - used / shown}
    return (lambda: deque((run.update() for _ in range(count)), maxlen=0)), facts


def pytorch(*sizes: Any) -> Call:
    """Updates by PyTorch's own modules."""
    import pytorch as other

    return other.Trainer(*sizes, learning_rate=0.001).step


def jax(hidden: int, T: int) -> Call:
    """Updates by a function that JAX compiles, of one row."""
    import jitted

    return jitted.Trainer(65, hidden, T).step


def textbook() -> Call:
    """Updates by the textbook loop, in float64."""
    import textbook as loop

    run = trainer()
    weights = loop.init(len(run.corpus.vocab), 100)
    return loop.Trainer(run.corpus.training, weights).step


def plain_c() -> Call:
    """Updates by the plain C loop."""
    import ctypes
    import shutil

    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("there is no C compiler")
    folder = tempfile.mkdtemp()
    library = Path(folder, "loop.so")
    flags = ["-O3", "-march=native", "-ffast-math", "-DH=100", "-DV=65", "-DT=25"]
    source = str(Path(__file__).with_name("loop.c"))
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


def product() -> Call:
    """A large float32 product by NumPy's BLAS with all cores: 2 x 2048^3 operations."""
    import numpy as np

    one, other = np.ones((2, 2048, 2048), np.float32)
    out = np.empty_like(one)
    return lambda: one.dot(other, out)


def sampling(cell: str, hidden: int) -> Call:
    """One text by `charrnn sample`."""
    from charrnn.sampling.sampler import Limits, Sampler, Taste

    run = trainer(f"model.cell={cell}", f"model.hidden={hidden}")
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "stream")
    return lambda: deque(sampler.stream(1, Taste(), Limits(chars=CHARS)), maxlen=0)


def pytorch_sampling(cell: str, hidden: int) -> Call:
    """One text by PyTorch's modules, step by step."""
    import pytorch as other

    network = other.Network(cell, 65, hidden, 1)
    return lambda: other.sample(network, CHARS)


def texts(hidden: int, count: int) -> tuple[Call, dict[str, Any]]:
    """So many names at once, or for `count` 1 one after another."""
    from charrnn.sampling.sampler import Limits, Sampler, Taste

    run = trainer("corpus.mode=lines", f"model.hidden={hidden}", text=NAMES)
    for _ in range(3000):
        run.update()
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "lines")
    if count == 1:
        whole = "".join(sampler.stream(1, Taste(), Limits(lines=200)))
        facts = {"chars": len(whole)}
        return lambda: deque(sampler.stream(1, Taste(), Limits(lines=200)), maxlen=0), facts
    all_of_them = sampler.texts(1, Taste(), Limits(), count=count)
    facts = {"chars": sum(text.chars for text in all_of_them)}
    return lambda: deque(sampler.texts(1, Taste(), Limits(), count=count), maxlen=0), facts


def scoring(
    cell: str, hidden: int, mode: str, asked: int | None = None, chars: int = 10_000
) -> Any:
    """A text scored: so many characters of a stream, or many lines side by side."""
    settings = [f"model.cell={cell}", f"model.hidden={hidden}"]
    import numpy as np

    from charrnn.data.corpus import Records
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.parallel import worker_count
    from charrnn.parallel.pool import WorkerPool

    run = trainer(*settings)
    workers = asked or worker_count.for_scoring(run.config.model)
    evaluator = Evaluator(run.model, run.params, WorkerPool(workers))
    if mode == "stream":
        ids = run.corpus.training[: chars + 1]
        state = run.model.zero_state(1)
        return (lambda: evaluator.follow(ids, state)), {"chars": chars}
    lines = [line for line in TEXT[:LINES_CHARS].split("\n") if line]
    records = Records.of(lines, run.corpus.vocab.encode)
    which = np.arange(len(lines))
    facts = {"chars": int(records.lengths(which).sum())}
    return (lambda: evaluator.each(records, which)), facts


def pytorch_scoring(cell: str, hidden: int) -> tuple[Call, dict[str, Any]]:
    """A text scored by PyTorch, a character at a time."""
    import numpy as np
    import pytorch as other

    network = other.Network(cell, 65, hidden, 1)
    few = np.random.default_rng(0).integers(0, 65, CHARS + 1).tolist()
    return (lambda: other.score(network, few)), {"chars": CHARS}


SIDES = {
    side.__name__: side
    for side in (
        charrnn,
        on_text,
        names,
        pytorch,
        jax,
        textbook,
        plain_c,
        product,
        sampling,
        pytorch_sampling,
        texts,
        scoring,
        pytorch_scoring,
    )
}


def main() -> None:
    """Be the side that the command line names."""
    kind, words = sys.argv[1], json.loads(sys.argv[2])
    if not kind.startswith(("pytorch", "jax", "product")):  # which take all cores as they come
        blas.limit()
    if kind != "charrnn":
        serve(None, kind, words)
        return
    from charrnn.parallel import local, worker_count

    workers = worker_count.for_training(settings_of(words))
    local.run(workers, functools.partial(serve, kind=kind, words=words))


def serve(group: Any, kind: str, words: list[Any]) -> None:
    """Make calls as they are asked for; of several processes the first is asked."""
    first = group is None or group.is_first
    try:
        made = SIDES[kind](*words) if group is None else SIDES[kind](*words, group=group)
    except (Missing, ImportError) as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    call, facts = made if isinstance(made, tuple) else (made, {})
    call()
    if first:
        print(json.dumps(facts), flush=True)
    while True:
        calls = int(sys.stdin.readline() or 0) if first else 0
        calls = calls if group is None else group.broadcast(calls)
        if not calls:
            return
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        if first:
            print(json.dumps({"seconds": (time.perf_counter() - begun) / calls}), flush=True)


if __name__ == "__main__":
    main()
