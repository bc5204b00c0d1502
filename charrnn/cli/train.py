"""The command `charrnn train`: its options."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable

import click

from charrnn.cli.terminal import logger, quiet_option, set_option, tell
from charrnn.parallel.group import ProcessGroup
from charrnn.parallel.mpi import launch, world_group

# What an option of its own sets.
SETTINGS = {
    "corpus": "corpus.path",
    "out": "output.checkpoint",
    "seed": "train.seed",
    "workers": "train.workers",
}


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
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes that share the rows of each batch, instead of train.workers.  [default: by the "
    "cores and the size of the work]",
)
@quiet_option
def train(
    config_path: str,
    overrides: tuple[str, ...],
    resume: bool,
    init_from: str | None,
    **settings: str | int | None,
) -> None:
    """Train a model as CONFIG says, and print the path of its checkpoint.

    CONFIG is a YAML file, - for stdin, or a checkpoint, whose own config is then used.
    Figures of every validation are also written to a .jsonl file beside the checkpoint. Several
    processes share the rows of each batch; those that mpiexec starts, on one machine or on many,
    do so too.

    \b
    charrnn train configs/dinos.yaml
    charrnn train configs/dinos.yaml --set model.hidden=200 --out runs/big.npz
    charrnn train runs/dinos.npz --resume
    charrnn train mine.yaml --init-from runs/dinos.npz --set optimizer.learning_rate=0.001
    mpiexec -n 4 charrnn train mine.yaml
    """
    if resume and init_from is not None:
        raise click.UsageError(
            "--resume goes on with a run and --init-from begins a new one: leave one of them out"
        )
    if launch().size > 1 and settings["workers"] is not None:
        raise click.UsageError(
            "the processes that mpiexec has started are the workers: leave --workers out"
        )
    from charrnn.config.loader import Assignment
    from charrnn.parallel import local, worker_count
    from charrnn.training import session

    given = {SETTINGS[name]: value for name, value in settings.items() if value is not None}
    extra = [Assignment(key, value) for key, value in given.items()]
    group = world_group()
    with group.abort_on_error():
        config, path = group.on_rank_zero(
            lambda: session.resolve_config(config_path, overrides, extra, resume, init_from, group)
        )
        start = functools.partial(session.run, config, path, resume, init_from)
        if group.size > 1:
            _run(start, group)
        else:
            workers = worker_count.for_training(config)
            local.run(workers, functools.partial(_work, start))
    if group.is_rank_zero:
        tell(path)


def _run(start: Callable[..., None], group: ProcessGroup) -> None:
    """Be one rank of the run."""
    from charrnn.cli.progress import ProgressReporter

    if not group.is_rank_zero:
        logger.setLevel(logging.ERROR)  # rank 0 tells it
    start(group=group, reporter=ProgressReporter(group))


def _work(start: Callable[..., None], group: ProcessGroup) -> None:
    """Be one rank of several on this machine, of which rank 0 is the command itself."""
    from charrnn.cli.app import outcome

    errors_told = contextlib.nullcontext() if group.is_rank_zero else outcome()
    with errors_told, group.abort_on_error():
        _run(start, group)
