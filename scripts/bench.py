"""How fast charrnn is, as ratios: both sides run in turn on this machine, several rounds.

    python scripts/bench.py              # everything that can run here, as a Markdown table
    python scripts/bench.py textbook     # only the rows whose name holds this word
    python scripts/bench.py --quick      # fewer and shorter rounds: all of it in three minutes
    python scripts/bench.py --corpus-size 1e9    # instead: what a text of so many bytes costs
    python scripts/bench.py --vs ../before       # instead: against a checkout with its own .venv

A row is the median over the rounds of (time of the other side / time of charrnn), with the smallest
and the largest of them: above 1, charrnn is faster. In training both sides do forward, backward,
clipping and the optimizer's step. Each side runs in a process of its own (see `benchmark_process`),
or in as many as it chooses by itself.
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

REST_S, QUICK_REST_S = 0.3, 0.15  # one side's idle threads stop spinning before the other begins
SECONDS, ROUNDS = 1.0, 9  # of one side in one round; and rounds
QUICK_SECONDS, QUICK_ROUNDS = 0.25, 3


class Bench:
    """Runs two sides in turn and keeps the rows of the table."""

    def __init__(self, quick: bool, smallest: bool = False) -> None:
        """`smallest` is one round of one call, which measures nothing but that it runs."""
        self.quick = quick or smallest
        self.smallest = smallest
        self.rounds = 1 if smallest else QUICK_ROUNDS if quick else ROUNDS
        self.seconds = 0.0 if smallest else QUICK_SECONDS if quick else SECONDS
        self.rest = 0.0 if smallest else QUICK_REST_S if quick else REST_S
        self.rows: list[tuple[str, str, str]] = []

    def row(self, name: str, figure: str, note: str = "") -> None:
        """One line of the table, shown when it is known."""
        self.rows.append((name, figure, note))
        print(f"  {name}: {figure}  {note}", file=sys.stderr)

    def both(self, ours: BenchmarkProcess, theirs: BenchmarkProcess) -> list[tuple[float, float]]:
        """Seconds of a call of either side, round by round."""
        counts = [1, 1]
        if not self.smallest:
            counts = [max(1, int(self.seconds / side.time(2))) for side in (ours, theirs)]
        found = []
        for _ in range(self.rounds):
            pair = []
            for side, count in zip((ours, theirs), counts, strict=True):
                time.sleep(self.rest)
                pair.append(side.time(count))
            found.append((pair[0], pair[1]))
        return found

    def ratio(
        self, name: str, ours: BenchmarkProcess, theirs: BenchmarkProcess, chars: tuple[int, int]
    ) -> None:
        """How many times more characters a second `ours` does; `chars` are those of a call."""
        pairs = self.both(ours, theirs)
        ratios = [(chars[0] / mine) / (chars[1] / other) for mine, other in pairs]
        speed = statistics.median(chars[0] / mine for mine, _ in pairs)
        self.row(name, spread(ratios), f"{speed / 1000:,.0f} k chars/s")


def spread(ratios: list[float], unit: str = "", digits: int = 2) -> str:
    """The median, the smallest and the largest."""
    shown = [f"{x:.{digits}f}" for x in (statistics.median(ratios), min(ratios), max(ratios))]
    return f"{shown[0]}{unit} ({shown[1]} to {shown[2]}{unit})"


AGAINST = [  # what another checkout is compared in: the row's name, the side, its words
    ("training, rnn 100, T 25, B 1", "training", []),
    ("training, gru 256, T 64, B 32", "training", ["model.cell=gru", "model.hidden=256",
     "train.seq_length=64", "train.batch_size=32", "optimizer.learning_rate=0.001"]),
    ("sampling one text, rnn 100", "sampling", ["rnn", 100]),
    ("sampling 1,000 names at once, rnn 100", "sampling_names", [100, 1000]),
    ("scoring lines, lstm 128", "scoring", ["lstm", 128, "lines", 1]),
]  # fmt: skip
SHARED = [  # the same, by two processes: cell, layers, hidden, T, B
    ("rnn", 1, 100, 25, 16),
    ("rnn", 1, 128, 50, 50),
    ("gru", 1, 256, 64, 32),
    ("lstm", 2, 128, 50, 50),
    ("lstm", 1, 512, 64, 64),
]
VS_ROUNDS = 15


def bench_against(bench: Bench, checkout: Path) -> None:
    """How many times faster this checkout is than another, both with their own environments."""
    bench.rounds = max(bench.rounds, 1 if bench.smallest else VS_ROUNDS)
    for name, kind, words in AGAINST[:1] if bench.smallest else AGAINST:
        with (
            BenchmarkProcess(kind, *words) as ours,
            BenchmarkProcess(kind, *words, checkout=checkout) as theirs,
        ):
            ratios = [other / mine for mine, other in bench.both(ours, theirs)]
            bench.row(name, interval(ratios))
    two = "train.workers=2"
    older = "train.threads=2" if (checkout / "charrnn/parallel/team.py").exists() else two
    for sizes in SHARED[:1] if bench.smallest else SHARED:
        cell, layers, hidden, T, B = sizes
        with (
            BenchmarkProcess("training", *settings(*sizes), two) as ours,
            BenchmarkProcess("training", *settings(*sizes), older, checkout=checkout) as theirs,
        ):
            ratios = [other / mine for mine, other in bench.both(ours, theirs)]
            bench.row(f"two workers, {cell} {layers} x {hidden}, T {T}, B {B}", interval(ratios))
    with tempfile.TemporaryDirectory() as folder:
        saved = {where: str(Path(folder, f"{n}.npz")) for n, where in enumerate((None, checkout))}
        for where, path in saved.items():  # each reads what it wrote
            code = (
                "import benchmark_process; from charrnn import checkpoint; "
                f"checkpoint.save(benchmark_process.trainer('train.steps=1').snapshot(), {path!r})"
            )
            scripts = (where or benchmark_process.ROOT) / "scripts"
            subprocess.run(
                [benchmark_process.python_of(where), "-c", code], check=True, cwd=scripts
            )
        for words in (["--help"], ["sample", "CKPT", "--n", "1", "-q"]):
            calls = {
                where: [path if word == "CKPT" else word for word in words]
                for where, path in saved.items()
            }
            rounds = range(1 + bench.rounds)
            pairs = [(_process(calls[None]), _process(calls[checkout], checkout)) for _ in rounds]
            ratios = [other / mine for mine, other in pairs[1:] or pairs]
            bench.row(f"charrnn {words[0]}, whole process", interval(ratios))


def interval(ratios: list[float]) -> str:
    """The median, and the 95 % interval of it by a bootstrap."""
    drawn = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def bench_textbook(bench: Bench) -> None:
    """Karpathy's setting against the textbook loop in float64, and against plain C in float32."""
    with BenchmarkProcess("training") as ours:
        with BenchmarkProcess("textbook_training") as theirs:
            bench.ratio("rnn 100, T 25, B 1: textbook loop", ours, theirs, (25, 25))
        with BenchmarkProcess("c_training") as theirs:
            ratios = [other / mine for mine, other in bench.both(ours, theirs)]
            bench.row("rnn 100, T 25, B 1: plain C loops", spread(ratios))


