"""What several processes cost and bring on this machine, as two Markdown tables.

    mpiexec -n 2 python scripts/bench_mpi.py             # both tables; minutes
    mpiexec -n 2 python scripts/bench_mpi.py --quick     # fewer and shorter rounds

The first is the time of one Allreduce of as many float32 numbers as a network has parameters: the
median over the rounds, with the fastest and the slowest. A round's time is that of its slowest
process. The second is the speed of training with one process and with all of them, in turn, every
process with one thread. On several machines (`mpiexec -f hosts ...`) they tell what the network
between them does.
"""

# ruff: noqa: E402 - before NumPy is imported, its threads must be told

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import statistics
import time
from collections.abc import Callable

import benchmark_process
import numpy as np
from bench import machine
from mpi4py import MPI

from charrnn.parallel.group import EXTRA, ProcessGroup, SingleProcess
from charrnn.parallel.mpi import MPIGroup
from charrnn.training.trainer import Trainer

COUNTS = [10**4, 10**5, 10**6, 10**7]
SIZES = [  # cell, layers, hidden, T, B
    ("rnn", 1, 128, 50, 50),
    ("lstm", 1, 128, 50, 64),
    ("lstm", 2, 256, 64, 64),
    ("lstm", 1, 512, 64, 64),
    ("gru", 2, 512, 64, 128),
]
COMM = MPI.COMM_WORLD


def say(line: str) -> None:
    """A line of the first process."""
    if COMM.rank == 0:
        print(line, flush=True)


def slowest(seconds: float) -> float:
    """The longest of what each process took."""
    return float(COMM.allreduce(seconds, MPI.MAX))


def timed(work: Callable[[], object], count: int) -> float:
    """Seconds per call of `work`, all processes beginning at once."""
    COMM.Barrier()
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return slowest((time.perf_counter() - begun) / count)


def spread(figures: list[float], form: str) -> str:
    """Median, smallest and largest."""
    median, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{median:{form}} ({least:{form}} to {most:{form}})"


def bench_allreduce(rounds: int, seconds: float, counts: list[int]) -> None:
    """The gradient's sum, by the number of parameters."""
    group = MPIGroup(COMM)
    say(f"\n| parameters | ms per Allreduce, {COMM.size} processes | GB/s of gradient |")
    say("|---|---|---|")
    for count in counts:
        vector = np.zeros(count + EXTRA, np.float32)

        def allreduce(vector: np.ndarray = vector) -> None:
            group.allreduce(vector)

        timed(allreduce, 3)
        calls = COMM.bcast(max(1, int(seconds / timed(allreduce, 3))))
        times = [timed(allreduce, calls) for _ in range(rounds)]
        rate = vector.nbytes / statistics.median(times) / 1e9
        say(f"| {count:,} | {spread([1000 * t for t in times], '.3f')} | {rate:.2f} |")


def trainer(group: ProcessGroup, cell: str, layers: int, hidden: int, T: int, B: int) -> Trainer:
    """A run of this size, in float32, on the text of the other benchmarks."""
    settings = [
        *(f"model.cell={cell}", f"model.layers={layers}", f"model.hidden={hidden}"),
        *(f"train.seq_length={T}", f"train.batch_size={B}"),
        "optimizer.learning_rate=0.001",
    ]
    return benchmark_process.trainer(*settings, group=group)


def bench_training(
    rounds: int, seconds: float, sizes: list[tuple[str, int, int, int, int]]
) -> None:
    """Updates by one process, the others asleep, and by all of them."""
    say(
        f"\n| network | parameters | k chars/s, 1 process | {COMM.size} processes | faster by |\n"
        "|---|---|---|---|---|"
    )
    several = MPIGroup(COMM)
    for cell, layers, hidden, T, B in sizes:
        if COMM.size > B:
            continue
        alone = trainer(SingleProcess(), cell, layers, hidden, T, B) if COMM.rank == 0 else None
        shared = trainer(several, cell, layers, hidden, T, B)
        timed(shared.update, 2)
        calls = COMM.bcast(max(1, int(seconds / timed(shared.update, 2))))
        speeds: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            once = several.on_rank_zero(lambda alone=alone, calls=calls: _by_itself(alone, calls))
            speeds[0].append(T * B / once / 1000)
            speeds[1].append(T * B / timed(shared.update, calls) / 1000)
        ratios = [together / one for one, together in zip(*speeds, strict=True)]
        say(
            f"| {cell} {layers} x {hidden}, T {T}, B {B} | {shared.params.flat.size:,} "
            f"| {spread(speeds[0], ',.0f')} | {spread(speeds[1], ',.0f')} "
            f"| {spread(ratios, '.2f')} |"
        )


def _by_itself(run: Trainer, count: int) -> float:
    run.update()
    begun = time.perf_counter()
    for _ in range(count):
        run.update()
    return (time.perf_counter() - begun) / count


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--smallest", action="store_true", help="one call each: does it run?")
    options = parser.parse_args()
    rounds, seconds = (3, 0.05) if options.quick else (1, 0.0) if options.smallest else (9, 1.0)
    bench_allreduce(rounds, seconds, COUNTS[:1] if options.smallest else COUNTS)
    bench_training(rounds, seconds, SIZES[:1] if options.smallest else SIZES)
    nodes = len(set(COMM.allgather(MPI.Get_processor_name())))
    vendor = " ".join(map(str, (MPI.get_vendor()[0], ".".join(map(str, MPI.get_vendor()[1])))))
    say(f"\n{COMM.size} processes on {nodes} machine(s), {vendor}; the first: {machine()}.")


if __name__ == "__main__":
    main()
