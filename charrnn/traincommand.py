"""The command `charrnn train`: its options, and what a run needs before its first step."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import click

from charrnn import threads
from charrnn.console import note
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.settings import Config


@click.command()
@click.argument("config_path", metavar="CONFIG")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting, such as train.steps=1000. Repeatable.",
)
@click.option(
    "--corpus", metavar="FILE", help="Text to train on, instead of corpus.path; - is stdin."
)
@click.option("--out", metavar="FILE", help="Checkpoint to write, instead of output.checkpoint.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run, instead of train.seed.")
@click.option("--resume", is_flag=True, help="Go on, bit for bit, where the checkpoint stopped.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr but errors.")
def train(
    config_path: str,
    overrides: tuple[str, ...],
    corpus: str | None,
    out: str | None,
    seed: int | None,
    resume: bool,
    quiet: bool,
) -> None:
    """Train a model as CONFIG says, and print the path of its checkpoint.

    CONFIG is a YAML file, - for stdin, or a checkpoint, whose own config is then used.
    Figures of every validation are also written to a .jsonl file beside the checkpoint.

    \b
    charrnn train configs/dinos.yaml
    charrnn train configs/dinos.yaml --set model.hidden=200 --out runs/big.npz
    charrnn train runs/dinos.npz --resume
    """
    options = {"corpus.path": corpus, "output.checkpoint": out, "train.seed": seed}
    extra = [assignment(key, value) for key, value in options.items() if value is not None]
    config = _train_config(config_path, overrides, extra)
    if config_path == "-" and "-" in config.corpus.path:
        raise ConfigError("the config and the corpus cannot both come from standard input")
    path = config.output.checkpoint
    assert path is not None
    config = _seeded(config, path, resume, quiet)
    _train(config, path, resume, quiet)
    click.echo(path)


def assignment(key: str, value: Any) -> Any:
    """A setting given by an option of its own; paths are relative to the current folder."""
    from charrnn import config as configs

    return configs.Assignment(key, value, "the command line", os.getcwd())


def _train_config(path: str, overrides: tuple[str, ...], extra: Any) -> Config:
    from charrnn import config as configs

    if not path.endswith(".npz") and not zipfile.is_zipfile(path):
        config = configs.load(path, overrides, extra)
        threads.limit(config.as_dict())
        return config
    threads.limit(threads.settings_in(path))
    from charrnn import checkpoint

    saved = configs.replace(
        checkpoint.load(path).config, "output", checkpoint=os.path.abspath(path)
    )
    return configs.override(saved, overrides, extra, path)


def _seeded(config: Config, path: str, resume: bool, quiet: bool) -> Config:
    """The config with a seed: its own, that of the run it continues, or a fresh one."""
    from charrnn import checkpoint, randomness
    from charrnn import config as configs

    if config.train.seed is not None:
        return config
    if resume:
        return configs.replace(config, "train", seed=checkpoint.load(path).config.train.seed)
    seed = randomness.fresh_seed()
    note(f"seed {seed}", quiet)
    return configs.replace(config, "train", seed=seed)


def _train(config: Config, path: str, resume: bool, quiet: bool) -> None:
    import numpy as np

    from charrnn import checkpoint, corpus, download
    from charrnn.metrics import metrics_path
    from charrnn.progress import Progress
    from charrnn.resume import check_same_run
    from charrnn.train import best_path, run
    from charrnn.trainer import Trainer

    assert config.train.seed is not None
    for written in (path, best_path(path), str(metrics_path(path))):
        if os.path.realpath(written) in map(os.path.realpath, config.corpus.path):
            raise ConfigError(
                f"{written} is the corpus, and training would write there: --out FILE"
            )
    checkpoint.check_writable(path)
    saved = checkpoint.load(path) if resume else None
    (first, *others), url = config.corpus.path, config.corpus.url
    if url is not None and not others and first != "-" and not os.path.exists(first):
        download.fetch(url, first, config.corpus.sha256, quiet)
    vocab = None if saved is None else saved.vocab
    text = corpus.read(config.corpus, config.train.seed, vocab)
    for notice in text.notices:
        note(notice, quiet)
    if saved is not None:
        for difference in check_same_run(saved, config, text):
            note(f"changed since the checkpoint: {difference}", quiet)
    trainer = Trainer(config, text)
    if saved is not None:
        trainer.restore(saved)
    elif os.path.exists(path):
        note(f"{path} is there already and is replaced at the first save", quiet)
    # Overflow shows in the loss, which is watched; NumPy's own warnings would tell less.
    with np.errstate(over="ignore", invalid="ignore"), Progress(quiet) as progress:
        run(trainer, path, progress)
