"""A checkpoint is one `.npz` file: the weights, and all that is needed to resume training exactly.

`numpy.load(path, allow_pickle=False)` can read it. Its members:

    layer0.Wxh, layer0.Whh, ..., Why, by    the parameter arrays
    optimizer.squares, ...                  the state of the optimizer, vectors of (P,)
    training_weights, average_weights       the weights of the last step and their moving average,
                                            (P,), where the arrays above are not these but the
                                            average or the best validation's
    start_states                            the states that running text starts from, (L, S, K, H)
    state                                   the carried state, (L, S, B, H)
    history                                 the loss curve, a row a point; columns: HISTORY_COLUMNS
    meta                                    one JSON string: config, vocabulary, training state, ...

A file is written next to the old one, flushed to disk and renamed over it, so the path always has a
complete checkpoint. A file may be untrusted: no pickle is loaded, `archive` compares all sizes with
the file's, and every array must have the shape and type that the config in `meta` implies.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__, archive
from charrnn.arrays import Floats, StartStates
from charrnn.atomic import as_checkpoint_error, replace_file
from charrnn.config.kinds import MAX_INT
from charrnn.config.loader import MAX_CONFIG_BYTES, from_dict, is_config
from charrnn.config.schema import Config
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.streams import display_name, open_binary

FORMAT = 2
HISTORY_COLUMNS = ("step", "seconds", "train_nats", "validation_nats")
LAST_WEIGHTS = ("training_weights", "average_weights")
OPTIMIZER_PREFIX = "optimizer."  # of the names of the optimizer's vectors


@dataclass
class Checkpoint:
    """A model, and the state of its training."""

    config: Config
    vocab: Vocab
    params: Params
    optimizer_state: dict[str, Floats]  # vectors of (P,)
    state: Floats  # (L, S, B, H)
    history: Floats  # (points, len(HISTORY_COLUMNS)); a validation is NaN where there was none
    corpus_sha256: str
    training_state: dict[str, Any] = field(default_factory=dict)  # see `trainer.Trainer.snapshot`
    training_weights: Floats | None = None  # (P,) of the last step, where `params` are others
    average_weights: Floats | None = None  # (P,) of the last step, where `params` are others
    starts: StartStates | None = None  # that a model of running text samples from

    @property
    def model(self) -> Model:
        """The model of these parameters."""
        return Model(self.config.model, len(self.vocab))

    @property
    def step(self) -> int:
        """The number of updates so far."""
        return int(self.training_state.get("step", 0))

    def resume_command(self, path: str) -> str:
        """Return the command that resumes the run; for stdin, with `output.checkpoint` as path."""
        file = (self.config.output.checkpoint or path) if path == "-" else path
        return f"charrnn train {shlex.quote(file)} --resume"


def save(checkpoint: Checkpoint, path: str) -> None:
    """Write a checkpoint atomically: `path` has either the complete old one or the new one.

    Raises CheckpointError when it cannot be written; `path` then still has the old one.
    """
    starts = checkpoint.starts
    meta = {
        "format": FORMAT,
        "program": f"charrnn {__version__}",
        "config": checkpoint.config.as_dict(),
        "vocab": checkpoint.vocab.chars,
        "corpus_sha256": checkpoint.corpus_sha256,
        "training_state": checkpoint.training_state,
        "start_chars": "" if starts is None else checkpoint.vocab.decode(starts.ids.tolist()),
    }
    optional = {
        "training_weights": checkpoint.training_weights,
        "average_weights": checkpoint.average_weights,
        "start_states": None if starts is None else starts.state,
    }
    arrays = {
        **checkpoint.params,
        **{OPTIMIZER_PREFIX + name: vector for name, vector in checkpoint.optimizer_state.items()},
        **{name: array for name, array in optional.items() if array is not None},
        "state": checkpoint.state,
        "history": checkpoint.history,
        # With escapes, two lone surrogates of a vocabulary would be read as one character.
        "meta": np.array(json.dumps(meta, ensure_ascii=False)),
    }
    # The format of `numpy.savez`, which in NumPy 1 prints other messages when the disk is full.
    with (
        as_checkpoint_error(path),
        replace_file(path) as stream,
        zipfile.ZipFile(stream, "w") as members,
    ):
        for name, array in arrays.items():
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def check_writable(path: str) -> None:
    """Raise CheckpointError, before training, unless a checkpoint can be written to `path`."""
    if path == "-":
        raise CheckpointError(
            "a checkpoint is written more than once, so it cannot go to standard output",
            "Name a file: --out FILE",
        )
    target = Path(path)
    if target.suffix == ".jsonl":
        raise CheckpointError(f"{path} is the name of a metrics file", "Choose --out FILE.npz")
    if target.is_dir():
        raise CheckpointError(f"{path} is a folder", f"Name a file in it: --out {path}/model.npz")
    with as_checkpoint_error(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))).close()


def load(path: str) -> Checkpoint:
    """Read a checkpoint; `-` is stdin. Raises CheckpointError when it is not valid."""
    try:
        with open_binary(path, "checkpoint", CheckpointError) as stream:
            return _read(archive.read_members(stream))
    except zipfile.BadZipFile as error:
        raise _not_a_checkpoint(path, error) from None
    except (ConfigError, VocabError) as error:
        raise CheckpointError(
            f"{display_name(path)} cannot be read as a checkpoint: {error}"
        ) from None


def _not_a_checkpoint(path: str, reason: zipfile.BadZipFile) -> CheckpointError:
    """Return the error for a file that is not an archive; of a config, how to train it."""
    name = display_name(path)
    if os.path.isfile(path):  # a pipe cannot be read again
        with open_binary(path, "checkpoint", CheckpointError) as stream:
            if is_config(stream.read(MAX_CONFIG_BYTES)):
                return CheckpointError(
                    f"{name} is a config, not a checkpoint",
                    f"Train it first, and give the file that this prints: "
                    f"charrnn train {shlex.quote(path)}",
                )
    return CheckpointError(
        f"{name} is not a checkpoint, or is damaged: it is not a valid .npz file ({reason})",
        "A checkpoint is the .npz file that charrnn train writes",
    )


def _read(members: Mapping[str, bytes]) -> Checkpoint:
    """Return the checkpoint of these arrays. Raises ValueError, ConfigError or VocabError."""
    meta = _meta(members)
    config = from_dict(meta.get("config"), "its config")
    chars = meta.get("vocab")
    vocab = Vocab(chars if isinstance(chars, str) else "")
    training_state, sha256 = meta.get("training_state"), str(meta.get("corpus_sha256"))
    # The numbers that `Checkpoint.step` and `info` use; a resumed run checks all of them.
    keys = ("step", "best_step", "seconds")
    if not isinstance(training_state, dict) or not all(
        type(number) in (int, float) and 0 <= number <= MAX_INT
        for number in [training_state.get(key, 0) for key in keys]
    ):
        raise ValueError("its training state is missing or invalid")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("it has no valid hash of the text it was trained on")
    model = Model(config.model, len(vocab))

    def finite(key: str, shape: tuple[int | None, ...]) -> Floats:
        """Return an array. Raises ValueError unless it is of this shape and finite."""
        array: Floats = _array(members, key, shape, model.dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"array {key} holds numbers that are not finite")
        return array

    params = Params.of({key: finite(key, shape) for key, shape in model.shapes().items()})
    if params.can_overflow():
        raise ValueError("its weights are too large to compute with")
    flat, averaged = params.flat.shape, config.optimizer.ema_decay is not None
    # A resumed run checks that these are the vectors of its optimizer.
    names = [key for key in members if key.startswith(OPTIMIZER_PREFIX)]
    vectors = {key: finite(key, flat) for key in LAST_WEIGHTS if key in members}
    if averaged and not vectors:
        raise ValueError("it has no array training_weights")
    layers, states, _, hidden = model.state_shape(1)
    starts, start_chars = None, meta.get("start_chars")
    if start_chars and isinstance(start_chars, str):
        state = finite("start_states", (layers, states, len(start_chars), hidden))
        starts = StartStates(state, vocab.encode(start_chars, "its start"))
    return Checkpoint(
        config=config,
        vocab=vocab,
        params=params,
        optimizer_state={key.removeprefix(OPTIMIZER_PREFIX): finite(key, flat) for key in names},
        state=finite("state", (layers, states, None, hidden)),
        history=_array(members, "history", (None, len(HISTORY_COLUMNS)), np.dtype(np.float64)),
        corpus_sha256=sha256,
        training_state=training_state,
        starts=starts,
        **vectors,
    )


def _meta(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the JSON object of the member `meta`. Raises ValueError when it is not valid."""
    array = _array(members, "meta", (), None)
    try:
        meta = json.loads(array.tobytes().decode("utf-32", "surrogatepass"))
    except (ValueError, RecursionError):
        raise ValueError("its meta is not JSON") from None
    if not isinstance(meta, dict):
        raise ValueError("its meta is not a JSON object")
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"it has format version {meta.get('format')!r:.20}, and charrnn {__version__} reads "
            f"version {FORMAT}: train the model again, or use the charrnn that wrote it"
        )
    return meta


