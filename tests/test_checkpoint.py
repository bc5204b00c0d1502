"""Checkpoints: writing is atomic, and reading validates everything."""

import contextlib
import errno
import io
import json
import os
import struct
import tempfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn import archive, checkpoint, streams
from charrnn.arrays import StartStates
from charrnn.checkpoint import HISTORY_COLUMNS, Checkpoint
from charrnn.config.schema import Config, CorpusConfig, ModelConfig, OptimizerConfig
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CheckpointError
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params


def random_checkpoint(cell="rnn", ema=None, layers=1, hidden=3):
    """Return a small checkpoint of random numbers."""
    config = Config(
        corpus=CorpusConfig(path=("/corpus.txt",)),
        model=ModelConfig(cell=cell, hidden=hidden, layers=layers),
        optimizer=OptimizerConfig(name="adam", ema_decay=ema),
    )
    rng, vocab = np.random.default_rng(0), Vocab("\nabcé")
    model = Model(config.model, len(vocab))
    params = Params(model.shapes(), model.dtype)

    def vector():
        return rng.normal(size=params.flat.size).astype(model.dtype)

    params.flat[:] = vector()
    slots = {"mean": vector(), "squares": vector()}
    state = rng.normal(size=model.state_shape(2)).astype(model.dtype)
    history = rng.normal(size=(3, len(HISTORY_COLUMNS)))
    history[0, 3] = np.nan
    training_weights = None if ema is None else vector()
    training_state = {"step": 7, "seconds": 1.5, "best_nats": None}
    return Checkpoint(
        config,
        vocab,
        params,
        slots,
        state,
        history,
        "0" * 64,
        training_state,
        training_weights,
        average_weights=training_weights,
        starts=None if ema is None else StartStates(state, np.array([0, 3])),
    )


@pytest.fixture
def path(tmp_path):
    """Return the path of a valid checkpoint."""
    path = tmp_path / "model.npz"
    checkpoint.save(random_checkpoint(), str(path))
    return path


def arrays_of(path):
    """Return the arrays of a checkpoint by name."""
    with np.load(path, allow_pickle=False) as npz:
        return dict(npz)


def meta_of(path):
    """Return the meta of a checkpoint."""
    return json.loads(str(arrays_of(path)["meta"]))


def rewrite(path, **changed):
    """Replace some arrays of a file; None removes one."""
    arrays = {**arrays_of(path), **changed}
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_a_loaded_checkpoint_equals_the_saved_one(tmp_path, cell, layers, ema):
    """Saving and loading a checkpoint keeps every bit of its arrays, and all of its meta."""
    saved, path = random_checkpoint(cell, ema, layers), str(tmp_path / "model.npz")
    checkpoint.save(saved, path)
    loaded = checkpoint.load(path)
    assert (loaded.config, loaded.vocab.chars) == (saved.config, saved.vocab.chars)
    assert (loaded.training_state, loaded.corpus_sha256) == (
        saved.training_state,
        saved.corpus_sha256,
    )
    assert list(loaded.params) == list(saved.params)
    assert loaded.optimizer_state.keys() == saved.optimizer_state.keys()
    assert (loaded.training_weights is None) == (ema is None)
    pairs = [(loaded.params.flat, saved.params.flat), (loaded.state, saved.state)]
    pairs += [(loaded.history, saved.history)]
    pairs += [
        (loaded.optimizer_state[slot], saved.optimizer_state[slot])
        for slot in saved.optimizer_state
    ]
    if ema is not None:
        pairs += [(loaded.training_weights, saved.training_weights)]
        pairs += [(loaded.average_weights, saved.average_weights)]
        pairs += [(loaded.starts.state, saved.starts.state)]
        assert loaded.starts.ids.tolist() == saved.starts.ids.tolist()
    for actual, expected in pairs:
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        assert actual.tobytes() == expected.tobytes()


def test_any_vocabulary_can_be_saved_and_loaded(tmp_path):
    """A vocabulary may have lone surrogates, which some encodings allow, and both of a pair."""
    saved, path = random_checkpoint(), str(tmp_path / "model.npz")
    for chars in ('\0\n\x1b"\\', "\n\u2028\U0001f600\U0010fffe\U0010ffff", "\nab\udbff\udc00"):
        saved.vocab = Vocab("".join(sorted(chars)))
        checkpoint.save(saved, path)
        assert checkpoint.load(path).vocab.chars == saved.vocab.chars


