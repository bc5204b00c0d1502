"""A checkpoint is one `.npz` file: the weights, and all it takes to go on training exactly.

`numpy.load(path, allow_pickle=False)` opens it anywhere. Its members:

    layer0.Wxh, layer0.Whh, ..., Why, by    the parameter arrays
    optimizer.squares, ...                  the optimiser's vectors, (P,) each
    training                                the weights themselves, (P,), where the arrays above
                                            hold their moving average (ema)
    state                                   the carried state, (L, S, B, H)
    history                                 one row a validation, the columns in HISTORY
    meta                                    one JSON string: all the rest

A file is written beside the old one, flushed to disk and renamed over it, so the path always holds
a whole checkpoint. Reading trusts nothing: there is no pickle, and before an array is read its
header must agree with the config in `meta`, and its size, with all read before it, with the file's.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn import __version__, archive
from charrnn.arrays import Floats
from charrnn.atomic import Unwritable, part_of, replacement
from charrnn.config.loader import from_dict
from charrnn.config.schema import MOST, Config
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.streams import standard_input

FORMAT = 1
HISTORY = ("step", "seconds", "smooth_nats", "train_nats", "validation_nats")
MAX_HEADER_BYTES = 4096
SLOT, MAX_SLOTS = "optimizer.", 8  # an optimiser's vector, and how many one may have


@dataclass
class Checkpoint:
    """A model, and where its training stands."""

    config: Config
    vocab: Vocab
    params: Params
    slots: dict[str, Floats]  # the optimiser's vectors, (P,) each
    state: Floats  # (L, S, B, H)
    history: Floats  # (validations, len(HISTORY))
    corpus_sha256: str
    progress: dict[str, Any] = field(default_factory=dict)  # see `trainer.Trainer.snapshot`
    training: Floats | None = None  # (P,), where `params` are an average of them

    @property
    def model(self) -> Model:
        """The network these parameters belong to."""
        return Model(self.config.model, len(self.vocab))

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self.progress.get("step", 0))


def save(checkpoint: Checkpoint, path: str) -> None:
    """Write a checkpoint so that `path` holds the old one or the new one, each whole.

    Raises CheckpointError when it cannot be written; the old one is then still there.
    """
    meta = {
        "format": FORMAT,
        "program": f"charrnn {__version__}",
        "config": checkpoint.config.as_dict(),
        "vocab": checkpoint.vocab.chars,
        "corpus_sha256": checkpoint.corpus_sha256,
        "progress": checkpoint.progress,
    }
    arrays: dict[str, Any] = dict(checkpoint.params)
    for slot, vector in checkpoint.slots.items():
        arrays[SLOT + slot] = vector
    if checkpoint.training is not None:
        arrays["training"] = checkpoint.training
    arrays["state"] = checkpoint.state
    arrays["history"] = checkpoint.history
    # As escapes, two lone surrogates of a vocabulary would be read back as one character.
    arrays["meta"] = np.array(json.dumps(meta, ensure_ascii=False))
    try:
        with replacement(path) as stream:
            _write(stream, arrays)
    except OSError as error:
        raise Unwritable(path, error) from None


def _write(stream: BinaryIO, arrays: Mapping[str, Any]) -> None:
    """What `numpy.savez` writes; that of NumPy 1 says things of its own when the disk is full."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as members:
        for name, array in arrays.items():
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def check_writable(path: str) -> None:
    """Find out before training, not after it, that a checkpoint can be written to `path`."""
    if path == "-":
        raise CheckpointError(
            "a checkpoint is saved again and again, so it cannot go to standard output",
            "Name a file: --out FILE",
        )
    target = Path(path)
    if target.suffix == ".jsonl":
        raise CheckpointError(f"{path} would be the metrics' place", "Name a file: --out FILE.npz")
    if target.is_dir():
        raise CheckpointError(f"{path} is a folder", f"Name a file in it: --out {path}/model.npz")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        part.touch(exist_ok=False)
        part.unlink(missing_ok=True)  # a run that begins now may have cleared it away
    except OSError as error:
        raise CheckpointError(
            f"checkpoints cannot be written to {target.parent}: {error.strerror}",
            "Choose another place with --out FILE",
        ) from None


def load(path: str) -> Checkpoint:
    """Read a checkpoint; `-` is stdin. Raises CheckpointError when it is not a sound one."""
    name = "standard input" if path == "-" else path
    try:
        with _open(path) as stream, archive.opened(stream) as members:
            return _Reader(members, name, stream.seek(0, os.SEEK_END)).checkpoint()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder, not a checkpoint") from None
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{name} is not a checkpoint, or only a part of one: it is no whole .npz file ({error})"
        ) from None
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise CheckpointError(f"{name} cannot be read as a checkpoint: {error}") from None


def _open(path: str) -> BinaryIO:
    if path == "-":
        return io.BytesIO(standard_input().read())
    stream = open(path, "rb")  # noqa: SIM115 - `load` closes it
    if stream.seekable():
        return stream
    with stream:  # such as the pipe that a shell makes of <(...)
        return io.BytesIO(stream.read())


