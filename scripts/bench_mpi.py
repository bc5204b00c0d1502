"""Measure the cost and the speedup of several processes on this machine, as two Markdown tables.

    mpiexec -n 2 python scripts/bench_mpi.py             # both tables; minutes
    mpiexec -n 2 python scripts/bench_mpi.py --quick     # fewer and shorter rounds

The first table has the time of one allreduce of as many float32 numbers as a network has
parameters: the median over the rounds, with the fastest and the slowest. The time of a round is
that of its slowest process. The second table has the speed of training with one process and with
all of them, in turn; every process has one thread. On several machines (`mpiexec -f hosts ...`) the
tables show the effect of the network between them.
"""

# ruff: noqa: E402 - the number of BLAS threads must be set before NumPy is imported

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
from bench import describe_machine
from mpi4py import MPI

from charrnn.parallel.group import EXTRA_SUMS, ProcessGroup, SingleProcess
from charrnn.parallel.mpi import MPIGroup
from charrnn.training.trainer import Trainer

PARAMETER_COUNTS = [10**4, 10**5, 10**6, 10**7]
NETWORK_SIZES = [  # cell, layers, hidden, T, B
    ("rnn", 1, 128, 50, 50),
    ("lstm", 1, 128, 50, 64),
    ("lstm", 2, 256, 64, 64),
    ("lstm", 1, 512, 64, 64),
    ("gru", 2, 512, 64, 128),
]
COMM = MPI.COMM_WORLD


def print_on_rank_zero(line: str) -> None:
    """Print a line once, from rank 0."""
    if COMM.rank == 0:
        print(line, flush=True)


def max_over_ranks(seconds: float) -> float:
    """Return the largest of the values that the ranks pass."""
    return float(COMM.allreduce(seconds, MPI.MAX))


def seconds_per_call(work: Callable[[], object], count: int) -> float:
    """Return the seconds per call of `work` on the slowest rank; all ranks start together."""
    COMM.Barrier()
    started_at = time.perf_counter()
    for _ in range(count):
        work()
    return max_over_ranks((time.perf_counter() - started_at) / count)


def median_and_range(values: list[float], number_format: str) -> str:
    """Return the median, the smallest and the largest value as text."""
    numbers = statistics.median(values), min(values), max(values)
    median, smallest, largest = (f"{number:{number_format}}" for number in numbers)
    return f"{median} ({smallest} to {largest})"


def bench_allreduce(rounds: int, round_s: float, parameter_counts: list[int]) -> None:
    """Print the time of the allreduce of a gradient for each number of parameters."""
    group = MPIGroup(COMM)
    print_on_rank_zero(
        f"\n| parameters | ms per allreduce, {COMM.size} processes | GB/s of gradient |\n"
        "|---|---|---|"
    )
    for count in parameter_counts:
        vector = np.zeros(count + EXTRA_SUMS, np.float32)

        def allreduce(vector: np.ndarray = vector) -> None:
            group.allreduce(vector)

        seconds_per_call(allreduce, 3)  # warm-up
        calls = COMM.bcast(max(1, int(round_s / seconds_per_call(allreduce, 3))))
        seconds = [seconds_per_call(allreduce, calls) for _ in range(rounds)]
        milliseconds = median_and_range([1000 * s for s in seconds], ".3f")
        rate = vector.nbytes / statistics.median(seconds) / 1e9
        print_on_rank_zero(f"| {count:,} | {milliseconds} | {rate:.2f} |")


def make_trainer(
    group: ProcessGroup, cell: str, layers: int, hidden: int, T: int, B: int
) -> Trainer:
    """Return a trainer of these sizes, in float32, on the text of the other benchmarks."""
    overrides = [
        *(f"model.cell={cell}", f"model.layers={layers}", f"model.hidden={hidden}"),
        *(f"train.seq_length={T}", f"train.batch_size={B}"),
        "optimizer.learning_rate=0.001",
    ]
    return benchmark_process.trainer(*overrides, group=group)


def bench_training(
    rounds: int, round_s: float, sizes_list: list[tuple[str, int, int, int, int]]
) -> None:
    """Print the speed of updates by rank 0 alone, while the other ranks sleep, and by all ranks."""
    print_on_rank_zero(
        f"\n| network | parameters | k chars/s, 1 process | {COMM.size} processes | speedup |\n"
        "|---|---|---|---|---|"
    )
    group = MPIGroup(COMM)
    for cell, layers, hidden, T, B in sizes_list:
        if COMM.size > B:
            continue
        single = (
            make_trainer(SingleProcess(), cell, layers, hidden, T, B) if COMM.rank == 0 else None
        )
        run = make_trainer(group, cell, layers, hidden, T, B)
        seconds_per_call(run.update, 2)  # warm-up
        calls = COMM.bcast(max(1, int(round_s / seconds_per_call(run.update, 2))))
        single_speeds: list[float] = []  # thousands of characters per second, by round
        group_speeds: list[float] = []
        for _ in range(rounds):
            single_s = group.on_rank_zero(
                lambda single=single, calls=calls: _seconds_per_update(single, calls)
            )
            single_speeds.append(T * B / single_s / 1000)
            group_speeds.append(T * B / seconds_per_call(run.update, calls) / 1000)
        speedups = [
            group_speed / single_speed
            for single_speed, group_speed in zip(single_speeds, group_speeds, strict=True)
        ]
        print_on_rank_zero(
            f"| {cell} {layers} x {hidden}, T {T}, B {B} | {run.params.flat.size:,} "
            f"| {median_and_range(single_speeds, ',.0f')} "
            f"| {median_and_range(group_speeds, ',.0f')} | {median_and_range(speedups, '.2f')} |"
        )


def _seconds_per_update(run: Trainer, count: int) -> float:
    """Return the seconds per update of `run`, the mean over `count` updates."""
    run.update()  # warm-up
    started_at = time.perf_counter()
    for _ in range(count):
        run.update()
    return (time.perf_counter() - started_at) / count


def main() -> None:
    """Print both tables, the number of machines, the MPI and the processor of rank 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument(
        "--smallest", action="store_true", help="call each workload once, to check that it runs"
    )
    options = parser.parse_args()
    rounds, round_s = (3, 0.05) if options.quick else (1, 0.0) if options.smallest else (9, 1.0)
    bench_allreduce(rounds, round_s, PARAMETER_COUNTS[:1] if options.smallest else PARAMETER_COUNTS)
    bench_training(rounds, round_s, NETWORK_SIZES[:1] if options.smallest else NETWORK_SIZES)
    machine_count = len(set(COMM.allgather(MPI.Get_processor_name())))
    vendor = " ".join(map(str, (MPI.get_vendor()[0], ".".join(map(str, MPI.get_vendor()[1])))))
    print_on_rank_zero(
        f"\n{COMM.size} processes on {machine_count} machine(s), {vendor}; "
        f"rank 0 on {describe_machine()}."
    )


if __name__ == "__main__":
    main()
