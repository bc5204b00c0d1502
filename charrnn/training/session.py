"""A whole training run: resolve the config, lock the files, build the trainer, train."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
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
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.parallel.group import ProcessGroup
from charrnn.streams import display_name
from charrnn.training import loop, presets
from charrnn.training.loop import Callbacks
from charrnn.training.outputs import is_kept, metrics_path, old_path
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
    """Return the config of a run, with a seed, and the path of its checkpoint.

    `config_path` is a YAML file, - for stdin, or a checkpoint, whose config is used then.
    `overrides` are the values of `--set`; `extra` are the settings of all other options. Raises
    ConfigError, CheckpointError and CorpusError.
    """
    config = _load_config(config_path, overrides, extra)
    sources = {"config": config_path, "checkpoint of --init-from": init_from}
    for role, source in sources.items():
        if source == "-" and "-" in config.corpus.path:
            raise ConfigError(f"the {role} and the corpus cannot both come from standard input")
    path = config.output.checkpoint
    assert path is not None
    inputs = {"the checkpoint of --init-from": [init_from] if init_from is not None else []}
    if not archive.is_checkpoint(config_path):
        inputs["the config"] = [config_path]
    return complete(config, path, inputs, group.size, resume), path


def complete(
    config: Config,
    path: str,
    inputs: Mapping[str, Iterable[str]],
    ranks: int,
    resume: bool = False,
) -> Config:
    """Return the config of a run with its checkpoint at `path`, with a seed and a learning rate.

    Raises ConfigError if the run would overwrite its corpus or one of the `inputs`, which are paths
    by what they are, or has too few rows for its `ranks`, and CheckpointError.
    """
    for role, paths in {"the corpus": config.corpus.path, **inputs}.items():
        _check_not_overwritten(paths, role, _output_paths(path))
    _check_ranks(config, ranks)
    return _with_seed_and_rate(config, path, resume)


def run(
    config: Config,
    path: str,
    resume: bool,
    init_from: str | None,
    group: ProcessGroup,
    reporter: AbstractContextManager[Callbacks],
    force: bool = False,
) -> None:
    """Train until the run ends, while a lock keeps other runs from its files.

    A finished run in its place is kept as NAME.old.npz; an unfinished one needs `force`. Every rank
    of `group` calls this. `reporter` is entered before the first step and returns the callbacks.
    Raises the errors of `loop.run`, and CharrnnError for a file, weights or a text that the run
    cannot use.
    """
    with contextlib.ExitStack() as stack:

        def lock_and_load() -> Checkpoint | None:
            _lock_outputs(path, stack)
            if not resume:
                _check_replaceable(path, config, force)
            source_path = path if resume else init_from
            return None if source_path is None else checkpoint.load(source_path)

        source = group.on_rank_zero(lock_and_load)
        corpus = _read_corpus(config, source, group)
        group.check_equal({"charrnn": __version__, "corpus": corpus.sha256})

        def build_trainer() -> Trainer:
            if source is not None and resume:
                return _resumed_trainer(config, corpus, source, group)
            trainer = Trainer(config, corpus, group)
            if source is not None:
                trainer.warm_start(source)
                logger.info(f"starting from the weights of {init_from} at step {source.step:,}")
                for notice in new_characters(source, corpus.vocab):
                    logger.info(notice)
            return trainer

        # An error here is the same on all ranks: rank 0 raises it before the others build theirs.
        trainer = group.rank_zero_first(build_trainer)
        # `loop.run` checks the loss for overflow; NumPy's warnings would only repeat it.
        with np.errstate(over="ignore", invalid="ignore"), reporter as callbacks:
            # Different processors may round the initial weights differently, so all ranks take
            # those of rank 0. From here on, the reporter handles signals on every rank.
            trainer.params.flat[:] = group.broadcast(trainer.params.flat)
            loop.run(trainer, path, callbacks)


def _load_config(path: str, overrides: Sequence[str], extra: Sequence[Assignment]) -> Config:
    """Return the config in the YAML file or checkpoint at `path`, with the overrides applied."""
    keys = {override.partition("=")[0].strip() for override in overrides}
    from_file = "corpus.path" not in keys | {setting.key for setting in extra}
    if not archive.is_checkpoint(path):
        config = configs.load(path, overrides, extra)
        if from_file:
            _check_texts_exist(config, path)
        return config
    saved = configs.replace(
        checkpoint.load(path).config, "output", checkpoint=os.path.abspath(path)
    )
    rule = configs.replace(saved, "optimizer", learning_rate=None)
    if rule.learning_rate == saved.learning_rate:  # so it follows an override of the optimizer
        saved = rule
    config = configs.override(saved, overrides, extra, path)
    if from_file:
        download.check_download_allowed(config.corpus, path)
    return config


def _check_texts_exist(config: Config, path: str) -> None:
    """Raise CorpusError for a text that the config at `path` names and that does not exist."""
    missing = [text for text in config.corpus.path if text != "-" and not os.path.exists(text)]
    if missing and config.corpus.url is None:
        raise CorpusError(
            f"{missing[0]}: no such text file",
            f"{display_name(path)} names it as corpus.path, and paths in a config start from the "
            "config's folder. Correct the path, or name the text: --corpus FILE",
        )


def _output_paths(path: str) -> list[str]:
    """Return the paths that a run with its checkpoint at `path` writes."""
    return [path, old_path(path), str(metrics_path(path))]


def _check_not_overwritten(inputs: Iterable[str], role: str, outputs: Iterable[str]) -> None:
    """Raise ConfigError if an output path is also an input path. `role` names the input."""
    inputs = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        if os.path.realpath(path) in inputs:
            raise ConfigError(
                f"{path} is {role}, and training would overwrite it", "Name another: --out FILE"
            )


def _check_ranks(config: Config, size: int) -> None:
    """Raise ConfigError if a batch has fewer rows than there are processes (`size`)."""
    rows = config.train.batch_size
    if size > rows:
        command = f"mpiexec -n {rows} charrnn train ..., or " if rows > 1 else ""
        raise ConfigError(
            f"{size} processes share the rows of a batch, and batch_size is {rows}",
            f"Try {command}--set train.batch_size={size}",
        )


def _with_seed_and_rate(config: Config, path: str, resume: bool) -> Config:
    """Return the config with a seed and a learning rate, those of a resumed run where null."""
    seed, rate = config.train.seed, config.optimizer.learning_rate
    if resume and (seed is None or os.path.isfile(path)):
        saved = checkpoint.load(path).config
        seed = saved.train.seed if seed is None else seed
        rate = saved.learning_rate if rate is None else rate
        if seed is None:
            raise CheckpointError(
                f"{path} does not contain the seed of its run: it can be sampled and scored, "
                "but not resumed"
            )
    elif seed is None:
        seed = rng.random_seed()
    if config.train.seed is None:
        logger.info(f"seed {seed}")
    config = configs.replace(config, "train", seed=seed)
    return configs.replace(config, "optimizer", learning_rate=rate or config.learning_rate)


def _check_replaceable(path: str, config: Config, force: bool) -> None:
    """Raise ConfigError unless there is no file, a finished run of this network, or `force`."""
    if not os.path.isfile(path):
        return
    hint = "Choose another file with --out FILE, or replace it with --force"
    try:
        saved = checkpoint.load(path)
    except CheckpointError:
        reason = f"{path} is not a checkpoint of this version"
    else:
        reason, network = "", _network(saved.config)
        if network != _network(config):
            reason = f"{path} has a run of another network ({network})"
        elif not saved.training_state.get("finished"):
            reason = f"{path} has a run that is not finished (step {saved.step:,})"
            hint = f"Resume it with --resume. {hint}"
    if reason and not force:
        raise ConfigError(reason, hint)
    outcome = f"its run is kept as {old_path(path)}" if is_kept(path) else "its run is replaced"
    logger.info(f"{path} is there already: {outcome} at the first save")


def _network(config: Config) -> str:
    """Return the cell and the size of a config's network."""
    return f"{config.model.cell} {config.model.layers} x {config.model.hidden}"


