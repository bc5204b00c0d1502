"""Trains in Python: from a config, in a file or in dictionaries, to a checkpoint in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.config import loader as configs
from charrnn.config.loader import Assignment
from charrnn.config.schema import KINDS, SECTIONS, Config
from charrnn.errors import CharrnnError
from charrnn.parallel import local, worker_count
from charrnn.parallel.group import ProcessGroup
from charrnn.training import session
from charrnn.training.loop import LoggingCallbacks

logger = logging.getLogger("charrnn")

ConfigSource = str | os.PathLike[str] | Mapping[str, Any]
KEYS = {key.partition(".")[2]: key for key in KINDS}  # no two settings have the same name


def train(config: ConfigSource, text: str | None, settings: Mapping[str, Any]) -> Checkpoint:
    """Train a model, and return its checkpoint; see `charrnn.train`."""
    assignments = [*_assignments(settings, "charrnn.train")]
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        text_path = os.path.join(folder, "text.txt")
        if text is not None:
            Path(text_path).write_bytes(text.encode("utf-8", "surrogatepass"))
            corpus = {"path": text_path, "url": None, "sha256": None, "encoding": "utf-8"}
            assignments += _assignments({"corpus": corpus}, "the text")
        inputs = {}
        if isinstance(config, Mapping):
            assignments = [*_assignments(config, "the config"), *assignments]
            resolved = configs.override(Config(), (), assignments, "charrnn.train")
        else:
            inputs = {"the config": [os.fspath(config)]}
            resolved = configs.read(os.fspath(config), (), assignments)
        output = resolved.output.checkpoint or os.path.join(folder, "model.npz")
        is_auto = resolved.train.workers == "auto"
        workers = 1 if is_auto else worker_count.for_training(resolved)
        resolved = session.complete(resolved, output, inputs, workers)
        start = functools.partial(session.run, resolved, output, False, None)
        try:
            local.run(workers, functools.partial(_run_rank, start))
        except CharrnnError as error:
            error.args = (str(error).replace(text_path, "the text"),)
            raise
        trained = checkpoint.load(output)
        if text is not None:  # its file ends here: a text is like one from a pipe, and not saved
            saved = configs.replace(trained.config, "corpus", path=("-",))
            trained = dataclasses.replace(trained, config=saved)
            checkpoint.save(trained, output)
        return trained


def _assignments(settings: Mapping[str, Any], location: str) -> Iterator[Assignment | str]:
    """Yield the assignments of settings, by section or by their own names, and the mistakes."""
    for key, value in settings.items():
        if key in SECTIONS and isinstance(value, Mapping | None):
            for name, item in (value or {}).items():
                yield Assignment(f"{key}.{name}", item, location)
        elif key in KEYS:
            yield Assignment(KEYS[key], value, location)
        elif key in SECTIONS:
            yield f"{location}: {key} must be a dictionary of settings"
        else:
            similar = difflib.get_close_matches(str(key), [*KEYS, *SECTIONS], n=1)
            hint = f": did you mean {similar[0]}?" if similar else ""
            yield f"{location}: there is no setting {key!r}{hint}"


def _run_rank(start: Callable[..., None], group: ProcessGroup) -> None:
    """Train as one rank; only rank 0, which is this process, logs messages."""
    if not group.is_rank_zero:
        logger.setLevel(logging.ERROR)
    with group.abort_on_error():
        start(group, contextlib.nullcontext(LoggingCallbacks()))