def bench_jax(bench: Bench) -> None:
    """Karpathy's setting against a scan that JAX compiles as a whole."""
    with BenchmarkProcess("training") as ours, BenchmarkProcess("jax_training", 100, 25) as theirs:
        bench.ratio("rnn 100, T 25, B 1: JAX, jitted", ours, theirs, (25, 25))


def bench_loss(bench: Bench) -> None:
    """The same loss as the textbook loop's after 1,000 steps from the same weights."""
    letters = {"layer0.Wxh": "Wxh", "layer0.Whh": "Whh", "layer0.bh": "bh"}
    for rate in (0.01, 0.1):
        run = benchmark_process.trainer("model.dtype=float64", f"optimizer.learning_rate={rate}")
        weights = min_char_rnn.init(len(run.corpus.vocab), 100)
        nudged = {name: array * (1 + 1e-15) for name, array in weights.items()}
        for name, array in run.params.items():  # the loop's matrices are (out, in)
            array[...] = weights[letters.get(name, name)].T.reshape(array.shape)
        loops = [
            min_char_rnn.Trainer(run.corpus.training, start, learning_rate=rate)
            for start in (weights, nudged)
        ]
        for _ in range(10 if bench.smallest else 1000):
            ours, theirs, other = run.update(), *(loop.step() for loop in loops)
        bench.row(
            f"loss after 1,000 steps at rate {rate}: apart from the textbook loop's",
            f"{abs(ours - theirs):.1e} nats",
            f"the loop itself, weights changed by 1e-15: {abs(other - theirs):.1e}",
        )


PYTORCH = [  # cell, layers, hidden, T, B
    ("rnn", 1, 100, 25, 1),
    ("rnn", 1, 128, 50, 50),
    ("lstm", 2, 128, 50, 50),
    ("gru", 1, 256, 64, 32),
    ("lstm", 1, 512, 64, 64),
    ("gru", 1, 512, 64, 64),
]


def settings(cell: str, layers: int, hidden: int, T: int, B: int) -> list[str]:
    """As `--set` takes them."""
    return [
        f"model.cell={cell}",
        f"model.layers={layers}",
        f"model.hidden={hidden}",
        f"train.seq_length={T}",
        f"train.batch_size={B}",
        "optimizer.learning_rate=0.001",
    ]


