"""Compare weight initializations for each cell: validation nats on a text, as a Markdown table.

    python scripts/compare_init.py data/tinyshakespeare.txt

Each run is short: 1,500 updates of 32 windows of 64 characters, 128 hidden units, Adam with a
learning rate of 0.003, clipping by norm at 1. It is repeated with three seeds; the table has the
mean, the smallest and the largest of the three.
"""

from __future__ import annotations

import argparse
import statistics

from charrnn.config import loader
from charrnn.data import corpus
from charrnn.nn.cells import CELLS
from charrnn.training.trainer import Trainer

SETTINGS = {
    "model": {"hidden": 128},
    "train": {"batch_size": 32, "seq_length": 64, "steps": 1500, "reduction": "mean"},
    "optimizer": {"name": "adam", "learning_rate": 0.003, "clip": 1, "clip_by": "norm"},
}


def validation_nats(path: str, cell: str, init: str, seed: int, steps: int) -> float:
    """Return the validation loss after a short run, in nats per character."""
    settings = {**SETTINGS, "corpus": {"path": path}}
    overrides = [
        f"model.cell={cell}",
        f"model.init={init}",
        f"train.seed={seed}",
        f"train.steps={steps}",
    ]
    config = loader.override(loader.from_dict(settings, "here"), overrides, [], "here")
    run = Trainer(config, corpus.read_corpus(config.corpus, seed))
    while not run.finished:
        run.update()
    score = run.evaluator.validation(run.corpus)
    assert score is not None
    return score.nats


def main() -> None:
    """Print a row for each cell and a column for each initialization."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="the text to train on")
    parser.add_argument("--steps", type=int, default=1500, help="updates per run")
    options = parser.parse_args()
    print("| cell | karpathy | uniform | orthogonal |\n|---|---|---|---|", flush=True)
    for cell in CELLS:
        row = [cell]
        for init in ("karpathy", "uniform", "orthogonal"):
            nats = [
                validation_nats(options.corpus, cell, init, seed, options.steps)
                for seed in (1, 2, 3)
            ]
            row.append(f"{statistics.mean(nats):.4f} ({min(nats):.4f} to {max(nats):.4f})")
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
