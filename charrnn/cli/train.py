"""The command `charrnn train`: its options, and how it starts the ranks of a run."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable

import click

from charrnn.cli.options import quiet_option, set_option
from charrnn.cli.terminal import logger, print_result
from charrnn.config.schema import Config
from charrnn.parallel.group import ProcessGroup
from charrnn.parallel.mpi import launch, world_group

# The setting that each of these options changes.
SETTINGS = {
    "corpus": "corpus.path",
    "out": "output.checkpoint",
    "seed": "train.seed",
    "workers": "train.workers",
}


@click.command(short_help="Train a model and print the path of its checkpoint.")
@click.argument("inputs", metavar="CONFIG|TEXT...", nargs=-1, required=True)
@set_option
@click.option(
    "--corpus", metavar="FILE", help="Text to train on, instead of corpus.path; - is stdin."
)
@click.option("--out", metavar="FILE", help="Checkpoint to write, instead of output.checkpoint.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run, instead of train.seed.")
@click.option("--force", is_flag=True, help="Replace a run that is not finished, or another's.")
@click.option("--resume", is_flag=True, help="Resume the run of the checkpoint, bit for bit.")
@click.option(
    "--init-from",
    metavar="CKPT",
    help="Start a new run from the weights of this checkpoint (- is stdin). The text may have new "
    "characters.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes that share the rows of each batch, instead of train.workers.  [default: "
    "chosen by the number of cores and the size of the work]",
)
@quiet_option
def train(
    inputs: tuple[str, ...],
    overrides: tuple[str, ...],
    force: bool,
    resume: bool,
    init_from: str | None,
    **settings: str | int | None,
) -> None:
    """Train the model that CONFIG describes, or one for TEXT, and print its path.

    CONFIG is a YAML file, - for stdin, or a checkpoint, which contains its config. TEXT is a text
    or a folder of texts; there may be several. A config for them, as `charrnn new` writes it, is
    saved in the current folder under the name of the first. One that is there already is used.

    The points of the loss curve are also written to a .jsonl file beside the checkpoint. A finished
    run that is there already is kept as NAME.old.npz. The processes of --workers share the rows of
    each batch; so do those that mpiexec starts, on one machine or on several.

    \b
    charrnn train mine.txt
    charrnn train configs/dinos.yaml
    charrnn train configs/dinos.yaml --set model.hidden=200 --out runs/big.npz
    charrnn train runs/dinos.npz --resume
    charrnn train mine.yaml --init-from runs/dinos.npz --set optimizer.learning_rate=0.001
    mpiexec -n 4 charrnn train mine.yaml
    """
    if resume and init_from is not None:
        raise click.UsageError(
            "--resume resumes a run and --init-from starts a new one: leave one of them out"
        )
    if launch().size > 1 and settings["workers"] is not None:
        raise click.UsageError(
            "the processes that mpiexec has started are the workers: leave --workers out"
        )
    from charrnn.config.loader import Assignment
    from charrnn.parallel import local, worker_count
    from charrnn.training import new_config, session

    extra = [Assignment(SETTINGS[k], value) for k, value in settings.items() if value is not None]
    group = world_group()
    has_corpus = settings["corpus"] is not None
    with group.abort_on_error():

        def resolve() -> tuple[Config, str]:
            config_path = new_config.find_config(inputs, resume, has_corpus)
            return session.resolve_config(config_path, overrides, extra, resume, init_from, group)

        config, path = group.on_rank_zero(resolve)
        start = functools.partial(session.run, config, path, resume, init_from, force=force)
        if group.size > 1:
            _run(start, group)
        else:
            workers = worker_count.for_training(config)
            local.run(workers, functools.partial(_work, start))
    if group.is_rank_zero:
        print_result(path)


def _run(start: Callable[..., None], group: ProcessGroup) -> None:
    """Train as one rank of the run."""
    from charrnn.cli.progress import ProgressReporter

    if not group.is_rank_zero:
        logger.setLevel(logging.ERROR)  # rank 0 prints the other messages
    start(group=group, reporter=ProgressReporter(group))


def _work(start: Callable[..., None], group: ProcessGroup) -> None:
    """Train as one of several ranks on this machine; rank 0 is the process of the command."""
    from charrnn.cli.app import exit_on_error

    guard = contextlib.nullcontext() if group.is_rank_zero else exit_on_error()
    with guard, group.abort_on_error():
        _run(start, group)
