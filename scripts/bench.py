"""Compare the speed of charrnn with baselines: both are timed in turn, for several rounds.

    python scripts/bench.py              # everything that can run here, as a Markdown table
    python scripts/bench.py textbook     # only the benchmarks whose name contains this word
    python scripts/bench.py --quick      # fewer and shorter rounds: all of it in three minutes
    python scripts/bench.py --corpus-size 1e9    # instead: the cost of a text of this many bytes
    python scripts/bench.py --vs ../before       # instead: against a checkout with its own .venv

A ratio is (speed of charrnn) / (speed of the baseline): above 1, charrnn is faster. A row has the
median of the ratios of all rounds, with the smallest and the largest. In training, charrnn and the
baseline both do the forward pass, the backward pass, clipping and the optimizer step. Each workload
has its own process (see `benchmark_process`); training starts workers as `charrnn train` does.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benchmark_process
import large_text
import min_char_rnn
import numpy as np
from benchmark_process import BenchmarkProcess, Unavailable

import charrnn
from charrnn import checkpoint

PAUSE_S, QUICK_PAUSE_S = 0.3, 0.15  # until the idle threads of a process stop spinning
ROUND_S, ROUNDS = 1.0, 9  # seconds that a process is timed per round; number of rounds
QUICK_ROUND_S, QUICK_ROUNDS = 0.25, 3


class Bench:
    """A benchmark run: it times pairs of processes in turn and collects the rows of the table."""

    def __init__(self, quick: bool, smallest: bool = False) -> None:
        """Set the number and length of the rounds.

        With `smallest` there is one round of one call, to check that the benchmark runs.
        """
        self.quick = quick or smallest
        self.smallest = smallest
        self.rounds = 1 if smallest else QUICK_ROUNDS if quick else ROUNDS
        self.round_s = 0.0 if smallest else QUICK_ROUND_S if quick else ROUND_S
        self.pause_s = 0.0 if smallest else QUICK_PAUSE_S if quick else PAUSE_S
        self.rows: list[tuple[str, str, str]] = []

    def add_row(self, name: str, result: str, note: str = "") -> None:
        """Add a row to the table and print it on stderr at once."""
        self.rows.append((name, result, note))
        print(f"  {name}: {result}  {note}", file=sys.stderr)

    def time_pair(
        self, candidate: BenchmarkProcess, baseline: BenchmarkProcess
    ) -> list[tuple[float, float]]:
        """Return for each round the seconds per call of the candidate and of the baseline."""
        counts = [1, 1]
        if not self.smallest:  # these two timed calls are also the warm-up
            counts = [
                max(1, int(self.round_s / process.time(2))) for process in (candidate, baseline)
            ]
        seconds_by_round = []
        for _ in range(self.rounds):
            pair = []
            for process, count in zip((candidate, baseline), counts, strict=True):
                time.sleep(self.pause_s)
                pair.append(process.time(count))
            seconds_by_round.append((pair[0], pair[1]))
        return seconds_by_round

    def add_ratio(
        self,
        name: str,
        candidate: BenchmarkProcess,
        baseline: BenchmarkProcess,
        chars: tuple[int, int],
    ) -> None:
        """Add the ratio of characters per second, candidate to baseline.

        `chars` has the characters per call of the candidate and of the baseline.
        """
        pairs = self.time_pair(candidate, baseline)
        ratios = [
            (chars[0] / candidate_s) / (chars[1] / baseline_s) for candidate_s, baseline_s in pairs
        ]
        speed = statistics.median(chars[0] / candidate_s for candidate_s, _ in pairs)
        self.add_row(name, median_and_range(ratios), f"{speed / 1000:,.0f} k chars/s")


def median_and_range(values: list[float], unit: str = "", digits: int = 2) -> str:
    """Return the median, the smallest and the largest value as text."""
    numbers = statistics.median(values), min(values), max(values)
    median, smallest, largest = (f"{number:.{digits}f}" for number in numbers)
    return f"{median}{unit} ({smallest} to {largest}{unit})"


CHECKOUT_WORKLOADS = [  # timed against another checkout: name of the row, workload, its arguments
    ("training, rnn 100, T 25, B 1", "training", []),
    ("training, gru 256, T 64, B 32", "training", ["model.cell=gru", "model.hidden=256",
     "train.seq_length=64", "train.batch_size=32", "optimizer.learning_rate=0.001"]),
    ("sampling one text, rnn 100", "sampling", ["rnn", 100]),
    ("sampling 1,000 names at once, rnn 100", "sampling_names", [100, 1000]),
    ("scoring lines, lstm 128", "scoring", ["lstm", 128, "lines", 1]),
]  # fmt: skip
TWO_WORKER_SIZES = [  # trained by two workers against another checkout: cell, layers, hidden, T, B
    ("rnn", 1, 100, 25, 16),
    ("rnn", 1, 128, 50, 50),
    ("gru", 1, 256, 64, 32),
    ("lstm", 2, 128, 50, 50),
    ("lstm", 1, 512, 64, 64),
]
CHECKOUT_ROUNDS = 15


def bench_checkout(bench: Bench, checkout: Path) -> None:
    """Compare this checkout with another one as the baseline, each with its own environment."""
    bench.rounds = max(bench.rounds, 1 if bench.smallest else CHECKOUT_ROUNDS)
    workloads = CHECKOUT_WORKLOADS[:1] if bench.smallest else CHECKOUT_WORKLOADS
    for name, workload, arguments in workloads:
        with (
            BenchmarkProcess(workload, *arguments) as candidate,
            BenchmarkProcess(workload, *arguments, checkout=checkout) as baseline,
        ):
            pairs = bench.time_pair(candidate, baseline)
            ratios = [baseline_s / candidate_s for candidate_s, baseline_s in pairs]
            bench.add_row(name, median_and_interval(ratios))
    override = "train.workers=2"
    is_old = (checkout / "charrnn/parallel/team.py").exists()  # the setting had another name
    baseline_override = "train.threads=2" if is_old else override
    for sizes in TWO_WORKER_SIZES[:1] if bench.smallest else TWO_WORKER_SIZES:
        cell, layers, hidden, T, B = sizes
        overrides = size_overrides(*sizes)
        with (
            BenchmarkProcess("training", *overrides, override) as candidate,
            BenchmarkProcess(
                "training", *overrides, baseline_override, checkout=checkout
            ) as baseline,
        ):
            pairs = bench.time_pair(candidate, baseline)
            ratios = [baseline_s / candidate_s for candidate_s, baseline_s in pairs]
            name = f"two workers, {cell} {layers} x {hidden}, T {T}, B {B}"
            bench.add_row(name, median_and_interval(ratios))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint_paths = {  # by checkout; None is this one
            tree: str(Path(folder, f"{i}.npz")) for i, tree in enumerate((None, checkout))
        }
        for tree, path in checkpoint_paths.items():  # each checkout loads its own checkpoint
            code = (
                "import benchmark_process; from charrnn import checkpoint; "
                f"checkpoint.save(benchmark_process.trainer('train.steps=1').snapshot(), {path!r})"
            )
            scripts = (tree or benchmark_process.ROOT) / "scripts"
            python = benchmark_process.python_path(tree)
            subprocess.run([python, "-c", code], check=True, cwd=scripts)
        for arguments in (["--help"], ["sample", "CKPT", "--n", "1", "-q"]):
            commands = {
                tree: [path if argument == "CKPT" else argument for argument in arguments]
                for tree, path in checkpoint_paths.items()
            }
            pairs = [
                (_process_seconds(commands[None]), _process_seconds(commands[checkout], checkout))
                for _ in range(1 + bench.rounds)
            ]
            timed_pairs = pairs[1:] or pairs  # the first round is the warm-up
            ratios = [baseline_s / candidate_s for candidate_s, baseline_s in timed_pairs]
            bench.add_row(f"charrnn {arguments[0]}, whole process", median_and_interval(ratios))


def median_and_interval(ratios: list[float]) -> str:
    """Return the median and its 95 % confidence interval, by the bootstrap, as text."""
    resampled = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def bench_textbook(bench: Bench) -> None:
    """Compare training at Karpathy's sizes with the textbook loop and with plain C loops.

    The textbook loop computes in float64, the C loops in float32.
    """
    with BenchmarkProcess("training") as candidate:
        with BenchmarkProcess("textbook_training") as baseline:
            bench.add_ratio("rnn 100, T 25, B 1: textbook loop", candidate, baseline, (25, 25))
        with BenchmarkProcess("c_training") as baseline:
            pairs = bench.time_pair(candidate, baseline)
            ratios = [baseline_s / candidate_s for candidate_s, baseline_s in pairs]
            bench.add_row("rnn 100, T 25, B 1: plain C loops", median_and_range(ratios))


def bench_jax(bench: Bench) -> None:
    """Compare training at Karpathy's sizes with an update that JAX compiles as one function."""
    with (
        BenchmarkProcess("training") as candidate,
        BenchmarkProcess("jax_training", 100, 25) as baseline,
    ):
        bench.add_ratio("rnn 100, T 25, B 1: JAX, jitted", candidate, baseline, (25, 25))