def bench_pytorch(bench: Bench) -> None:
    """PyTorch's own modules with the same sizes, fed with one-hot vectors; time and memory."""
    for cell, layers, hidden, T, B in PYTORCH:
        name = f"{cell} {layers} x {hidden}, T {T}, B {B}: PyTorch"
        with (
            BenchmarkProcess("training", *settings(cell, layers, hidden, T, B)) as ours,
            BenchmarkProcess("pytorch_training", cell, 65, hidden, layers, T, B) as theirs,
        ):
            bench.ratio(name, ours, theirs, (T * B, T * B))
            if (cell, hidden) == ("lstm", 512):
                mine, other = large_text.peak_of_mb(ours.pid), large_text.peak_of_mb(theirs.pid)
                bench.row(
                    f"{name}'s peak memory", f"{other / mine:.2f}", f"{mine:.0f} and {other:.0f} MB"
                )


def bench_workers(bench: Bench) -> None:
    """Two processes that share the rows against one, and against products of two threads."""
    for sizes in PYTORCH[1:2] if bench.smallest else PYTORCH[1:5:3] if bench.quick else PYTORCH[1:]:
        words, (cell, layers, hidden, T, B) = settings(*sizes), sizes
        name, chars = f"{cell} {layers} x {hidden}, T {T}, B {B}", (T * B, T * B)
        single = {"OPENBLAS_NUM_THREADS": "1"}
        with (
            BenchmarkProcess("training", *words, "train.workers=2", environment=single) as ours,
            BenchmarkProcess("training", *words, "train.workers=1", environment=single) as one,
            BenchmarkProcess(
                "training", *words, environment={"OPENBLAS_NUM_THREADS": "2"}
            ) as products,
        ):
            bench.ratio(f"{name}, rows shared by two: one process", ours, one, chars)
            bench.ratio(f"{name}, rows shared by two: products divided", ours, products, chars)


def bench_divided(bench: Bench) -> None:
    """Large products of few rows, each by one thread, as they are made, against two threads."""
    two = {"OPENBLAS_NUM_THREADS": "2"}
    words = settings("gru", 1, 512, 64, 4)
    with (
        BenchmarkProcess("training", *words) as ours,
        BenchmarkProcess("training", *words, environment=two) as divided,
    ):
        name = "gru 1 x 512, T 64, B 4, products by one thread: by two"
        bench.ratio(name, ours, divided, (256, 256))
    stream = ("scoring", "lstm", 512, "stream", 1, 500 if bench.smallest else 10_000)
    with BenchmarkProcess(*stream) as ours, BenchmarkProcess(*stream, environment=two) as divided:
        chars = (ours.facts["chars"], divided.facts["chars"])
        name = "scoring a stream, lstm 512, products by one thread: by two"
        bench.ratio(name, ours, divided, chars)


def bench_product(bench: Bench) -> None:
    """What share of the speed of one large matrix product a whole update reaches."""
    H, T, B, V = 512, 64, 64, 65
    for cell, gates in (("lstm", 4), ("gru", 3)):
        # two numbers multiplied and added are two operations; forward, and twice that backward
        operations = 3 * 2 * T * B * (H * gates * H + H * V)
        with (
            BenchmarkProcess("training", *settings(cell, 1, H, T, B)) as ours,
            BenchmarkProcess("matrix_product") as theirs,
        ):
            pairs = bench.both(ours, theirs)
        shares = [100 * (operations / mine) / (2 * 2048**3 / other) for mine, other in pairs]
        rate = statistics.median(2 * 2048**3 / other for _, other in pairs)
        bench.row(
            f"{cell} 1 x {H}, T {T}, B {B}: share of one large float32 product's rate",
            spread(shares, " %", 0),
            f"the product reaches {rate / 1e9:.0f} GFLOP/s",
        )


def bench_lines(bench: Bench) -> None:
    """Names in padded batches of 32 against the same names one by one, in characters a second."""
    for cell in ("rnn", "lstm"):
        words = [f"model.cell={cell}"]
        with (
            BenchmarkProcess("training_on_names", *words, "train.batch_size=32") as ours,
            BenchmarkProcess("training_on_names", *words, "train.batch_size=1") as theirs,
        ):
            chars = (ours.facts["chars"], theirs.facts["chars"])
            bench.ratio(f"{cell} 100, names in batches of 32: one by one", ours, theirs, chars)
    bench.row("names in batches of 32: padding", f"{100 * ours.facts['padding']:.1f} %")


