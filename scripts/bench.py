"""How fast charrnn is, as ratios: both sides run in turn on this machine, several rounds.

    python scripts/bench.py              # everything that can run here, as a Markdown table
    python scripts/bench.py textbook     # only the rows whose name holds this word
    python scripts/bench.py --quick      # fewer and shorter rounds
    python scripts/bench.py --corpus-size 1e9    # instead: what a text of so many bytes costs

A row is the median over the rounds of (time of the other side / time of charrnn), with the smallest
and the largest of them: above 1, charrnn is faster. Both sides do forward, backward, clipping and
the optimiser's step.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import large
import numpy as np
import textbook

import charrnn
from charrnn import config, corpus
from charrnn.sample import Limits, Sampler, Taste
from charrnn.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
PARAGRAPH = (
    "A page of plain prose, with commas; a few numbers such as 17 or 1986, and a question?\n"
    "It is here so that nothing has to be fetched, and is never quite the same twice: {}.\n"
)
TEXT = "".join(PARAGRAPH.format(n * n) for n in range(6000))
# As many distinct characters as tinyshakespeare, on which these sizes are usually trained.
TEXT += "".join(sorted(set(string.ascii_letters + "!&") - set(TEXT)))[: 65 - len(set(TEXT))]


class Bench:
    """Runs two sides in turn and keeps the rows of the table."""

    def __init__(self, rounds: int, seconds: float) -> None:
        self.rounds = rounds
        self.seconds = seconds  # of one side in one round
        self.rows: list[tuple[str, str, str]] = []

    def row(self, name: str, figure: str, note: str = "") -> None:
        """One line of the table, shown when it is known."""
        self.rows.append((name, figure, note))
        print(f"  {name}: {figure}  {note}", file=sys.stderr)

    def ratio(
        self,
        name: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        chars: int = 0,
    ) -> None:
        """How many times faster `ours` is, per call, with the spread over the rounds."""
        counts = [self._count(side) for side in (ours, theirs)]
        ratios, speeds = [], []
        for _ in range(self.rounds):
            time.sleep(REST_S)
            mine = _time(ours, counts[0])
            time.sleep(REST_S)
            ratios.append(_time(theirs, counts[1]) / mine)
            speeds.append(chars / mine)
        note = f"{statistics.median(speeds) / 1000:,.0f} k chars/s" if chars else ""
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        self.row(name, f"{statistics.median(ratios):.2f} ({spread})", note)

    def _count(self, side: Callable[[], object]) -> int:
        """Calls that take about `seconds`, after a warm-up."""
        side()
        once = _time(side, 3)
        return max(1, int(self.seconds / once))


def _time(side: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        side()
    return (time.perf_counter() - begun) / count


def trainer(*overrides: str, text: str = TEXT) -> Trainer:
    """A run on `text` with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(text, encoding="utf-8")
        settings = config.from_dict({"corpus": {"path": str(path)}, "train": {"seed": 1}}, "bench")
        settings = config.override(settings, overrides, [], "bench")
        return Trainer(settings, corpus.read(settings.corpus, 1))


def from_textbook(run: Trainer, weights: dict[str, np.ndarray]) -> None:
    """Give a run the weights of the textbook loop, whose matrices are (out, in)."""
    letters = {"layer0.Wxh": "Wxh", "layer0.Whh": "Whh", "layer0.bh": "bh"}
    for name, array in run.params.items():
        array[...] = weights[letters.get(name, name)].T.reshape(array.shape)


def bench_textbook(bench: Bench) -> None:
    """Karpathy's setting against the textbook loop in float64."""
    run = trainer()
    weights = textbook.init(len(run.corpus.vocab), 100)
    loop = textbook.Trainer(run.corpus.training, weights)
    bench.ratio("rnn 100, T 25, B 1: textbook loop", run.update, loop.step, 25)


def bench_loss(bench: Bench) -> None:
    """The same loss as the textbook loop's after 1,000 steps from the same weights."""
    for rate in (0.01, 0.1):
        run = trainer("model.dtype=float64", f"optimizer.learning_rate={rate}")
        weights = textbook.init(len(run.corpus.vocab), 100)
        nudged = {name: array * (1 + 1e-15) for name, array in weights.items()}
        from_textbook(run, weights)
        loops = [
            textbook.Trainer(run.corpus.training, start, learning_rate=rate)
            for start in (weights, nudged)
        ]
        for _ in range(1000):
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