def bench_loss(bench: Bench) -> None:
    """Compare the loss after 1,000 steps with the textbook loop's, from the same weights."""
    textbook_names = {"layer0.Wxh": "Wxh", "layer0.Whh": "Whh", "layer0.bh": "bh"}
    for learning_rate in (0.01, 0.1):
        run = benchmark_process.trainer(
            "model.dtype=float64", f"optimizer.learning_rate={learning_rate}"
        )
        weights = min_char_rnn.init(len(run.corpus.vocab), 100)
        perturbed = {name: array * (1 + 1e-15) for name, array in weights.items()}
        for name, array in run.params.items():  # the textbook loop's matrices are (out, in)
            array[...] = weights[textbook_names.get(name, name)].T.reshape(array.shape)
        loops = [
            min_char_rnn.Trainer(run.corpus.training, initial_weights, learning_rate=learning_rate)
            for initial_weights in (weights, perturbed)
        ]
        for _ in range(10 if bench.smallest else 1000):
            loss, textbook_loss, perturbed_loss = run.update(), *(loop.step() for loop in loops)
        bench.add_row(
            f"loss after 1,000 steps at rate {learning_rate}: difference from the textbook loop",
            f"{abs(loss - textbook_loss):.1e} nats",
            "textbook loop from weights scaled by 1 + 1e-15: "
            f"{abs(perturbed_loss - textbook_loss):.1e}",
        )


