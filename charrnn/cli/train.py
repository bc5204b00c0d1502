"""The command `charrnn train`: its options."""

from __future__ import annotations

import logging

import click

from charrnn.cli.terminal import logger, quiet_option, set_option, tell
from charrnn.parallel.mpi import Elsewhere, world


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
    if resume and init_from is not None:
        raise click.UsageError(
            "--resume goes on with a run and --init-from begins a new one: leave one of them out"
        )
    if config_path == init_from == "-":
        raise click.UsageError(
            "the config and the checkpoint of --init-from cannot both come from standard input"
        )
    from charrnn.cli.progress import Progress
    from charrnn.config.loader import assignment
    from charrnn.training import session

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
                lambda: session.settled(config_path, overrides, extra, resume, init_from, ranks)
            )
            session.run(config, path, resume, init_from, ranks, Progress(ranks))
    except Elsewhere as error:
        raise click.exceptions.Exit(error.exit_code) from None
    if ranks.is_first:
        tell(path)