def bench_pytorch(bench: Bench) -> None:
    """PyTorch's own modules with the same sizes and as many threads, fed with one-hot vectors."""
    try:
        import pytorch
    except ImportError:
        bench.row("PyTorch", "not measured", "torch is not installed: pip install torch")
        return
    for cell, layers, hidden, T, B in PYTORCH:
        run = trainer(
            f"model.cell={cell}",
            f"model.layers={layers}",
            f"model.hidden={hidden}",
            f"train.seq_length={T}",
            f"train.batch_size={B}",
            "optimizer.learning_rate=0.001",
        )
        other = pytorch.Trainer(cell, len(run.corpus.vocab), hidden, layers, T, B, 0.001)
        name = f"{cell} {layers} x {hidden}, T {T}, B {B}: PyTorch"
        bench.ratio(name, run.update, other.step, T * B)


def bench_product(bench: Bench) -> None:
    """What share of the speed of one large matrix product a whole update reaches."""
    one, other = np.ones((2, 2048, 2048), np.float32)
    out = np.empty_like(one)
    for cell in ("lstm", "gru"):
        H, T, B = 512, 64, 64
        run = trainer(
            f"model.cell={cell}",
            f"model.hidden={H}",
            f"train.seq_length={T}",
            f"train.batch_size={B}",
            "optimizer.learning_rate=0.001",
        )
        V, GH = len(run.corpus.vocab), run.model.cell.gates * H
        # two numbers multiplied and added are two operations; forward, and twice that backward
        operations = 3 * 2 * T * B * (H * GH + H * V)
        shares, rates = [], []
        run.update()
        one.dot(other, out)
        for _ in range(bench.rounds):
            ours = operations / _time(run.update, 2)
            rate = 2 * 2048**3 / _time(lambda: one.dot(other, out), 3)
            shares.append(ours / rate)
            rates.append(rate)
        bench.row(
            f"{cell} 1 x {H}, T {T}, B {B}: share of one large float32 product's rate",
            f"{100 * statistics.median(shares):.0f} % "
            f"({100 * min(shares):.0f} to {100 * max(shares):.0f} %)",
            f"the product reaches {statistics.median(rates) / 1e9:.0f} GFLOP/s",
        )