NETWORK_SIZES = [  # cell, layers, hidden, T, B
    ("rnn", 1, 100, 25, 1),
    ("rnn", 1, 128, 50, 50),
    ("lstm", 2, 128, 50, 50),
    ("gru", 1, 256, 64, 32),
    ("lstm", 1, 512, 64, 64),
    ("gru", 1, 512, 64, 64),
]


def size_overrides(cell: str, layers: int, hidden: int, T: int, B: int) -> list[str]:
    """Return settings for a network and batch of these sizes, as `--set` takes them."""
    return [
        f"model.cell={cell}",
        f"model.layers={layers}",
        f"model.hidden={hidden}",
        f"train.seq_length={T}",
        f"train.batch_size={B}",
        "optimizer.learning_rate=0.001",
    ]


def bench_pytorch(bench: Bench) -> None:
    """Compare training with PyTorch's modules of the same sizes, fed with one-hot vectors.

    For one size also compare peak memory.
    """
    for cell, layers, hidden, T, B in NETWORK_SIZES:
        name = f"{cell} {layers} x {hidden}, T {T}, B {B}: PyTorch"
        with (
            BenchmarkProcess("training", *size_overrides(cell, layers, hidden, T, B)) as candidate,
            BenchmarkProcess("pytorch_training", cell, 65, hidden, layers, T, B) as baseline,
        ):
            bench.add_ratio(name, candidate, baseline, (T * B, T * B))
            if (cell, hidden) == ("lstm", 512):
                candidate_mb = large_text.peak_resident_mb(candidate.pid)
                baseline_mb = large_text.peak_resident_mb(baseline.pid)
                bench.add_row(
                    f"{name}, peak memory",
                    f"{baseline_mb / candidate_mb:.2f}",
                    f"{candidate_mb:.0f} and {baseline_mb:.0f} MB",
                )


def bench_workers(bench: Bench) -> None:
    """Compare training by two workers with one process, and with one of two BLAS threads."""
    sizes_list = NETWORK_SIZES[1:5:3] if bench.quick else NETWORK_SIZES[1:]
    for sizes in NETWORK_SIZES[1:2] if bench.smallest else sizes_list:
        overrides, (cell, layers, hidden, T, B) = size_overrides(*sizes), sizes
        name, chars = f"{cell} {layers} x {hidden}, T {T}, B {B}", (T * B, T * B)
        one_thread = {"OPENBLAS_NUM_THREADS": "1"}
        two_threads = {"OPENBLAS_NUM_THREADS": "2"}
        with (
            BenchmarkProcess(
                "training", *overrides, "train.workers=2", environment=one_thread
            ) as candidate,
            BenchmarkProcess(
                "training", *overrides, "train.workers=1", environment=one_thread
            ) as one_worker,
            BenchmarkProcess("training", *overrides, environment=two_threads) as threaded,
        ):
            bench.add_ratio(f"{name}, two workers: one process", candidate, one_worker, chars)
            bench.add_ratio(f"{name}, two workers: two BLAS threads", candidate, threaded, chars)


