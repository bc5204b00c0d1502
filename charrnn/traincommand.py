"""The command `charrnn train`: its options, and what a run needs before its first step."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from charrnn import archive
from charrnn.console import logger, quiet_option, tell
from charrnn.errors import CheckpointError, ConfigError
from charrnn.ranks import Elsewhere, Ranks, world

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.settings import Config
    from charrnn.trainer import Trainer

set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting, such as model.hidden=200. Repeatable.",
)


@click.command()
@click.argument("config_path", metavar="CONFIG")
@set_option
@click.option(
    "--corpus", metavar="FILE", help="Text to train on, instead of corpus.path; - is stdin."
)
@click.option("--out", metavar="FILE", help="Checkpoint to write, instead of output.checkpoint.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run, instead of train.seed.")
@click.option("--resume", is_flag=True, help="Go on, bit for bit, where the checkpoint stopped.")
@click.option(
    "--init-from",
    metavar="CKPT",
    help="Begin a new run with the weights of this checkpoint (- is stdin). The text may have "
    "other characters.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Threads or processes that share the work, instead of train.threads.  [default: by the "
    "size of it]",
)
@quiet_option
def train(
    config_path: str,
    overrides: tuple[str, ...],
    corpus: str | None,
    out: str | None,
    seed: int | None,
    resume: bool,
    init_from: str | None,
    threads: int | None,
) -> None:
    """Train a model as CONFIG says, and print the path of its checkpoint.

    CONFIG is a YAML file, - for stdin, or a checkpoint, whose own config is then used.
    Figures of every validation are also written to a .jsonl file beside the checkpoint. Processes
    that mpiexec starts share the rows of each batch.

    \b
    charrnn train configs/dinos.yaml
    charrnn train configs/dinos.yaml --set model.hidden=200 --out runs/big.npz
    charrnn train runs/dinos.npz --resume
    charrnn train mine.yaml --init-from runs/dinos.npz --set optimizer.learning_rate=0.001
    mpiexec -n 4 charrnn train mine.yaml
    """
    options = {
        "corpus.path": corpus,
        "output.checkpoint": out,
        "train.seed": seed,
        "train.threads": threads,
    }
    extra = [assignment(key, value) for key, value in options.items() if value is not None]
    try:
        ranks = world()
        if not ranks.is_first:
            logger.setLevel(logging.ERROR)  # one of them tells it
        with ranks.together():
            config, path = ranks.first(
                lambda: _settled(config_path, overrides, extra, resume, init_from, ranks)
            )
            _train(config, path, resume, init_from, ranks)
    except Elsewhere as error:
        raise click.exceptions.Exit(error.exit_code) from None
    if ranks.is_first:
        tell(path)


def _settled(
    config_path: str,
    overrides: tuple[str, ...],
    extra: Any,
    resume: bool,
    init_from: str | None,
    ranks: Ranks,
) -> tuple[Config, str]:
    """The config, its seed settled, and the path of the checkpoint."""
    if resume and init_from is not None:
        raise click.UsageError(
            "--resume goes on with a run and --init-from begins a new one: leave one of them out"
        )
    if config_path == init_from == "-":
        raise click.UsageError(
            "the config and the checkpoint of --init-from cannot both come from standard input"
        )
    config = _train_config(config_path, overrides, extra)
    if config_path == "-" and "-" in config.corpus.path:
        raise ConfigError("the config and the corpus cannot both come from standard input")
    path = config.output.checkpoint
    assert path is not None
    if not archive.is_checkpoint(config_path):
        _check_reads([config_path], "the config", path)
    _check_reads(config.corpus.path, "the corpus", path)
    if init_from is not None:
        _check_source(init_from, config, path)
    if ranks.size > 1:
        _check_ranks(config, ranks.size)
    return _seeded(config, path, resume), path


def assignment(key: str, value: Any) -> Any:
    """A setting given by an option of its own; paths are relative to the current folder."""
    from charrnn import config as configs

    return configs.Assignment(key, value, "the command line", os.getcwd())


def _written(path: str) -> tuple[str, ...]:
    """The files that a run writes whose checkpoint is `path`."""
    from charrnn.metrics import metrics_path
    from charrnn.runfiles import best_path

    return path, best_path(path), str(metrics_path(path))


def _check_reads(read: Iterable[str], what: str, path: str) -> None:
    """ConfigError when the run would write to a file that it reads."""
    paths = [os.path.realpath(file) for file in read]
    for file in _written(path):
        if os.path.realpath(file) in paths:
            raise ConfigError(
                f"{file} is {what}, and training would write there", "Name another: --out FILE"
            )


def _train_config(path: str, overrides: tuple[str, ...], extra: Any) -> Config:
    from charrnn import config as configs

    if not archive.is_checkpoint(path):
        return configs.load(path, overrides, extra)
    from charrnn import checkpoint, download

    saved = configs.replace(
        checkpoint.load(path).config, "output", checkpoint=os.path.abspath(path)
    )
    config = configs.override(saved, overrides, extra, path)
    named = {given.partition("=")[0].strip() for given in overrides}
    if "corpus.path" not in named | {setting.key for setting in extra}:
        download.check_place(config.corpus, path)
    return config


def _check_source(init_from: str, config: Config, path: str) -> None:
    """ConfigError when the checkpoint of --init-from is also something else of the run."""
    from charrnn.runfiles import best_path

    if init_from == "-":
        if "-" in config.corpus.path:
            raise ConfigError(
                "the corpus and the checkpoint of --init-from cannot both come from standard input"
            )
        return
    written = [path, best_path(path)] if config.output.keep == "best" else [path]
    if os.path.realpath(init_from) in map(os.path.realpath, written):
        raise ConfigError(
            f"the run would write over {init_from}, whose weights it begins with",
            "Name another file: --out FILE",
        )


def _check_ranks(config: Config, size: int) -> None:
    """ConfigError when so many processes cannot train together."""
    rows = config.train.batch_size
    if size > rows:
        fewer = f"mpiexec -n {rows} charrnn train ..., or " if rows > 1 else ""
        raise ConfigError(
            f"{size} processes share the rows of a batch, and batch_size is {rows}",
            f"Try {fewer}--set train.batch_size={size}",
        )
    if "-" in config.corpus.path:
        raise ConfigError(
            "standard input goes to the first of several processes alone, and all of them read "
            "the corpus",
            "Name a file with --corpus FILE",
        )


def _seeded(config: Config, path: str, resume: bool) -> Config:
    """The config with a seed: its own, that of the run it continues, or a fresh one."""
    from charrnn import checkpoint, randomness
    from charrnn import config as configs

    if config.train.seed is not None:
        return config
    if resume:
        found = checkpoint.load(path).config.train.seed
        if found is None:
            raise CheckpointError(
                f"{path} does not tell the seed of its run: it can be sampled and scored, "
                "but not continued"
            )
        return configs.replace(config, "train", seed=found)
    seed = randomness.fresh_seed()
    logger.info(f"seed {seed}")
    return configs.replace(config, "train", seed=seed)


def _train(
    config: Config,
    path: str,
    resume: bool,
    init_from: str | None,
    ranks: Ranks,
) -> None:
    """The run, with its files to itself."""
    import numpy as np

    from charrnn import __version__, checkpoint
    from charrnn.progress import Progress
    from charrnn.train import run

    def begin() -> tuple[Checkpoint | None, Checkpoint | None]:
        _claim(path, files)
        return (
            checkpoint.load(path) if resume else None,
            None if init_from is None else checkpoint.load(init_from),
        )

    with contextlib.ExitStack() as files:
        saved, source = ranks.first(begin)
        trainer = ranks.in_turn(lambda: _trainer(config, path, saved, init_from, source, ranks))
        ranks.check_alike({"charrnn": __version__, "corpus": trainer.corpus.sha256})
        # Overflow shows in the loss, which is watched; NumPy's own warnings would tell less.
        with np.errstate(over="ignore", invalid="ignore"), Progress(ranks) as progress:
            # Processors of two kinds may round first weights apart. All heed signals from here on.
            ranks.spread(trainer.params.flat)
            run(trainer, path, progress)


def _claim(path: str, files: contextlib.ExitStack) -> None:
    """See that the files of the run can be written, and keep others from them until the end."""
    from charrnn import checkpoint, lock
    from charrnn.atomic import clear_parts

    for file in _written(path):
        if file != path and os.path.isdir(file):
            raise CheckpointError(
                f"{file} is a folder, and training writes that file", "Name another: --out FILE"
            )
    checkpoint.check_writable(path)
    alone = files.enter_context(lock.held(path))
    for file in _written(path) if alone else ():
        clear_parts(file)


def _trainer(
    config: Config,
    path: str,
    saved: Checkpoint | None,
    init_from: str | None,
    source: Checkpoint | None,
    ranks: Ranks,
) -> Trainer:
    """A trainer before its first step, or where the checkpoint `saved` stopped."""
    from charrnn import corpus, download
    from charrnn.resume import check_same_run
    from charrnn.trainer import Trainer
    from charrnn.transfer import check_fits, news

    assert config.train.seed is not None
    if source is not None:
        check_fits(source, config.model)
    download.fetch_missing(config.corpus)
    earlier = saved or source
    vocab = None if earlier is None else earlier.vocab
    text = corpus.read(config.corpus, config.train.seed, vocab, extend=vocab is not None)
    for notice in text.notices:
        logger.info(notice)
    if saved is not None:
        for difference in check_same_run(saved, config, text):
            logger.info(f"changed since the checkpoint: {difference}")
    trainer = Trainer(config, text, ranks)
    if source is not None:
        trainer.start_from(source)
        logger.info(f"beginning with the weights of {init_from} at step {source.step:,}")
        for new in news(source, text.vocab):
            logger.info(new)
    if saved is not None:
        trainer.restore(saved)
    elif os.path.exists(path):
        logger.info(f"{path} is there already and is replaced at the first save")
    return trainer