def bench_lines(bench: Bench) -> None:
    """Names in padded batches of 32 against the same names one by one, in characters a second."""
    names = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8")
    for cell in ("rnn", "lstm"):
        runs = [
            trainer("corpus.mode=lines", f"model.cell={cell}", f"train.batch_size={B}", text=names)
            for B in (32, 1)
        ]
        counts = [run.batches.per_epoch() for run in runs]
        ratios = []
        for _ in range(max(3, bench.rounds // 2)):
            batched, single = (
                _time(run.update, count) * count for run, count in zip(runs, counts, strict=True)
            )
            ratios.append(single / batched)
        chars = runs[0].corpus.records.lengths(runs[0].corpus.training).sum()
        bench.row(
            f"{cell} 100, names in batches of 32: one by one",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{chars / batched / 1000:,.0f} k chars/s",
        )


def bench_sampling(bench: Bench) -> None:
    """One text against PyTorch's step loop; ten thousand records against one at a time."""
    for cell, hidden in (("rnn", 100), ("lstm", 512)):
        run = trainer(f"model.cell={cell}", f"model.hidden={hidden}")
        sampler = Sampler(run.model, run.params, run.corpus.vocab, "stream")

        def ours(sampler: Sampler = sampler) -> object:
            return deque(sampler.stream(1, Taste(), Limits(chars=CHARS)), maxlen=0)

        try:
            import pytorch
        except ImportError:
            bench.row("sampling: PyTorch", "not measured", "torch is not installed")
            break
        network = pytorch.Network(cell, len(run.corpus.vocab), hidden, 1)
        name = f"sampling one text, {cell} {hidden}: PyTorch"
        bench.ratio(name, ours, lambda network=network: pytorch.sample(network, CHARS), CHARS)
    names = (ROOT / "data" / "dinos.txt").read_text(encoding="utf-8")
    run = trainer("corpus.mode=lines", text=names)
    for _ in range(3000):
        run.update()
    sampler = Sampler(run.model, run.params, run.corpus.vocab, "lines")
    count, single = 10_000, 200
    ratios = []
    for seed in range(max(3, bench.rounds // 2)):
        begun = time.perf_counter()
        chars = sum(text.chars for text in sampler.texts(seed, Taste(), Limits(), count=count))
        middle = time.perf_counter()
        alone = sum(1 for _ in sampler.stream(seed, Taste(), Limits(lines=single)))
        ended = time.perf_counter()
        ratios.append(chars / (middle - begun) / (alone / (ended - middle)))
    bench.row(
        "sampling 10,000 names, rnn 100: one at a time",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        f"{chars / (middle - begun) / 1000:,.0f} k chars/s",
    )


def bench_eval(bench: Bench) -> None:
    """Scoring a text with carried state against PyTorch, character by character."""
    run = trainer("model.cell=lstm", "model.hidden=128")
    ids = run.corpus.training[:10_001]
    try:
        import pytorch
    except ImportError:
        bench.row("scoring: PyTorch", "not measured", "torch is not installed")
        return
    network = pytorch.Network("lstm", len(run.corpus.vocab), 128, 1)
    few = ids[: CHARS + 1].astype(int).tolist()
    ratios, speeds = [], []
    for _ in range(bench.rounds):
        mine = _time(lambda: run.evaluator.stream([ids]), 1) / (len(ids) - 1)
        theirs = _time(lambda: pytorch.score(network, few), 1) / CHARS
        ratios.append(theirs / mine)
        speeds.append(1 / mine)
    bench.row(
        "scoring a stream, lstm 128: PyTorch, a character at a time",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        f"{statistics.median(speeds) / 1000:,.0f} k chars/s",
    )


def bench_start(bench: Bench) -> None:
    """Whole processes, from the shell's side: seconds, not ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.npz"))
        trainer("train.steps=1").save(path)
        calls = {
            "charrnn --help": ["--help"],
            "charrnn sample, 1 character": ["sample", path, "--n", "1", "-q"],
        }
        for name, words in calls.items():
            seconds = [_process(words) for _ in range(2 * bench.rounds)][1:]
            figure = f"{statistics.median(seconds):.3f} s"
            bench.row(name, figure, f"{min(seconds):.3f} to {max(seconds):.3f} s, whole process")


def _process(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "charrnn", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def bench_corpus(bench: Bench, size: int) -> None:
    """What a large text costs: seconds, memory, and the speed of training on it."""
    with large.texts(size) as folder:
        for name, mode in (("large", "stream"), ("lines", "lines")):
            for what in ("read and encoded", "found again"):
                rate = size / 1e6 / large.seconds_to_read(folder / name, mode)
                bench.row(f"{size / 1e6:,.0f} MB of {mode}: {what}", f"{rate:,.0f} MB/s")
            peak = large.peak_of_training_mb(folder / name, mode)
            bench.row(
                f"{size / 1e6:,.0f} MB of {mode}: peak memory of `train`",
                f"{peak:.0f} MB",
                "above the bare interpreter with NumPy",
            )
        for hidden, T, B in ((100, 25, 1), (128, 50, 50)):
            settings = [
                f"model.hidden={hidden}",
                f"train.seq_length={T}",
                f"train.batch_size={B}",
                "optimizer.learning_rate=0.001",
            ]
            runs = [large.trainer(folder / name, *settings) for name in ("large", "small")]
            bench.ratio(
                f"rnn {hidden}, T {T}, B {B}, on {size / 1e6:,.0f} MB: on 1 MB",
                runs[0].update,
                runs[1].update,
                T * B,
            )


BENCHES = [
    bench_textbook,
    bench_loss,
    bench_pytorch,
    bench_product,
    bench_lines,
    bench_sampling,
    bench_eval,
    bench_start,
]
REST_S = 0.3  # so that one side's idle threads have stopped spinning when the other begins
CHARS = 500  # sampled or scored by PyTorch at a time


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
    options = parser.parse_args()
    bench = Bench(3, 0.3) if options.quick else Bench(9, 1.0)
    if options.corpus_size:
        bench_corpus(bench, int(options.corpus_size))
    for benchmark in BENCHES if not options.corpus_size else ():
        if not options.words or any(word in benchmark.__name__ for word in options.words):
            benchmark(bench)
    print(f"\nMeasured on {machine()}.\n\n| what | figure | |\n|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