def test_numpy_can_load_a_checkpoint(path):
    """`numpy.load` reads each parameter by its name, without pickles."""
    arrays = arrays_of(path)
    for name, array in random_checkpoint().params.items():
        assert (arrays[name] == array).all()


def assert_refused(path, match):
    """Check that loading raises CheckpointError with this message and the path."""
    with pytest.raises(CheckpointError, match=match) as raised:
        checkpoint.load(str(path))
    assert str(path) in str(raised.value)


def test_a_truncated_checkpoint_is_refused(path):
    """A checkpoint that is cut off at any byte is refused."""
    raw = path.read_bytes()
    for length in {0, 1, 4, 30, *range(0, len(raw), 97), len(raw) - 1}:
        path.write_bytes(raw[:length])
        assert_refused(path, "is damaged|cannot be read")


WHY, NAN = random_checkpoint().params["Why"], np.float32(np.nan)
VALID = {f"optimizer.{slot}": array for slot, array in random_checkpoint().optimizer_state.items()}
VALID["state"] = random_checkpoint().state
BEYOND_UNICODE = np.array([*b'{"?":1}'], "<u4")  # its key becomes an invalid code point
BEYOND_UNICODE[2] = 0x110000
WRONG_ARRAYS = [  # id of the test, changed arrays, pattern of the message
    ("with another shape", {"Why": WHY[:-1]}, r"array Why is float32 \(2, 5\) instead of"),
    ("of another type", {"Why": WHY.astype(np.float64)}, "array Why is float64"),
    ("in Fortran order", {"Why": np.asfortranarray(WHY)}, "array Why"),
    ("that is missing", {"Why": None}, "it has no array Why"),
    ("with NaN", {"Why": WHY * np.float32(np.nan)}, "Why holds numbers that are not finite"),
    ("with infinity", {"Why": WHY * np.float32(np.inf)}, "Why holds numbers that are not finite"),
    ("of integers", {"Why": WHY.astype(np.int32)}, "array Why is int32"),
    ("of strings", {"Why": WHY.astype("U4")}, "array Why is <U4"),
    ("in the other byte order", {"Why": WHY.astype(">f4")}, "array Why is >f4"),
    (
        "of the optimizer with NaN",
        {"optimizer.squares": VALID["optimizer.squares"] * NAN},
        "finite",
    ),
    ("of the optimizer that is too long", {"optimizer.mean": np.zeros(99, "f4")}, "optimizer.mean"),
    (
        "of state with NaN",
        {"state": VALID["state"] * NAN},
        "array state holds numbers that are not",
    ),
    ("of state of other units", {"state": np.zeros((1, 1, 2, 4), "f4")}, r"instead of .*any, 3\)"),
    ("of state without rows", {"state": np.zeros((1, 1, 3), "f4")}, "array state is float32"),
    ("of history that is text", {"history": np.full((2, 4), "x")}, "array history is <U1"),
    ("of history in float32", {"history": np.zeros((2, 4), "f4")}, "array history is float32"),
    (
        "of objects",
        {"Why": np.array([{"a": 1}] * 15).reshape(3, 5)},
        "array Why has an invalid header",
    ),
    ("of history that is too narrow", {"history": np.zeros((2, 3))}, "array history"),
    ("of meta that is a number", {"meta": np.array(1.0)}, "array meta is float64"),
    ("of meta that is bytes", {"meta": np.array(b"{}")}, "array meta"),
    ("of meta that is not JSON", {"meta": np.array("{")}, "its meta is not JSON$"),
    (
        "of meta that is not text",
        {"meta": np.array(-1, "<i4").view("<U1")},
        "its meta is not JSON$",
    ),
    (
        "of meta beyond Unicode",
        {"meta": BEYOND_UNICODE.view("<U7").reshape(())},
        "meta is not JSON$",
    ),
    ("of meta that is empty", {"meta": np.array("")}, "its meta is not JSON$|cannot be read"),
    ("of meta nested too deeply", {"meta": np.array("[" * 100_000)}, "its meta is not JSON$"),
    ("of meta that is a list", {"meta": np.array("[]")}, "not a JSON object"),
]