class _Reader:
    """Takes arrays out of an archive, each only after its header has been found true."""

    def __init__(self, members: zipfile.ZipFile, name: str, size: int) -> None:
        self.members = members
        self.name = name
        self.bytes = size  # of the file
        self.claimed = 0  # by the arrays read so far, which may overlap in the file

    def checkpoint(self) -> Checkpoint:
        meta = self._meta()
        source = f"{self.name}, its config"
        try:
            config = from_dict(meta.get("config"), source)
            vocab = Vocab(_string(meta.get("vocab")))
        except (ConfigError, VocabError) as error:
            raise self._bad(str(error)) from None
        progress = meta.get("progress")
        if not isinstance(progress, dict) or not _is_progress(progress):
            raise self._bad("it does not tell where training stands")
        model = Model(config.model, len(vocab))
        shapes = model.shapes()
        params = Params.of(
            {key: self.array(key, shape, model.dtype) for key, shape in shapes.items()}
        )
        slots = {
            key.removeprefix(SLOT): self.array(key, params.flat.shape, model.dtype)
            for key in self._slots()
        }
        training = None
        if config.optimizer.ema is not None:
            training = self.array("training", params.flat.shape, model.dtype)
        layers, states, _, hidden = model.state_shape(1)
        state = self.array("state", (layers, states, None, hidden), model.dtype)
        history = self.array("history", (None, len(HISTORY)), np.dtype(np.float64), finite=False)
        if params.can_overflow():
            raise self._bad("its weights are too large to compute with")
        sha256 = _string(meta.get("corpus_sha256"))
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise self._bad("it does not tell which text it was trained on")
        return Checkpoint(config, vocab, params, slots, state, history, sha256, progress, training)

    def _meta(self) -> Mapping[str, Any]:
        array = self.array("meta", (), None, limit=archive.MAX_META_BYTES)
        points = array.reshape(1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        try:
            if points.max() > sys.maxunicode:  # Python would make a string of it, and trip later
                raise ValueError
            meta = json.loads(str(array))
        except (ValueError, RecursionError):
            raise self._bad("its meta is not JSON") from None
        if not isinstance(meta, dict):
            raise self._bad("its meta is not a JSON object")
        if meta.get("format") != FORMAT:
            found = meta.get("format")
            shown = json.dumps(found) if found is None or isinstance(found, int) else "of no number"
            raise CheckpointError(
                f"{self.name} has format version {shown}, and this is charrnn "
                f"{__version__}, which reads version {FORMAT}: use the charrnn that wrote it"
            )
        return meta

    def _slots(self) -> list[str]:
        """The names of the optimiser's vectors. Whether they are the right ones, training asks."""
        names = [name.removesuffix(".npy") for name in self.members.namelist()]
        found = [name for name in names if name.startswith(SLOT)]
        if len(found) > MAX_SLOTS:
            raise self._bad(f"it has {len(found):,} vectors of an optimiser")
        return found

    def array(
        self,
        key: str,
        shape: tuple[int | None, ...],
        dtype: np.dtype[Any] | None,
        limit: int | None = None,
        finite: bool = True,
    ) -> Any:
        """One array, checked before any memory is taken for it.

        `None` in `shape` allows any length there, and `dtype` None any text.
        """
        try:
            info = self.members.getinfo(f"{key}.npy")
        except KeyError:
            raise self._bad(f"it has no array {key}") from None
        if archive.is_packed(info):
            raise self._bad(f"array {key} is compressed, and numpy.savez leaves it as it is")
        with self.members.open(info) as member:
            version = np.lib.format.read_magic(member)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise self._bad(f"array {key} has an unknown npy version {version}")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    found_shape, fortran, found = read_header(
                        member, max_header_size=MAX_HEADER_BYTES
                    )
            except Exception:  # NumPy tries Python's tokenizer too, whose errors are many
                raise self._bad(f"array {key} has a header that makes no sense") from None
            fits = len(found_shape) == len(shape) and all(
                want is None or have == want for have, want in zip(found_shape, shape, strict=True)
            )
            right_type = found.kind == "U" if dtype is None else found == dtype
            if not fits or not right_type or fortran:
                wanted = f"{'text' if dtype is None else dtype} {_shape(shape)}"
                raise self._bad(f"array {key} is {found} {_shape(found_shape)} instead of {wanted}")
            size = int(np.prod(found_shape, dtype=object)) * found.itemsize
            header_size = info.file_size - size
            # Only the file's own length is certain: the archive's directory may lie as well.
            self.claimed += size
            if self.claimed >= self.bytes or not 0 < header_size <= MAX_HEADER_BYTES:
                raise self._bad(f"array {key} claims {size:,} bytes, which it does not have")
            if limit is not None and size > limit:
                raise self._bad(f"array {key} has {size:,} bytes, and never needs over {limit:,}")
            raw = member.read(size)
            if len(raw) != size:
                raise self._bad(f"array {key} breaks off after {len(raw):,} of {size:,} bytes")
            member.read(1)  # the end: where the archive compares its checksum
        array = np.frombuffer(raw, dtype=found).reshape(found_shape)
        if finite and found.kind == "f" and not np.isfinite(array).all():
            raise self._bad(f"array {key} holds numbers that are not finite")
        return array

    def _bad(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.name} is not a sound checkpoint: {what}")


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def _is_progress(progress: dict[str, Any]) -> bool:
    """Whether the figures that `Checkpoint.step` and `info` use are what they should be."""
    step, best = progress.get("step", 0), progress.get("best_step", 0)
    seconds = progress.get("seconds", 0.0)
    counts = all(type(n) is int and 0 <= n <= MOST for n in (step, best))
    return counts and type(seconds) in (int, float) and 0 <= seconds <= MOST


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
