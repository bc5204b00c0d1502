"""From a config to a checkpoint: what a run needs before its first step, and the run itself."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from charrnn import __version__, archive, checkpoint, lock, rng
from charrnn.atomic import remove_partial_files
from charrnn.checkpoint import Checkpoint
from charrnn.config import loader as configs
from charrnn.config.loader import Assignment
from charrnn.config.schema import Config
from charrnn.data import download
from charrnn.data.corpus import Corpus, read_corpus
from charrnn.errors import CheckpointError, ConfigError
from charrnn.parallel.group import ProcessGroup
from charrnn.training import loop
from charrnn.training.loop import Callbacks
from charrnn.training.outputs import best_path, metrics_path
from charrnn.training.resume import check_same_run
from charrnn.training.trainer import Trainer
from charrnn.training.warm_start import new_characters

logger = logging.getLogger("charrnn")


def resolve_config(
    config_path: str,
    overrides: Sequence[str],
    extra: Sequence[Assignment],
    resume: bool,
    init_from: str | None,
    group: ProcessGroup,
) -> tuple[Config, str]:
    """The config of a run, its seed settled, and the path of its checkpoint.

    `config_path` is a YAML file, - for stdin, or a checkpoint, whose own config is then used;
    `overrides` are those of `--set`, `extra` come from options of their own. Raises ConfigError,
    CheckpointError and CorpusError.
    """
    config = _load_config(config_path, overrides, extra)
    sources = {"config": config_path, "checkpoint of --init-from": init_from}
    for what, source in sources.items():
        if source == "-" and "-" in config.corpus.path:
            raise ConfigError(f"the {what} and the corpus cannot both come from standard input")
    path = config.output.checkpoint
    assert path is not None
    written = _output_paths(path)
    if not archive.is_checkpoint(config_path):
        _check_not_overwritten([config_path], "the config", written)
    _check_not_overwritten(config.corpus.path, "the corpus", written)
    if init_from is not None:
        replaced = written if config.output.keep == "best" else [path]
        _check_not_overwritten([init_from], "the checkpoint of --init-from", replaced)
    _check_ranks(config, group.size)
    return _with_seed(config, path, resume), path


def run(
    config: Config,
    path: str,
    resume: bool,
    init_from: str | None,
    group: ProcessGroup,
    reporter: AbstractContextManager[Callbacks],
) -> None:
    """Train to the end, with the files of the run to itself. Every rank of a group goes through it.

    `reporter` gives the callbacks when it is entered, before the first step. Raises what `loop.run`
    raises, and CharrnnError for files, weights and texts that do not fit.
    """
    with contextlib.ExitStack() as files:

        def claim_and_load() -> Checkpoint | None:
            _lock_outputs(path, files)
            earlier = path if resume else init_from
            return None if earlier is None else checkpoint.load(earlier)

        earlier = group.on_rank_zero(claim_and_load)
        text = _read_corpus(config, earlier, group)
        group.check_equal({"charrnn": __version__, "corpus": text.sha256})

        def begin() -> Trainer:
            if earlier is not None and resume:
                return _resumed_trainer(config, text, earlier, group)
            trainer = Trainer(config, text, group)
            if earlier is not None:
                trainer.warm_start(earlier)
                logger.info(f"beginning with the weights of {init_from} at step {earlier.step:,}")
                for new in new_characters(earlier, text.vocab):
                    logger.info(new)
            if os.path.exists(path):
                logger.info(f"{path} is there already and is replaced at the first save")
            return trainer

        # What is wrong is wrong for all of them, and rank 0 says so before the others begin.
        trainer = group.rank_zero_first(begin)
        # Overflow shows in the loss, which is watched; NumPy's own warnings would tell less.
        with np.errstate(over="ignore", invalid="ignore"), reporter as callbacks:
            # Processors of two kinds may round first weights apart. All heed signals from here on.
            trainer.params.flat[:] = group.broadcast(trainer.params.flat)
            if init_from is not None:
                trainer.expected_nats = trainer.initial_nats()
            loop.run(trainer, path, callbacks)


def _load_config(path: str, overrides: Sequence[str], extra: Sequence[Assignment]) -> Config:
    if not archive.is_checkpoint(path):
        return configs.load(path, overrides, extra)
    saved = configs.replace(
        checkpoint.load(path).config, "output", checkpoint=os.path.abspath(path)
    )
    config = configs.override(saved, overrides, extra, path)
    named = {given.partition("=")[0].strip() for given in overrides}
    if "corpus.path" not in named | {setting.key for setting in extra}:
        download.check_download_allowed(config.corpus, path)
    return config


def _output_paths(path: str) -> list[str]:
    """The files that a run writes whose checkpoint is `path`."""
    return [path, best_path(path), str(metrics_path(path))]


def _check_not_overwritten(read: Iterable[str], what: str, written: Iterable[str]) -> None:
    """ConfigError when the run would write to a file that it reads."""
    paths = [os.path.realpath(file) for file in read]
    for file in written:
        if os.path.realpath(file) in paths:
            raise ConfigError(
                f"{file} is {what}, and training would write there", "Name another: --out FILE"
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


def _with_seed(config: Config, path: str, resume: bool) -> Config:
    """The config with a seed: its own, that of the run it continues, or a fresh one."""
    if config.train.seed is not None:
        return config
    seed = checkpoint.load(path).config.train.seed if resume else rng.random_seed()
    if seed is None:
        raise CheckpointError(
            f"{path} does not tell the seed of its run: it can be sampled and scored, "
            "but not continued"
        )
    logger.info(f"seed {seed}")
    return configs.replace(config, "train", seed=seed)


def _lock_outputs(path: str, files: contextlib.ExitStack) -> None:
    """See that the files of the run can be written, and keep others from them until the end."""
    checkpoint.check_writable(path)
    for file in _output_paths(path):
        if os.path.isdir(file):
            raise CheckpointError(
                f"{file} is a folder, and training writes that file", "Name another: --out FILE"
            )
    if files.enter_context(lock.hold_lock(path)):
        for file in _output_paths(path):
            remove_partial_files(file)


def _read_corpus(config: Config, earlier: Checkpoint | None, group: ProcessGroup) -> Corpus:
    """The text of the run, with the characters of an earlier one and whatever else it has."""
    vocab = None if earlier is None else earlier.vocab

    def read() -> Corpus:
        seed = config.train.seed
        assert seed is not None
        download.fetch_missing(config.corpus)
        return read_corpus(config.corpus, seed, vocab, extend=vocab is not None)

    piped = "-" in config.corpus.path  # standard input is that of rank 0
    text = group.on_rank_zero(read) if piped else group.rank_zero_first(read)
    for notice in text.notices:
        logger.info(notice)
    return text


def _resumed_trainer(
    config: Config, text: Corpus, saved: Checkpoint, group: ProcessGroup
) -> Trainer:
    """A trainer where a checkpoint stopped."""
    for difference in check_same_run(saved, config, text):
        logger.info(f"changed since the checkpoint: {difference}")
    trainer = Trainer(config, text, group)
    trainer.restore(saved)
    return trainer