def bench_sampling(bench: Bench) -> None:
    """One text against PyTorch's step loop; many records against one after another."""
    chars = (benchmark_process.CHARS, benchmark_process.CHARS)
    for cell, hidden in (("rnn", 100), ("lstm", 512)):
        with (
            BenchmarkProcess("sampling", cell, hidden) as ours,
            BenchmarkProcess("pytorch_sampling", cell, hidden) as other,
        ):
            bench.ratio(f"sampling one text, {cell} {hidden}: PyTorch", ours, other, chars)
    for count in (10,) if bench.smallest else (1000,) if bench.quick else (1000, 10_000):
        with (
            BenchmarkProcess("sampling_names", 100, count) as ours,
            BenchmarkProcess("sampling_names", 100, 1) as one,
        ):
            chars = (ours.facts["chars"], one.facts["chars"])
            bench.ratio(f"sampling {count:,} names at once, rnn 100: one by one", ours, one, chars)


def bench_eval(bench: Bench) -> None:
    """A stream against PyTorch; lines side by side with all cores and with one."""
    with (
        BenchmarkProcess("scoring", "lstm", 128, "stream") as ours,
        BenchmarkProcess("pytorch_scoring", "lstm", 128) as other,
    ):
        chars = (ours.facts["chars"], other.facts["chars"])
        bench.ratio(
            "scoring a stream, lstm 128: PyTorch, a character at a time", ours, other, chars
        )
    for cell, hidden in (("rnn", 100), ("lstm", 128), ("gru", 512)):
        with (
            BenchmarkProcess("scoring", cell, hidden, "lines") as ours,
            BenchmarkProcess("scoring", cell, hidden, "lines", 1) as one,
        ):
            chars = (ours.facts["chars"], one.facts["chars"])
            bench.ratio(f"scoring lines, {cell} {hidden}, all cores: one core", ours, one, chars)


def bench_start(bench: Bench) -> None:
    """Whole processes, from the shell's side: seconds, not ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.npz"))
        checkpoint.save(benchmark_process.trainer("train.steps=1").snapshot(), path)
        calls = {
            "charrnn --help": ["--help"],
            "charrnn sample, 1 character": ["sample", path, "--n", "1", "-q"],
        }
        for name, words in calls.items():
            seconds = [_process(words) for _ in range(2 * bench.rounds)][1:]
            bench.row(name, spread(seconds, " s", 3), "whole process")


def _process(words: list[str], checkout: Path | None = None) -> float:
    command = [benchmark_process.python_of(checkout), "-m", "charrnn", *words]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=checkout)
    return time.perf_counter() - begun


def bench_corpus(bench: Bench, size: int) -> None:
    """What a large text costs: seconds, memory, and the speed of training on it."""
    with large_text.texts(size) as folder:
        for name, mode in (("large", "stream"), ("lines", "lines")):
            for what in ("read and encoded", "found again"):
                rate = size / 1e6 / large_text.seconds_to_read(folder / name, mode)
                bench.row(f"{size / 1e6:,.0f} MB of {mode}: {what}", f"{rate:,.0f} MB/s")
            peak = large_text.peak_of_training_mb(folder / name, mode)
            bench.row(
                f"{size / 1e6:,.0f} MB of {mode}: peak memory of `train`",
                f"{peak:.0f} MB",
                "of its own, above the bare interpreter with NumPy",
            )
        for sizes in (("rnn", 1, 100, 25, 1), ("rnn", 1, 128, 50, 50)):
            cell, _, hidden, T, B = sizes
            with (
                BenchmarkProcess(
                    "training_on_file", str(folder / "large"), *settings(*sizes)
                ) as ours,
                BenchmarkProcess(
                    "training_on_file", str(folder / "small"), *settings(*sizes)
                ) as other,
            ):
                name = f"{cell} {hidden}, T {T}, B {B}, on {size / 1e6:,.0f} MB: on 1 MB"
                bench.ratio(name, ours, other, (T * B, T * B))


BENCHES = [
    bench_textbook,
    bench_jax,
    bench_loss,
    bench_pytorch,
    bench_workers,
    bench_divided,
    bench_product,
    bench_lines,
    bench_sampling,
    bench_eval,
    bench_start,
]


def machine() -> str:
    """What these figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, charrnn {charrnn.__version__}"
    )


def main() -> None:
    """Run the benchmarks asked for and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only benchmarks whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--corpus-size", type=float, help="bytes of a text made for the purpose")
    parser.add_argument("--vs", type=Path, help="folder of another checkout, with its own .venv")
    parser.add_argument("--smallest", action="store_true", help="one call each: does it run?")
    options = parser.parse_args()
    bench = Bench(options.quick, options.smallest)
    if options.corpus_size:
        bench_corpus(bench, int(options.corpus_size))
    if options.vs:
        bench_against(bench, options.vs.resolve())
    for benchmark in BENCHES if not (options.corpus_size or options.vs) else ():
        if not options.words or any(word in benchmark.__name__ for word in options.words):
            try:
                benchmark(bench)
            except Unavailable as unavailable:
                bench.row(benchmark.__name__, "not measured", str(unavailable))
    print(f"\nMeasured on {machine()}.\n\n| what | figure | |\n|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
