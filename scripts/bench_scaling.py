"""How the cost of a character grows with the sizes of a run, each over a factor of 16 or more.

    python scripts/bench_scaling.py                     # a Markdown table with the exponents
    python scripts/bench_scaling.py -o data/scaling.png  # and a picture; needs matplotlib

The exponent is the slope of log(seconds per character) against log(size), by least squares: 0 where
a character costs the same, 1 where it costs twice as much at twice the size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import benchmark_process
import numpy as np
from bench import machine
from benchmark_process import BenchmarkProcess

from charrnn.data import cache

ROUNDS = 5
SECONDS = 0.3  # of one round
BASE = {"cell": "gru", "hidden": 128, "layers": 1, "T": 32, "B": 32, "text": 1 << 20}
AXES = {  # what varies, over what, and the exponent to be expected
    "hidden": ("hidden units H", [32, 64, 128, 256, 512, 1024], "0 to 2: calls, then products"),
    "layers": ("layers", [1, 2, 4, 8, 16], "1"),
    "T": ("steps T of a window", [8, 16, 32, 64, 128, 256, 512], "0, or below for short ones"),
    "B": ("rows B", [1, 2, 4, 8, 16, 32, 64, 128], "-1 to 0: calls are shared by the rows"),
    "text": ("characters of the text", [1 << n for n in range(16, 27, 2)], "0"),
}


def seconds_per_char(folder: Path, rounds: int, seconds: float, **changed: int) -> float:
    """Of training, the median of the rounds, each of so many seconds."""
    sizes = {**BASE, **changed}
    path = folder / f"{sizes['text']}.txt"
    if not path.exists():
        repeats = -(-sizes["text"] // len(benchmark_process.TEXT))
        path.write_text((benchmark_process.TEXT * repeats)[: sizes["text"]], encoding="utf-8")
    words = [
        f"model.cell={sizes['cell']}",
        f"model.hidden={sizes['hidden']}",
        f"model.layers={sizes['layers']}",
        f"train.seq_length={sizes['T']}",
        f"train.batch_size={sizes['B']}",
        "optimizer.learning_rate=0.001",
        "train.workers=1",
    ]
    with BenchmarkProcess(
        "training_on_file", str(path), *words, environment={"OPENBLAS_NUM_THREADS": "1"}
    ) as side:
        calls = max(1, int(seconds / side.time(2)))
        times = [side.time(calls) for _ in range(rounds)]
    return statistics.median(times) / (sizes["T"] * sizes["B"])


def draw(axes_of: dict[str, Any], found: dict[str, list[float]], path: str) -> None:
    """One line an axis, against how many times its smallest size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for axis, times in found.items():
        name, sizes, _ = axes_of[axis]
        axes.loglog(
            [size / sizes[0] for size in sizes],
            [seconds * 1e6 for seconds in times],
            marker="o",
            markersize=3,
            label=f"{name}, from {sizes[0]:,}",
        )
    axes.set_xlabel("size, in its smallest")
    axes.set_ylabel("microseconds a character")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    """Measure, print the table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", help="picture to write")
    parser.add_argument("--smallest", action="store_true", help="two sizes each: does it run?")
    options = parser.parse_args()
    rounds, seconds = (1, 0.0) if options.smallest else (ROUNDS, SECONDS)
    axes = {
        axis: (name, sizes[:2] if options.smallest else sizes, expected)
        for axis, (name, sizes, expected) in AXES.items()
    }
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cache.VARIABLE] = str(Path(folder, "cache"))
        for axis, (_, sizes, _) in axes.items():
            found[axis] = [
                seconds_per_char(Path(folder), rounds, seconds, **{axis: size}) for size in sizes
            ]
    base = ", ".join(f"{key} {value}" for key, value in BASE.items())
    print(f"One thread, {base}, on {machine()}.\n")
    print("| what grows | from | to | microseconds a character | exponent | expected |")
    print("|---|---|---|---|---|---|")
    for axis, times in found.items():
        name, sizes, expected = axes[axis]
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        ends = f"{times[0] * 1e6:.2f} to {times[-1] * 1e6:.2f}"
        print(f"| {name} | {sizes[0]:,} | {sizes[-1]:,} | {ends} | {slope:.2f} | {expected} |")
    if options.out:
        draw(axes, found, options.out)


if __name__ == "__main__":
    main()
