"""Measure the time and memory that a large corpus costs: read, cached and trained on.

`python scripts/bench.py --corpus-size 1e9` uses this module. It writes texts of that many bytes to
a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from charrnn.config import loader
from charrnn.data import cache, corpus

SMALL_BYTES = 1_000_000  # size of the text that is trained on for comparison


@contextmanager
def temporary_texts(size: int) -> Iterator[Path]:
    """Yield a temporary folder with three generated texts of random words.

    `large` and `lines` have `size` bytes, `small` has 1 MB. `large` and `small` are running text,
    `lines` has one word per line.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cache.VARIABLE] = str(Path(folder, "cache"))
        for name, text_bytes, separator in (
            ("large", size, " "),
            ("small", SMALL_BYTES, " "),
            ("lines", size, "\n"),
        ):
            with open(Path(folder, name), "w", encoding="utf-8") as stream:
                for piece in _random_words(text_bytes, separator):
                    stream.write(piece)
        yield Path(folder)


def _random_words(size: int, separator: str) -> Iterator[str]:
    """Yield pieces of a text of `size` characters: random words with a separator between them."""
    rng = np.random.default_rng(1)
    letters = list("etaoinshrdlucmfwypvbgkjqxz")
    words = ["".join(rng.choice(letters, rng.integers(2, 16))) for _ in range(20_000)]
    while size > 0:
        piece = separator.join(rng.choice(words, 100_000)) + "\n"
        piece = piece[:size]
        size -= len(piece)
        yield piece


def seconds_to_read(path: Path, mode: str = "stream") -> float:
    """Return the seconds that reading a corpus takes in this process."""
    config = loader.from_dict({"corpus": {"path": str(path), "mode": mode}}, "bench")
    started_at = time.perf_counter()
    corpus.read_corpus(config.corpus, 1)
    return time.perf_counter() - started_at


def peak_resident_mb(pid: int) -> float:
    """Return the peak resident memory of a running process and its children, in MB (Linux only).

    Memory that processes share is counted once per process.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return peak + sum(peak_resident_mb(int(child)) for child in children)


# A thread polls the memory of its process. Pages of mapped files are not counted, because the
# operating system can take them back.
PEAK_MEMORY_PROGRAM = """
import threading
peak, ended = 0, threading.Event()
def anonymous_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "RssAnon" in line)
def poll():
    global peak
    while not ended.wait(0.01):
        peak = max(peak, anonymous_kb())
poller = threading.Thread(target=poll)
poller.start()
try:
    STATEMENT
finally:
    ended.set()
    poller.join()
    print(max(peak, anonymous_kb()) / 1024)
"""


def peak_anonymous_mb(statement: str, *arguments: str) -> float:
    """Return the peak anonymous memory of a Python process that runs a statement, in MB.

    `arguments` are its `sys.argv[1:]`. Linux only.
    """
    program = PEAK_MEMORY_PROGRAM.replace("STATEMENT", statement)
    stdout = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    ).stdout
    return float(stdout.split()[-1])


def training_peak_mb(path: Path, mode: str) -> float:
    """Return the peak anonymous memory of a short training run, in MB.

    The run has one process and validates. The memory of the interpreter with NumPy is subtracted.
    """
    with tempfile.TemporaryDirectory() as folder:
        config_path = Path(folder, "run.yaml")
        config_path.write_text(
            f"corpus: {{path: {path}, mode: {mode}, validation: 0.001}}\n"
            "train: {steps: 1000, batch_size: 32, seed: 1, workers: 1}\n"
            "optimizer: {learning_rate: 0.01}\n"
            f"output: {{checkpoint: {folder}/run.npz}}\n"
        )
        statement = "from charrnn.cli.app import main; main()"
        peak = peak_anonymous_mb(statement, "train", str(config_path), "-q")
    return peak - peak_anonymous_mb("import numpy")