@pytest.mark.parametrize(
    ("changed", "match"),
    [case[1:] for case in WRONG_ARRAYS],
    ids=[case[0] for case in WRONG_ARRAYS],
)
def test_a_wrong_array_is_refused(path, changed, match):
    """A checkpoint with a wrong array is refused, and the message names the array."""
    rewrite(path, **changed)
    assert_refused(path, match)


WRONG_META = [  # key, value, pattern of the message
    ("format", 1, "has format version 1, and charrnn 0.2.0 reads version 2: train the model again"),
    ("format", None, "has format version None"),
    ("format", ["1"] * 10**5, "has format version .'1', '1', .{,15}, and charrnn"),
    ("corpus_sha256", "\x1b[2J", "the text it was trained on"),
    ("corpus_sha256", None, "the text it was trained on"),
    ("training_state", {"step": 10**400}, "its training state is missing"),
    ("vocab", "".join(map(chr, range(1 << 16, 1 << 17))), "array layer0.Wxh"),
    ("config", {"model": {"hidden": 4}, "corpus": {"path": "/a"}}, "array layer0.Wxh"),
    ("config", {"model": {"hidden": 65536, "layers": 64}, "corpus": {"path": "/a"}}, "array"),
    ("config", {"model": {"hidden": -4}}, "model.hidden must be"),
    ("config", {"madel": {"hidden": 4}}, "no setting"),
    ("config", "tiny", "corpus.path is missing"),
    ("config", None, "corpus.path is missing"),
    ("vocab", "cba", "distinct characters, sorted"),
    ("vocab", "", "distinct characters, sorted"),
    ("vocab", 7, "distinct characters, sorted"),
    ("vocab", "abcd", "array layer0.Wxh"),
    ("training_state", [], "its training state is missing"),
    ("training_state", {"step": "seven"}, "its training state is missing"),
    ("training_state", {"step": -1}, "its training state is missing"),
    ("training_state", {"step": float("inf")}, "its training state is missing"),
    ("training_state", {"step": 7, "seconds": "long"}, "its training state is missing"),
    ("training_state", {"step": 7, "seconds": 10**400}, "its training state is missing"),
    ("training_state", {"step": 7, "seconds": float("nan")}, "its training state is missing"),
    ("training_state", {"step": 7, "best_step": "here"}, "its training state is missing"),
]


@pytest.mark.parametrize(
    ("key", "value", "match"),
    WRONG_META,
    ids=[f"{case[0]}-{i}" for i, case in enumerate(WRONG_META)],
)
def test_wrong_meta_is_refused(path, key, value, match):
    """A checkpoint is refused if its meta is invalid or does not agree with the arrays."""
    rewrite(path, meta=np.array(json.dumps({**meta_of(path), key: value})))
    assert_refused(path, match)


