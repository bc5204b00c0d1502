"""Train with the default learning rate of many networks and optimizers: a Markdown table.

    python scripts/learning_rates.py data/tinyshakespeare.txt

Each run has the settings of configs/tinyshakespeare.yaml but for cell, hidden, optimizer and seed.
A row has the validation loss after 10,000 updates, in nats per character, of every seed. The whole
table takes about half an hour.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from charrnn.config import loader
from charrnn.data import corpus
from charrnn.errors import DivergedError
from charrnn.nn.cells import CELLS
from charrnn.training.optimizers import OPTIMIZERS
from charrnn.training.trainer import Trainer

CONFIG = Path(__file__).parents[1] / "configs" / "tinyshakespeare.yaml"


def validation_nats(path: str, overrides: list[str]) -> float:
    """Return the validation loss after a run, in nats per character; infinity if it diverged."""
    text = [f"corpus.path={path}", "corpus.url=null", "corpus.sha256=null"]
    config = loader.load(str(CONFIG), [*text, *overrides])
    assert config.train.seed is not None
    run = Trainer(config, corpus.read_corpus(config.corpus, config.train.seed))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            while not run.finished:
                run.update()
            score = run.evaluator.validation(run.corpus)
    except DivergedError:
        return np.inf
    assert score is not None
    return score.nats


def main() -> None:
    """Print a row for each optimizer, cell and number of hidden units."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="the text to train on")
    parser.add_argument("--steps", type=int, default=10_000, help="updates per run")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 100, 200, 512])
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--set", nargs="+", default=[], help="other settings, KEY=VALUE")
    options = parser.parse_args()
    print("| optimizer | cell | hidden | validation nats by seed |\n|---|---|---|---|", flush=True)
    for optimizer in options.optimizers:
        for hidden in options.hidden:
            for cell in CELLS:
                network = [f"model.cell={cell}", f"model.hidden={hidden}"]
                run = [f"optimizer.name={optimizer}", f"train.steps={options.steps}", *options.set]
                nats = [
                    validation_nats(options.corpus, [*network, *run, f"train.seed={seed}"])
                    for seed in ((1, 2, 3, 4) if optimizer == "adagrad" else (1,))
                ]
                seeds = ", ".join(f"{value:.3f}" for value in nats)
                print(f"| {optimizer} | {cell} | {hidden} | {seeds} |", flush=True)


if __name__ == "__main__":
    main()
