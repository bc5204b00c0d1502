"""Checkpoints: whole or not at all when written, and nothing believed when read."""

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
from charrnn.checkpoint import HISTORY, Checkpoint
from charrnn.config.schema import Config, CorpusConfig, ModelConfig, OptimizerConfig
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CheckpointError
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params


def small(cell="rnn", ema=None, layers=1, hidden=3):
    """A checkpoint of random numbers."""
    config = Config(
        corpus=CorpusConfig(path=("/corpus.txt",)),
        model=ModelConfig(cell=cell, hidden=hidden, layers=layers),
        optimizer=OptimizerConfig(name="adam", ema=ema),
    )
    rng, vocab = np.random.default_rng(0), Vocab("\nabcé")
    model = Model(config.model, len(vocab))
    params = Params(model.shapes(), model.dtype)

    def vector():
        return rng.normal(size=params.flat.size).astype(model.dtype)

    params.flat[:] = vector()
    slots = {"mean": vector(), "squares": vector()}
    state = rng.normal(size=model.state_shape(2)).astype(model.dtype)
    history = rng.normal(size=(3, len(HISTORY)))
    history[0, 4] = np.nan
    training = None if ema is None else vector()
    progress = {"step": 7, "seconds": 1.5, "best_nats": None}
    return Checkpoint(config, vocab, params, slots, state, history, "0" * 64, progress, training)


@pytest.fixture
def path(tmp_path):
    """A sound checkpoint's."""
    path = tmp_path / "model.npz"
    checkpoint.save(small(), str(path))
    return path


def members(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def meta_of(path):
    return json.loads(str(members(path)["meta"]))


def rewrite(path, **changed):
    """The same file with some arrays replaced; None leaves one out."""
    arrays = {**members(path), **changed}
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, cell, layers, ema):
    """Every array, the config, the vocabulary and the progress."""
    saved, path = small(cell, ema, layers), str(tmp_path / "model.npz")
    checkpoint.save(saved, path)
    found = checkpoint.load(path)
    assert (found.config, found.vocab.chars) == (saved.config, saved.vocab.chars)
    assert (found.progress, found.corpus_sha256) == (saved.progress, saved.corpus_sha256)
    assert list(found.params) == list(saved.params)
    assert found.slots.keys() == saved.slots.keys()
    assert (found.training is None) == (ema is None)
    pairs = [(found.params.flat, saved.params.flat), (found.state, saved.state)]
    pairs += [(found.history, saved.history)]
    pairs += [(found.slots[slot], saved.slots[slot]) for slot in saved.slots]
    pairs += [] if ema is None else [(found.training, saved.training)]
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def test_any_vocabulary_is_loaded_as_it_was_saved(tmp_path):
    """Lone surrogates among them, which some encodings have, and those that make a pair."""
    saved, path = small(), str(tmp_path / "model.npz")
    for chars in ('\0\n\x1b"\\', "\n\u2028\U0001f600\U0010fffe\U0010ffff", "\nab\udbff\udc00"):
        saved.vocab = Vocab("".join(sorted(chars)))
        checkpoint.save(saved, path)
        assert checkpoint.load(path).vocab.chars == saved.vocab.chars


def test_numpy_alone_opens_it(path):
    """Without pickle, and each parameter under its own name."""
    arrays = members(path)
    for name, array in small().params.items():
        assert (arrays[name] == array).all()


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(str(path))
    assert str(path) in str(caught.value)