def npy(header, body=b""):
    """Return the bytes of an npy member; `header` is a dictionary, or text."""
    raw = (repr(header) if not isinstance(header, str) else header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body


def replace_member(path, name, content):
    """Replace the bytes of one member of a file."""
    with zipfile.ZipFile(path) as zipped:
        members = {member: zipped.read(member) for member in zipped.namelist()}
    members[f"{name}.npy"] = content
    with zipfile.ZipFile(path, "w") as zipped:
        for member, raw in members.items():
            zipped.writestr(member, raw)


HUGE_HEADER = {"descr": "<f8", "fortran_order": False, "shape": (1 << 35, len(HISTORY_COLUMNS))}


@pytest.mark.parametrize("in_directory", [False, True])
def test_a_declared_size_of_a_terabyte_takes_no_memory(path, in_directory):
    """A size of 1 TB in an array's header, or also in the archive's directory, takes no memory."""
    replace_member(path, "history", npy(HUGE_HEADER))
    if in_directory:
        size = len(npy(HUGE_HEADER)) + (5 << 38)
        path.write_bytes(declare_size(path.read_bytes(), "history.npy", size, size))
    tracemalloc.start()
    try:
        # Newer versions of Python detect a wrong size in the directory themselves.
        assert_refused(
            path, "history (is listed with [0-9,]+ bytes|has an invalid header)|Overlapped entries"
        )
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def declare_size(raw, name, size, compressed_size, *offset):
    """Return the archive with other sizes of one member in its directory, as a zip64 field.

    An `offset` also replaces the offset of the member's header.
    """
    end = raw.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", raw[end + 16 : end + 20])[0]
    entry = raw.index(name.encode(), start) - 46
    numbers = [size, compressed_size, *offset]
    field = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
    head = bytearray(raw[entry : entry + 46])
    head[20:28] = b"\xff" * 8
    if offset:
        head[42:46] = b"\xff" * 4
    head[30:32] = struct.pack("<H", len(field))
    entry_end = entry + 46 + len(name)
    tail = bytearray(raw[end:])
    tail[12:16] = struct.pack("<L", end - start + len(field))
    return raw[:entry] + head + name.encode() + field + raw[entry_end:end] + tail


def test_an_inconsistent_directory_is_refused(path, monkeypatch):
    """A checkpoint is refused if a member has two sizes, or an offset beyond the file.

    This also holds for a checkpoint from stdin.
    """
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as zipped:
        size = zipped.getinfo("history.npy").file_size
    for sizes, match in [
        ((size, 5 << 38), "array history is compressed"),
        ((5 << 38, size), "array history is compressed"),
        ((size, size, 1 << 63), "cannot be read as a checkpoint: |is damaged"),
    ]:
        path.write_bytes(declare_size(raw, "history.npy", *sizes))
        assert_refused(path, match)
        monkeypatch.setattr(streams, "standard_input", lambda: io.BytesIO(path.read_bytes()))
        with pytest.raises(CheckpointError, match=match):
            checkpoint.load("-")


def test_a_config_of_a_huge_model_takes_no_memory(path):
    """A config of terabytes of weights, which the file does not have, is refused at once."""
    for model in ({"hidden": 65536, "layers": 64, "cell": "lstm"}, {"hidden": 65536}):
        config = {"model": {"dtype": "float64", **model}, "corpus": {"path": "/a"}}
        rewrite(path, meta=np.array(json.dumps({**meta_of(path), "config": config})))
        tracemalloc.start()
        try:
            assert_refused(path, "array layer0.Wxh is float32")
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


def test_a_compressed_checkpoint_is_refused(path):
    """Compressed members are refused, because they could become a thousand times larger."""
    np.savez_compressed(path, **arrays_of(path))
    assert_refused(path, "array layer0.Wxh is compressed")


def test_two_members_with_one_name_are_refused(path):
    """Repeated names are refused, because programs differ in which of the members they read."""
    with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("Why.npy", zipped.read("Why.npy"))
    assert_refused(path, "two of its members have the same name")


def test_a_directory_of_too_many_members_is_not_read(path):
    """A large directory is refused, because each entry would become a Python object."""
    with zipfile.ZipFile(path, "a") as zipped:
        for number in range(archive.MAX_DIRECTORY_BYTES // 9_000):
            zipped.writestr(f"{number:09950}", b"")
    tracemalloc.start()
    try:
        assert_refused(path, "its directory is too large")
        assert tracemalloc.get_traced_memory()[1] < archive.MAX_DIRECTORY_BYTES
    finally:
        tracemalloc.stop()


def test_a_meta_that_is_too_long_is_not_read(path, monkeypatch):
    """A long meta is refused, because its lists and dictionaries would take much more memory."""
    monkeypatch.setattr(archive, "MAX_META_BYTES", 100)
    assert_refused(path, "array meta has [0-9,]+ bytes, more than the limit of 100")


def test_overlapping_members_are_refused(path):
    """Members are refused if the sum of their sizes exceeds the size of the file."""
    saved = random_checkpoint(layers=2, hidden=99)
    checkpoint.save(saved, str(path))
    with zipfile.ZipFile(path) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    outer_name, inner_name = "layer0.Whh.npy", "layer1.Whh.npy"
    inner = members.pop(inner_name)
    outer = members.pop(outer_name)
    npy_header_size = len(outer) - 4 * 99 * 99
    inside = local_header(inner_name, inner) + inner  # starts where the numbers of `outer` do
    outer = outer[:npy_header_size] + inside[: len(outer) - npy_header_size]
    body, entries = b"", []  # an entry has the name, the bytes and the offset of a member
    for name, raw in {**members, outer_name: outer}.items():
        entries.append((name, raw, len(body)))
        body += local_header(name, raw) + raw
    entries.append((inner_name, inner, len(body) - 4 * 99 * 99))
    directory = b"".join(directory_entry(*entry) for entry in entries)
    body += inside[len(outer) - npy_header_size :]
    counts = 2 * [len(entries)]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *counts, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    assert_refused(path, "is listed with [0-9,]+ bytes, too many for the file|Overlapped")


def local_header(name, raw):
    """Return the zip header that precedes the bytes of a member."""
    sizes = zlib.crc32(raw), len(raw), len(raw)
    return (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, *sizes, len(name), 0) + name.encode()
    )


def directory_entry(name, raw, offset):
    """Return the directory entry of a member whose header is at this offset."""
    sizes = zlib.crc32(raw), len(raw), len(raw)
    head = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, *sizes, len(name), *[0] * 5, offset
    )
    return head + name.encode()


