"""Measure how the training time per character scales with each size of a run.

    python scripts/bench_scaling.py                     # a Markdown table with the exponents
    python scripts/bench_scaling.py -o data/scaling.png  # also a plot; needs matplotlib

Each size varies by a factor of 16 or more. The exponent is the slope of log(seconds per character)
against log(size), by least squares: 0 when the time per character is constant, 1 when it doubles
with the size.
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
from bench import describe_machine
from benchmark_process import BenchmarkProcess

from charrnn.data import cache

ROUNDS = 5
ROUND_S = 0.3  # seconds of one round
BASE_SIZES = {"cell": "gru", "hidden": 128, "layers": 1, "T": 32, "B": 32, "text": 1 << 20}
SWEEPS = {  # the size that varies: its label, its values, and the expected exponent
    "hidden": ("hidden units H", [32, 64, 128, 256, 512, 1024], "0 to 2: calls, then products"),
    "layers": ("layers", [1, 2, 4, 8, 16], "1"),
    "T": ("steps T of a window", [8, 16, 32, 64, 128, 256, 512], "0, or below for short ones"),
    "B": ("rows B", [1, 2, 4, 8, 16, 32, 64, 128], "-1 to 0: the rows share the calls"),
    "text": ("characters of the text", [1 << n for n in range(16, 27, 2)], "0"),
}


def seconds_per_char(folder: Path, rounds: int, round_s: float, **changed_sizes: int) -> float:
    """Return the seconds of training per character, the median of rounds of `round_s` seconds."""
    sizes = {**BASE_SIZES, **changed_sizes}
    path = folder / f"{sizes['text']}.txt"
    if not path.exists():
        repeats = -(-sizes["text"] // len(benchmark_process.TEXT))
        path.write_text((benchmark_process.TEXT * repeats)[: sizes["text"]], encoding="utf-8")
    overrides = [
        f"model.cell={sizes['cell']}",
        f"model.hidden={sizes['hidden']}",
        f"model.layers={sizes['layers']}",
        f"train.seq_length={sizes['T']}",
        f"train.batch_size={sizes['B']}",
        "optimizer.learning_rate=0.001",
        "train.workers=1",
    ]
    with BenchmarkProcess(
        "training_on_file", str(path), *overrides, environment={"OPENBLAS_NUM_THREADS": "1"}
    ) as process:
        calls = max(1, int(round_s / process.time(2)))
        seconds = [process.time(calls) for _ in range(rounds)]
    return statistics.median(seconds) / (sizes["T"] * sizes["B"])


def plot(sweeps: dict[str, Any], seconds_by_size: dict[str, list[float]], path: str) -> None:
    """Write a plot with one line per size: time per character against size / smallest size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for size_name, times in seconds_by_size.items():
        label, sizes, _ = sweeps[size_name]
        axes.loglog(
            [size / sizes[0] for size in sizes],
            [seconds * 1e6 for seconds in times],
            marker="o",
            markersize=3,
            label=f"{label}, from {sizes[0]:,}",
        )
    axes.set_xlabel("size / smallest size")
    axes.set_ylabel("microseconds per character")
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    """Measure, print the table, and write the plot to the path of --out, if any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", help="write the plot to this file")
    parser.add_argument(
        "--smallest",
        action="store_true",
        help="measure two values of each size, to check that it runs",
    )
    options = parser.parse_args()
    rounds, round_s = (1, 0.0) if options.smallest else (ROUNDS, ROUND_S)
    sweeps = {
        size_name: (label, sizes[:2] if options.smallest else sizes, expected)
        for size_name, (label, sizes, expected) in SWEEPS.items()
    }
    seconds_by_size: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ[cache.VARIABLE] = str(Path(folder, "cache"))
        for size_name, (_, sizes, _) in sweeps.items():
            seconds_by_size[size_name] = [
                seconds_per_char(Path(folder), rounds, round_s, **{size_name: size})
                for size in sizes
            ]
    base_sizes = ", ".join(f"{key} {value}" for key, value in BASE_SIZES.items())
    print(f"One thread, {base_sizes}, on {describe_machine()}.\n")
    print("| size | from | to | microseconds per character | exponent | expected |")
    print("|---|---|---|---|---|---|")
    for size_name, times in seconds_by_size.items():
        label, sizes, expected = sweeps[size_name]
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        times_text = f"{times[0] * 1e6:.2f} to {times[-1] * 1e6:.2f}"
        print(
            f"| {label} | {sizes[0]:,} | {sizes[-1]:,} | {times_text} | {slope:.2f} | {expected} |"
        )
    if options.out:
        plot(sweeps, seconds_by_size, options.out)


if __name__ == "__main__":
    main()