def _lock_outputs(path: str, stack: contextlib.ExitStack) -> None:
    """Lock the output files of the run until `stack` closes, and remove their partial files.

    Raises CheckpointError if one of them cannot be written or another run holds the lock.
    """
    checkpoint.check_writable(path)
    for output in _output_paths(path):
        if os.path.isdir(output):
            raise CheckpointError(
                f"{output} is a folder, but training writes a file", "Name another: --out FILE"
            )
    if stack.enter_context(lock.hold_lock(path)):
        for output in _output_paths(path):
            remove_partial_files(output)


def _read_corpus(config: Config, source: Checkpoint | None, group: ProcessGroup) -> Corpus:
    """Return the corpus of the run. Its vocabulary is that of `source` and all new characters."""
    vocab = None if source is None else source.vocab

    def read() -> Corpus:
        seed = config.train.seed
        assert seed is not None
        download.fetch_missing(config.corpus)
        return read_corpus(config.corpus, seed, vocab, extend=vocab is not None)

    piped = "-" in config.corpus.path  # only rank 0 has the standard input
    if piped and sys.stdin is not None and sys.stdin.isatty():
        logger.info("reading the text from standard input: type it, and end it with Ctrl-D")
    corpus = group.on_rank_zero(read) if piped else group.rank_zero_first(read)
    for notice in corpus.notices:
        logger.info(notice)
    if not len(corpus.validation) and sum(corpus.chars()) < presets.MIN_STREAM_CHARS:
        logger.info(presets.MEMORIZED)
    return corpus


def _resumed_trainer(
    config: Config, corpus: Corpus, saved: Checkpoint, group: ProcessGroup
) -> Trainer:
    """Return a trainer in the training state of a checkpoint, and log the changed settings."""
    for difference in check_same_run(saved, config, corpus):
        logger.info(f"changed since the checkpoint: {difference}")
    trainer = Trainer(config, corpus, group)
    trainer.restore(saved)
    return trainer