INVALID_HEADERS = [
    "",
    "(",
    "{",
    "'''",
    "  1\n 2",
    "{'descr': '<f8'}",
    "[" * 3000,
    "{'shape': 10L}",
    "\0",
]


@pytest.mark.parametrize("header", INVALID_HEADERS)
def test_an_invalid_array_header_is_refused(path, header):
    """An array with an invalid header is refused with the same message in every case."""
    replace_member(path, "history", npy(header))
    assert_refused(path, "array history has an invalid header")


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_changed_bytes_are_detected_or_harmless(path, changes):
    """A changed file gives a checkpoint or a CheckpointError, and no other exception."""
    checkpoint.save(random_checkpoint(), str(path))
    raw = bytearray(path.read_bytes())
    for offset, value in changes:
        raw[offset % len(raw)] = value
    path.write_bytes(raw)
    with contextlib.suppress(CheckpointError):
        assert isinstance(checkpoint.load(str(path)), Checkpoint)


def test_one_changed_byte_is_detected(path):
    """The checksum detects a changed weight; a changed compression method is refused too."""
    raw = path.read_bytes()
    weight, compression = raw.index(WHY.tobytes()), raw.rindex(b"meta.npy") - 36  # offsets
    changes = [(weight, raw[weight] ^ 1, "is damaged")]
    changes += [(compression, method, "array meta is compressed") for method in (8, 12, 14, 93)]
    for offset, value, match in changes:
        path.write_bytes(raw[:offset] + bytes([value]) + raw[offset + 1 :])
        assert_refused(path, match)


def raise_no_space(*_, **__):
    """Raise the OSError of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("module", "name"), [(os, "fsync"), (np.lib.format, "write_array"), (os, "replace")]
)
def test_a_failed_write_leaves_the_old_checkpoint(path, monkeypatch, module, name):
    """After a failed write the old checkpoint is unchanged, and no other file is in its folder."""
    before = path.read_bytes()
    monkeypatch.setattr(module, name, raise_no_space)
    with pytest.raises(CheckpointError, match=r"cannot be written: No space left") as raised:
        checkpoint.save(random_checkpoint("lstm"), str(path))
    assert "--out FILE" in raised.value.hint
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_check_writable_creates_folders_and_no_files(tmp_path):
    """`check_writable` creates the folders of a path and leaves an old checkpoint unchanged."""
    path = tmp_path / "deep" / "down" / "model.npz"
    checkpoint.check_writable(str(path))
    assert os.listdir(path.parent) == []
    path.write_bytes(b"old")
    checkpoint.check_writable(str(path))
    assert path.read_bytes() == b"old"


def test_a_path_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """A path is refused if it is a folder, in a file, or stdout, or if the disk is full."""
    (tmp_path / "file").write_text("")
    for path, match in [
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "model.npz", "file cannot be written"),
        (tmp_path / "file" / "deep" / "model.npz", "deep cannot be written"),
        ("-", "standard output"),
    ]:
        with pytest.raises(CheckpointError, match=match) as raised:
            checkpoint.check_writable(str(path))
        assert "--out" in raised.value.hint
    monkeypatch.setattr(tempfile, "TemporaryFile", raise_no_space)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.check_writable(str(tmp_path / "model.npz"))