def bench_blas_threads(bench: Bench) -> None:
    """Compare one BLAS thread, the default, with two on large matrix products of few rows."""
    two_threads = {"OPENBLAS_NUM_THREADS": "2"}
    overrides = size_overrides("gru", 1, 512, 64, 4)
    with (
        BenchmarkProcess("training", *overrides) as candidate,
        BenchmarkProcess("training", *overrides, environment=two_threads) as baseline,
    ):
        name = "gru 1 x 512, T 64, B 4, one BLAS thread: two"
        bench.add_ratio(name, candidate, baseline, (256, 256))
    workload = ("scoring", "lstm", 512, "stream", 1, 500 if bench.smallest else 10_000)
    with (
        BenchmarkProcess(*workload) as candidate,
        BenchmarkProcess(*workload, environment=two_threads) as baseline,
    ):
        chars = (candidate.facts["chars"], baseline.facts["chars"])
        name = "scoring a stream, lstm 512, one BLAS thread: two"
        bench.add_ratio(name, candidate, baseline, chars)


def bench_matmul(bench: Bench) -> None:
    """Measure the FLOP rate of an update as a share of that of one large matrix product."""
    H, T, B, V = 512, 64, 64, 65
    for cell, gates in (("lstm", 4), ("gru", 3)):
        # a multiplication and an addition are two operations; forward, and twice that backward
        operations = 3 * 2 * T * B * (H * gates * H + H * V)
        with (
            BenchmarkProcess("training", *size_overrides(cell, 1, H, T, B)) as candidate,
            BenchmarkProcess("matrix_product") as baseline,
        ):
            pairs = bench.time_pair(candidate, baseline)
        shares = [
            100 * (operations / candidate_s) / (2 * 2048**3 / baseline_s)
            for candidate_s, baseline_s in pairs
        ]
        product_rate = statistics.median(2 * 2048**3 / baseline_s for _, baseline_s in pairs)
        bench.add_row(
            f"{cell} 1 x {H}, T {T}, B {B}: share of the rate of one large float32 product",
            median_and_range(shares, " %", 0),
            f"the product reaches {product_rate / 1e9:.0f} GFLOP/s",
        )


def bench_lines(bench: Bench) -> None:
    """Compare training on names in padded batches of 32 with training on one name at a time."""
    for cell in ("rnn", "lstm"):
        override = f"model.cell={cell}"
        with (
            BenchmarkProcess("training_on_names", override, "train.batch_size=32") as candidate,
            BenchmarkProcess("training_on_names", override, "train.batch_size=1") as baseline,
        ):
            chars = (candidate.facts["chars"], baseline.facts["chars"])
            name = f"{cell} 100, names in batches of 32: one by one"
            bench.add_ratio(name, candidate, baseline, chars)
    bench.add_row("names in batches of 32: padding", f"{100 * candidate.facts['padding']:.1f} %")


def bench_sampling(bench: Bench) -> None:
    """Compare sampling a text with PyTorch's step loop, and names at once with one at a time."""
    chars = (benchmark_process.CHARS, benchmark_process.CHARS)
    for cell, hidden in (("rnn", 100), ("lstm", 512)):
        with (
            BenchmarkProcess("sampling", cell, hidden) as candidate,
            BenchmarkProcess("pytorch_sampling", cell, hidden) as baseline,
        ):
            name = f"sampling one text, {cell} {hidden}: PyTorch"
            bench.add_ratio(name, candidate, baseline, chars)
    for count in (10,) if bench.smallest else (1000,) if bench.quick else (1000, 10_000):
        with (
            BenchmarkProcess("sampling_names", 100, count) as candidate,
            BenchmarkProcess("sampling_names", 100, 1) as baseline,
        ):
            chars = (candidate.facts["chars"], baseline.facts["chars"])
            name = f"sampling {count:,} names at once, rnn 100: one by one"
            bench.add_ratio(name, candidate, baseline, chars)