def test_a_part_of_a_checkpoint_is_refused(path):
    """Cut off anywhere."""
    whole = path.read_bytes()
    for length in {0, 1, 4, 30, *range(0, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        refused(path, "only a part of one|cannot be read")


WHY, NAN = small().params["Why"], np.float32(np.nan)
OLD = {**{f"optimizer.{slot}": array for slot, array in small().slots.items()}}
OLD["state"] = small().state
BEYOND = np.array([*b'{"?":1}'], "<u4")  # the name of its member is no character
BEYOND[2] = 0x110000
WRONG = [
    ("with another shape", {"Why": WHY[:-1]}, r"array Why is float32 \(2, 5\) instead of"),
    ("of another type", {"Why": WHY.astype(np.float64)}, "array Why is float64"),
    ("in Fortran order", {"Why": np.asfortranarray(WHY)}, "array Why"),
    ("that is missing", {"Why": None}, "it has no array Why"),
    ("with NaN", {"Why": WHY * np.float32(np.nan)}, "Why holds numbers that are not finite"),
    ("with infinity", {"Why": WHY * np.float32(np.inf)}, "Why holds numbers that are not finite"),
    ("of integers", {"Why": WHY.astype(np.int32)}, "array Why is int32"),
    ("of strings", {"Why": WHY.astype("U4")}, "array Why is <U4"),
    ("in the other byte order", {"Why": WHY.astype(">f4")}, "array Why is >f4"),
    ("of the optimiser with NaN", {"optimizer.squares": OLD["optimizer.squares"] * NAN}, "finite"),
    ("of the optimiser that is too long", {"optimizer.mean": np.zeros(99, "f4")}, "optimizer.mean"),
    ("of state with NaN", {"state": OLD["state"] * NAN}, "array state holds numbers that are not"),
    ("of state of other units", {"state": np.zeros((1, 1, 2, 4), "f4")}, r"instead of .*any, 3\)"),
    ("of state without rows", {"state": np.zeros((1, 1, 3), "f4")}, "array state is float32"),
    ("of history that is no numbers", {"history": np.full((2, 5), "x")}, "array history is <U1"),
    ("of history in float32", {"history": np.zeros((2, 5), "f4")}, "array history is float32"),
    ("of objects", {"Why": np.array([{"a": 1}] * 15).reshape(3, 5)}, "array Why has a header"),
    ("of history that is too narrow", {"history": np.zeros((2, 4))}, "array history"),
    ("of meta that is a number", {"meta": np.array(1.0)}, "array meta is float64"),
    ("of meta that is bytes", {"meta": np.array(b"{}")}, "array meta"),
    ("of meta that is not JSON", {"meta": np.array("{")}, "its meta is not JSON$"),
    ("of meta that is no text", {"meta": np.array(-1, "<i4").view("<U1")}, "its meta is not JSON$"),
    ("of meta beyond Unicode", {"meta": BEYOND.view("<U7").reshape(())}, "meta is not JSON$"),
    ("of meta that is empty", {"meta": np.array("")}, "its meta is not JSON$|cannot be read"),
    ("of meta nested too deeply", {"meta": np.array("[" * 100_000)}, "its meta is not JSON$"),
    ("of meta that is a list", {"meta": np.array("[]")}, "not a JSON object"),
]


@pytest.mark.parametrize(("changed", "match"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_an_array_is_refused(path, changed, match):
    """The message names it."""
    rewrite(path, **changed)
    refused(path, match)


LIES = [
    ("format", 2, "has format version 2, and this is charrnn"),
    ("format", None, "has format version None"),
    ("format", ["1"] * 10**5, "has format version .'1', '1', .{,15}, and this is"),
    ("corpus_sha256", "\x1b[2J", "which text it was trained on"),
    ("corpus_sha256", None, "which text it was trained on"),
    ("progress", {"step": 10**400}, "where training stands"),
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
    ("progress", [], "where training stands"),
    ("progress", {"step": "seven"}, "where training stands"),
    ("progress", {"step": -1}, "where training stands"),
    ("progress", {"step": float("inf")}, "where training stands"),
    ("progress", {"step": 7, "seconds": "long"}, "where training stands"),
    ("progress", {"step": 7, "seconds": 10**400}, "where training stands"),
    ("progress", {"step": 7, "seconds": float("nan")}, "where training stands"),
    ("progress", {"step": 7, "best_step": "here"}, "where training stands"),
]


@pytest.mark.parametrize(
    ("key", "value", "match"), LIES, ids=[f"{lie[0]}-{n}" for n, lie in enumerate(LIES)]
)
def test_meta_that_lies_is_refused(path, key, value, match):
    """Whatever it says about the arrays must be true of them."""
    rewrite(path, meta=np.array(json.dumps({**meta_of(path), key: value})))
    refused(path, match)


def npy(header, body=b""):
    """An npy member with this header."""
    text = (repr(header) if not isinstance(header, str) else header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def with_member(path, name, content):
    """The same file with one member's bytes replaced."""
    with zipfile.ZipFile(path) as archive:
        kept = {item: archive.read(item) for item in archive.namelist()}
    kept[f"{name}.npy"] = content
    with zipfile.ZipFile(path, "w") as archive:
        for item, raw in kept.items():
            archive.writestr(item, raw)


HUGE = {"descr": "<f8", "fortran_order": False, "shape": (1 << 35, len(HISTORY))}


@pytest.mark.parametrize("in_directory", [False, True])
def test_a_claim_of_a_terabyte_takes_no_memory(path, in_directory):
    """Neither in the array's header, nor also in the archive's directory."""
    with_member(path, "history", npy(HUGE))
    if in_directory:
        path.write_bytes(claim(path.read_bytes(), "history.npy", *[len(npy(HUGE)) + (5 << 38)] * 2))
    tracemalloc.start()
    try:
        # The directory's own claim is found out by newer versions of Python themselves.
        refused(path, "history (claims [0-9,]+ bytes|has a header that)|Overlapped entries")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def claim(raw, name, size, packed, *place):
    """The archive with another size or place of one member in its directory, as a zip64 field."""
    end = raw.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", raw[end + 16 : end + 20])[0]
    entry = raw.index(name.encode(), start) - 46
    numbers = [size, packed, *place]
    field = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
    head = bytearray(raw[entry : entry + 46])
    head[20:28] = b"\xff" * 8
    if place:
        head[42:46] = b"\xff" * 4
    head[30:32] = struct.pack("<H", len(field))
    after = entry + 46 + len(name)
    tail = bytearray(raw[end:])
    tail[12:16] = struct.pack("<L", end - start + len(field))
    return raw[:entry] + head + name.encode() + field + raw[after:end] + tail


def test_a_directory_that_contradicts_itself_is_refused(path, monkeypatch):
    """With two sizes of one member, or with its place where no file ends; also on stdin."""
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("history.npy").file_size
    for claims, match in [
        ((size, 5 << 38), "array history is compressed"),
        ((5 << 38, size), "array history is compressed"),
        ((size, size, 1 << 63), "cannot be read as a checkpoint: |only a part of one"),
    ]:
        path.write_bytes(claim(whole, "history.npy", *claims))
        refused(path, match)
        monkeypatch.setattr(streams, "standard_input", lambda: io.BytesIO(path.read_bytes()))
        with pytest.raises(CheckpointError, match=match):
            checkpoint.load("-")


def test_a_model_that_is_not_there_takes_no_memory(path):
    """However large the config says that it is: terabytes of weights, or a state of a million."""
    for model in ({"hidden": 65536, "layers": 64, "cell": "lstm"}, {"hidden": 65536}):
        config = {"model": {"dtype": "float64", **model}, "corpus": {"path": "/a"}}
        rewrite(path, meta=np.array(json.dumps({**meta_of(path), "config": config})))
        tracemalloc.start()
        try:
            refused(path, "array layer0.Wxh is float32")
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


def test_nothing_packed_is_unpacked(path):
    """Which could become a thousand times larger."""
    np.savez_compressed(path, **members(path))
    refused(path, "array layer0.Wxh is compressed")


def test_two_members_of_one_name_are_refused(path):
    """One program would take the first of them, and another the last."""
    with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("Why.npy", zipped.read("Why.npy"))
    refused(path, "two of its members have the same name")


def test_a_directory_of_countless_members_is_not_read(path):
    """Each entry would become a Python object."""
    with zipfile.ZipFile(path, "a") as zipped:
        for number in range(archive.MAX_DIRECTORY_BYTES // 9_000):
            zipped.writestr(f"{number:09950}", b"")
    tracemalloc.start()
    try:
        refused(path, "its directory is too large")
        assert tracemalloc.get_traced_memory()[1] < archive.MAX_DIRECTORY_BYTES
    finally:
        tracemalloc.stop()


def test_a_meta_that_is_too_long_is_not_read(path, monkeypatch):
    """Though it is all there; it would become lists and dictionaries of many times its size."""
    monkeypatch.setattr(archive, "MAX_META_BYTES", 100)
    refused(path, "array meta has [0-9,]+ bytes, and never needs over 100")


def test_members_that_share_their_bytes_are_refused(path):
    """All together may not be larger than the file."""
    saved = small(layers=2, hidden=99)
    checkpoint.save(saved, str(path))
    with zipfile.ZipFile(path) as zipped:
        kept = {name: zipped.read(name) for name in zipped.namelist()}
    one, other = "layer0.Whh.npy", "layer1.Whh.npy"
    inner = kept.pop(other)
    outer = kept.pop(one)
    head = len(outer) - 4 * 99 * 99
    inside = local_header(other, inner) + inner  # begins where the numbers of `outer` do
    outer = outer[:head] + inside[: len(outer) - head]
    body, places = b"", []
    for name, raw in {**kept, one: outer}.items():
        places.append((name, raw, len(body)))
        body += local_header(name, raw) + raw
    places.append((other, inner, len(body) - 4 * 99 * 99))
    directory = b"".join(directory_entry(*place) for place in places)
    body += inside[len(outer) - head :]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *2 * [len(places)], len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    refused(path, "claims [0-9,]+ bytes, which it does not have|Overlapped")


def local_header(name, raw):
    """What stands before a member's bytes."""
    sizes = zlib.crc32(raw), len(raw), len(raw)
    return (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, *sizes, len(name), 0) + name.encode()
    )


def directory_entry(name, raw, place):
    """What stands in the directory about a member whose header is at this place."""
    sizes = zlib.crc32(raw), len(raw), len(raw)
    head = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, *sizes, len(name), *[0] * 5, place
    )
    return head + name.encode()


HEADERS = ["", "(", "{", "'''", "  1\n 2", "{'descr': '<f8'}", "[" * 3000, "{'shape': 10L}", "\0"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_nonsense_is_refused(path, header):
    """However Python's parser would fail at it."""
    with_member(path, "history", npy(header))
    refused(path, "array history has a header that makes no sense")


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_flipped_bytes_are_noticed_or_harmless(path, flips):
    """A mutated file gives a checkpoint or a CheckpointError, and nothing else."""
    checkpoint.save(small(), str(path))
    raw = bytearray(path.read_bytes())
    for place, value in flips:
        raw[place % len(raw)] = value
    path.write_bytes(raw)
    with contextlib.suppress(CheckpointError):
        assert isinstance(checkpoint.load(str(path)), Checkpoint)


def test_one_changed_byte_is_noticed(path):
    """In a weight, by its checksum; in the directory, before an array is unpacked."""
    whole = path.read_bytes()
    weight, packing = whole.index(WHY.tobytes()), whole.rindex(b"meta.npy") - 36
    changes = [(weight, whole[weight] ^ 1, "only a part of one")]
    changes += [(packing, kind, "array meta is compressed") for kind in (8, 12, 14, 93)]
    for place, value, match in changes:
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        refused(path, match)


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("module", "name"), [(os, "fsync"), (np.lib.format, "write_array"), (os, "replace")]
)
def test_a_write_that_fails_leaves_the_old_checkpoint(path, monkeypatch, module, name):
    """Whole, and with no other file beside it."""
    before = path.read_bytes()
    monkeypatch.setattr(module, name, no_space)
    with pytest.raises(CheckpointError, match=r"cannot be written: No space left") as caught:
        checkpoint.save(small("lstm"), str(path))
    assert "--out FILE" in caught.value.hint
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_check_writable_makes_folders_and_leaves_nothing_in_them(tmp_path):
    """An old checkpoint stays as it is."""
    path = tmp_path / "deep" / "down" / "model.npz"
    checkpoint.check_writable(str(path))
    assert os.listdir(path.parent) == []
    path.write_bytes(b"old")
    checkpoint.check_writable(str(path))
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_found_out(tmp_path, monkeypatch):
    """A folder as the path, a file as a folder, stdout, a full disk."""
    (tmp_path / "file").write_text("")
    for place, match in [
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "model.npz", "file cannot be written"),
        (tmp_path / "file" / "deep" / "model.npz", "deep cannot be written"),
        ("-", "standard output"),
    ]:
        with pytest.raises(CheckpointError, match=match) as caught:
            checkpoint.check_writable(str(place))
        assert "--out" in caught.value.hint
    monkeypatch.setattr(tempfile, "TemporaryFile", no_space)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.check_writable(str(tmp_path / "model.npz"))