def _array(
    members: Mapping[str, bytes],
    key: str,
    shape: tuple[int | None, ...],
    dtype: np.dtype[Any] | None,
) -> Any:
    """Return one array. Raises ValueError unless it is of this shape and type.

    `None` in `shape` allows any length there; the `dtype` None is a string of any length.
    """
    raw = members.get(key)
    if raw is None:
        raise ValueError(f"it has no array {key}")
    stream = io.BytesIO(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.lib.format.read_magic(stream)
            stored_shape, fortran, stored_dtype = np.lib.format.read_array_header_1_0(stream)
        array = np.frombuffer(raw, stored_dtype, offset=stream.tell()).reshape(stored_shape)
    except Exception:  # NumPy also uses Python's tokenizer, which raises errors of many types
        raise ValueError(f"array {key} has an invalid header") from None
    right_shape = len(array.shape) == len(shape) and all(
        expected in (None, length) for length, expected in zip(array.shape, shape, strict=True)
    )
    right_type = array.dtype.kind == "U" if dtype is None else array.dtype == dtype
    if not right_shape or not right_type or fortran:
        expected_type = f"{'text' if dtype is None else dtype} {shape}".replace("None", "any")
        raise ValueError(f"array {key} is {array.dtype} {array.shape} instead of {expected_type}")
    return array