def bench_eval(bench: Bench) -> None:
    """Compare scoring a stream with PyTorch, and scoring lines on all cores with one core."""
    with (
        BenchmarkProcess("scoring", "lstm", 128, "stream") as candidate,
        BenchmarkProcess("pytorch_scoring", "lstm", 128) as baseline,
    ):
        chars = (candidate.facts["chars"], baseline.facts["chars"])
        name = "scoring a stream, lstm 128: PyTorch, a character at a time"
        bench.add_ratio(name, candidate, baseline, chars)
    for cell, hidden in (("rnn", 100), ("lstm", 128), ("gru", 512)):
        with (
            BenchmarkProcess("scoring", cell, hidden, "lines") as candidate,
            BenchmarkProcess("scoring", cell, hidden, "lines", 1) as baseline,
        ):
            chars = (candidate.facts["chars"], baseline.facts["chars"])
            name = f"scoring lines, {cell} {hidden}, all cores: one core"
            bench.add_ratio(name, candidate, baseline, chars)


def bench_start(bench: Bench) -> None:
    """Measure the seconds of whole processes, start-up included, without a baseline."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.npz"))
        checkpoint.save(benchmark_process.trainer("train.steps=1").snapshot(), path)
        commands = {
            "charrnn --help": ["--help"],
            "charrnn sample, 1 character": ["sample", path, "--n", "1", "-q"],
        }
        for name, arguments in commands.items():
            # the first call is the warm-up
            seconds = [_process_seconds(arguments) for _ in range(2 * bench.rounds)][1:]
            bench.add_row(name, median_and_range(seconds, " s", 3), "whole process")


def _process_seconds(arguments: list[str], checkout: Path | None = None) -> float:
    """Return the seconds that a charrnn command takes, here or in a checkout."""
    command = [benchmark_process.python_path(checkout), "-m", "charrnn", *arguments]
    started_at = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=checkout)
    return time.perf_counter() - started_at


def bench_corpus(bench: Bench, size: int) -> None:
    """Measure the cost of a text of `size` bytes: seconds, memory and the speed of training."""
    with large_text.temporary_texts(size) as folder:
        for file_name, mode in (("large", "stream"), ("lines", "lines")):
            for step in ("read and encoded", "read from the cache"):
                seconds = large_text.seconds_to_read(folder / file_name, mode)
                rate = size / 1e6 / seconds
                bench.add_row(f"{size / 1e6:,.0f} MB of {mode}: {step}", f"{rate:,.0f} MB/s")
            peak_mb = large_text.training_peak_mb(folder / file_name, mode)
            bench.add_row(
                f"{size / 1e6:,.0f} MB of {mode}: peak memory of `train`",
                f"{peak_mb:.0f} MB",
                "above that of the interpreter with NumPy; without mapped files",
            )
        for sizes in (("rnn", 1, 100, 25, 1), ("rnn", 1, 128, 50, 50)):
            cell, _, hidden, T, B = sizes
            large, small = str(folder / "large"), str(folder / "small")
            overrides = size_overrides(*sizes)
            with (
                BenchmarkProcess("training_on_file", large, *overrides) as candidate,
                BenchmarkProcess("training_on_file", small, *overrides) as baseline,
            ):
                name = f"{cell} {hidden}, T {T}, B {B}, on {size / 1e6:,.0f} MB: on 1 MB"
                bench.add_ratio(name, candidate, baseline, (T * B, T * B))


BENCHMARKS = [
    bench_textbook,
    bench_jax,
    bench_loss,
    bench_pytorch,
    bench_workers,
    bench_blas_threads,
    bench_matmul,
    bench_lines,
    bench_sampling,
    bench_eval,
    bench_start,
]


def describe_machine() -> str:
    """Return the processor, the system and the versions that the results depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, charrnn {charrnn.__version__}"
    )


def main() -> None:
    """Run the benchmarks that the command line names and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "words", nargs="*", help="run only benchmarks whose name contains one of these words"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument(
        "--corpus-size", type=float, help="benchmark a generated text of this many bytes instead"
    )
    parser.add_argument(
        "--vs", type=Path, help="compare with the checkout in this folder, which has its own .venv"
    )
    parser.add_argument(
        "--smallest", action="store_true", help="call each workload once, to check that it runs"
    )
    options = parser.parse_args()
    bench = Bench(options.quick, options.smallest)
    if options.corpus_size:
        bench_corpus(bench, int(options.corpus_size))
    if options.vs:
        bench_checkout(bench, options.vs.resolve())
    for benchmark in BENCHMARKS if not (options.corpus_size or options.vs) else ():
        if not options.words or any(word in benchmark.__name__ for word in options.words):
            try:
                benchmark(bench)
            except Unavailable as error:
                bench.add_row(benchmark.__name__, "not measured", str(error))
    print(f"\nMeasured on {describe_machine()}.\n")
    print("| workload: baseline | ratio or result | |\n|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
