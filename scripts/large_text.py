"""What a large corpus costs: made, encoded, found again and trained on, in time and in memory.

Run by `python scripts/bench.py --corpus-size 1e9`: a text of so many bytes in a temporary folder.
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

SMALL = 1_000_000  # bytes of the text that is trained on for comparison


@contextmanager
def texts(size: int) -> Iterator[Path]:
    """A folder with `large` and `small`, running text, and `lines`, a list; of made-up words."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cache.VARIABLE] = str(Path(folder, "cache"))
        for name, bytes_, between in (
            ("large", size, " "),
            ("small", SMALL, " "),
            ("lines", size, "\n"),
        ):
            with open(Path(folder, name), "w", encoding="utf-8") as stream:
                for piece in _words(bytes_, between):
                    stream.write(piece)
        yield Path(folder)


def _words(size: int, between: str) -> Iterator[str]:
    rng = np.random.default_rng(1)
    letters = list("etaoinshrdlucmfwypvbgkjqxz")
    words = ["".join(rng.choice(letters, rng.integers(2, 16))) for _ in range(20_000)]
    while size > 0:
        piece = between.join(rng.choice(words, 100_000)) + "\n"
        piece = piece[:size]
        size -= len(piece)
        yield piece


def seconds_to_read(path: Path, mode: str = "stream") -> float:
    """Of one reading, in this process."""
    settings = loader.from_dict({"corpus": {"path": str(path), "mode": mode}}, "bench")
    begun = time.perf_counter()
    corpus.read(settings.corpus, 1)
    return time.perf_counter() - begun


def peak_of_mb(pid: int) -> float:
    """The largest resident size of a running process so far, in MB; on Linux.

    With that of its helpers, in which what they share is counted again.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    helpers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return peak + sum(peak_of_mb(int(helper)) for helper in helpers)


# Run by a process on itself: the pages of mapped files, which the system takes back, do not count.
OWN = """
import threading
peak, ended = 0, threading.Event()
def own():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "RssAnon" in line)
def watch():
    global peak
    while not ended.wait(0.01):
        peak = max(peak, own())
watching = threading.Thread(target=watch)
watching.start()
try:
    STATEMENT
finally:
    ended.set()
    watching.join()
    print(max(peak, own()) / 1024)
"""


def peak_mb(statement: str, *words: str) -> float:
    """The most memory of its own of a Python process that runs this statement, in MB; on Linux."""
    program = OWN.replace("STATEMENT", statement)
    printed = subprocess.run(
        [sys.executable, "-c", program, *words], check=True, capture_output=True, text=True
    ).stdout
    return float(printed.split()[-1])


def peak_of_training_mb(path: Path, mode: str) -> float:
    """Of a short run in one process, with validation; above the bare interpreter with NumPy."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "run.yaml")
        written.write_text(
            f"corpus: {{path: {path}, mode: {mode}, validation: 0.001}}\n"
            "train: {steps: 1000, batch_size: 32, seed: 1, workers: 1}\n"
            "optimizer: {learning_rate: 0.01}\n"
            f"output: {{checkpoint: {folder}/run.npz}}\n"
        )
        whole = peak_mb("from charrnn.cli.app import main; main()", "train", str(written), "-q")
    return whole - peak_mb("import numpy")
