"""Untrusted texts, configs and checkpoints: each is accepted, or refused with one message."""

import contextlib
import copy
import io
import itertools
import json
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_helpers import save

from charrnn import checkpoint
from charrnn.api import TextModel
from charrnn.checkpoint import Checkpoint
from charrnn.cli import info
from charrnn.config import loader as configs
from charrnn.config.loader import Config
from charrnn.config.schema import KINDS, CorpusConfig
from charrnn.data import corpus as corpora
from charrnn.data.corpus import Corpus
from charrnn.data.reader import TextReader
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CharrnnError
from charrnn.find_corpus import reload_corpus
from charrnn.training.trainer import Trainer

SCRIPTS = {
    "right to left": "שלום עולם\nمرحبا بالعالم\u200f\n",
    "joined emoji": "👩‍👩‍👧‍👦🏳️‍🌈\n👍🏽é\n",
    "combining marks": "e\u0301a\u0308\u0323\nz\u0351\u036b\u0343\n",
    "composed and decomposed": "\u00e9e\u0301\u212b\u00c5\n",
    "Chinese, Japanese, Korean": "天地玄黃\nいろは\n가나다\n",
    "beyond 16 bits": "𐎀𐎁\U0010ffff\n𠮷\n",
    "control characters": "a\0b\x07\x1b[2J\n\x7f\x85c\u2028d\n",
    "byte order marks in the middle": "a\ufeffb\n\ufffec\n",
    "bare carriage returns": "a\rb\nc\r\r\nd\n",
    "white space": " \t\u00a0\u3000\n \n",
}

NO_VALIDATION = ["-q", "--set", "corpus.validation=0"]
# UTF-16 code units (low byte, high byte) below the surrogates.
CODE_UNIT_BYTES = itertools.chain.from_iterable(itertools.product(range(256), range(0xD8)))


def property_test(max_examples):
    """Return the settings of a property test; the inputs are the same in every run."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("script", list(SCRIPTS))
def test_any_script_can_be_trained_sampled_and_scored(charrnn, config, tmp_path, mode, script):
    """Samples of a text in any script have its characters, and `score` prints it unchanged.

    Only line ends are normalized.
    """
    text = SCRIPTS[script] * 12
    normalized = text.replace("\r\n", "\n")
    path = config(text, mode, train={"steps": 2})
    model = charrnn("train", path, *NO_VALIDATION).stdout.strip()
    assert set(checkpoint.load(model).vocab.chars) == set(normalized)
    sampled = charrnn("sample", model, "--n", 60, "--seed", 1, "-q")
    assert (sampled.exit_code, sampled.stderr) == (0, "")
    assert set(sampled.stdout) <= set(normalized)
    scored = charrnn("eval", model, tmp_path / "corpus.txt", "--json")
    records = len([line for line in normalized.split("\n") if line])
    chars = len(normalized.replace("\n", "")) + records if mode == "lines" else len(normalized) - 1
    assert json.loads(scored.stdout)["chars"] == chars
    rows = charrnn("score", model, tmp_path / "corpus.txt", "-q").stdout_bytes.decode()
    assert "".join(row.split("\t", 4)[4] + "\n" for row in rows.split("\n")[:-1]) == normalized


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize(
    ("raw", "encoding", "message"),
    [
        (b"ab\n" * 9 + b"\xed\xa0\x80\n", "utf-8", "is not utf-8 text: byte 27 "),
        (b"ab\n" * 9 + b"\xed\xa0\x80\xed\xb0\x80\n", "utf-8", "is not utf-8 text: byte 27 "),
        (b"ab\n" * 9 + b"\xc0\x80\n", "utf-8", "is not utf-8 text: byte 27 "),
        (b"ab\n" * 9 + b"\xf5\x80\x80\x80\n", "utf-8", "is not utf-8 text: byte 27 "),
        (b"ab\n" * 9 + b"\xe4\xb8", "utf-8", "is not utf-8 text: byte 27 "),
        (b"\xff\xfea\0\n\0\0\xdcb\0", "utf-16", "is not utf-16 text: byte 6 "),
        (b"\xff\xfea\0\n\0\0\xd8b\0", "utf-16", "is not utf-16 text: byte 6 "),
        (b"a\0\n\0b", "utf-16-le", "is not utf-16-le text: byte 4 "),
        (b"a\0\n\0" * 9, "utf-16", "is not utf-16 text: it does not open with a byte order mark"),
        (b"a\0\0\0\0\0\x11\0", "utf-32-le", "is not utf-32-le text: byte 4 "),
    ],
)
def test_undecodable_bytes_are_refused(charrnn, config, mode, raw, encoding, message):
    """A text with undecodable bytes is refused with the offset of the first.

    Half of a surrogate pair is undecodable too.
    """
    result = charrnn("train", config(raw, mode), "-q", "--set", f"corpus.encoding={encoding}")
    assert result.exit_code == 1
    assert message in result.stderr
    assert "corpus.encoding=" in result.stderr or "BOM" in result.stderr


def test_a_wrong_encoding_is_detected(charrnn, config, tmp_path):
    """A text with very many distinct characters is refused; nothing is trained or written."""
    characters = "".join(map(chr, range(0xE000, 0x32000)))
    for raw, encoding in [(characters.encode(), "utf-8"), (bytes(CODE_UNIT_BYTES), "utf-16-le")]:
        for mode in ("stream", "lines"):
            path = config(raw, mode)
            result = charrnn("train", path, "-q", "--set", f"corpus.encoding={encoding}")
            assert result.exit_code == 1
            assert "almost surely read in a wrong encoding" in result.stderr
            assert "corpus.encoding=utf-8" in result.stderr
    assert not (tmp_path / "small.npz").exists()


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_memory_is_proportional_to_the_length_of_a_line(charrnn, config, tmp_path, mode):
    """A line of 3 MB takes at most 24 bytes per character in training and scoring."""
    text, part = "abcdefg" * 430_000, tmp_path / "part.txt"
    path = config(text, mode, train={"steps": 2})
    part.write_text(text[:200_000], encoding="utf-8")
    for arguments in (["train", path, *NO_VALIDATION], ["eval", tmp_path / "small.npz", part]):
        tracemalloc.start()
        try:
            result = charrnn(*arguments)
            assert result.exit_code == 0, result.stderr
            assert tracemalloc.get_traced_memory()[1] < 24 * len(text)
        finally:
            tracemalloc.stop()


ENCODINGS = ["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp1252", "gb18030"]
ENCODINGS += ["shift_jis", "iso2022_jp", "euc_kr", "hz", "ascii", "idna"]
PIECES = ["ab", "\n", "\r", "\0", "\x1b", "\x1a", "\xc3", "\xa9", "\xed\xa0\x80", "\xef\xbb\xbf"]
PIECES += ["\xff\xfe", "\xfe\xff\0\0", "\xf4\x8f\xbf\xbf", "+2AA-", "~{", "\x1b$B", "\xd8"]
BYTES = st.lists(st.sampled_from(PIECES) | st.text("abc\n\xe4\xb8", max_size=9), max_size=30).map(
    lambda pieces: "".join(pieces).encode("latin-1")
)


@property_test(300)
@given(
    raw=BYTES | st.binary(max_size=60),
    encoding=st.sampled_from(ENCODINGS),
    mode=st.sampled_from(["lines", "stream"]),
    lowercase=st.booleans(),
    validation=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
)
def test_any_bytes_are_a_corpus_or_an_error(tmp_path, raw, encoding, mode, lowercase, validation):
    """Every character of a corpus is in its training part or in its validation part."""
    path = tmp_path / "text.bin"
    path.write_bytes(raw)
    config = CorpusConfig((str(path),), None, None, encoding, mode, lowercase, validation)
    with contextlib.suppress(CharrnnError):
        corpus = corpora.read_corpus(config, seed=1)
        assert isinstance(corpus, Corpus)
        text = "".join(TextReader(io.BytesIO(raw), "text", encoding, lowercase))
        if mode == "stream":
            ids = [*corpus.training.tolist(), *corpus.validation.tolist()]
            assert corpus.vocab.decode(ids) == text
        else:
            lines = [line for line in text.split("\n") if line]
            assert corpus.vocab.decode(corpus.records.ids.tolist()).split("\n")[1:-1] == lines
            assert sorted([*corpus.training, *corpus.validation]) == list(range(len(lines)))


@property_test(300)
@given(raw=BYTES, encoding=st.sampled_from(ENCODINGS), cuts=st.lists(st.integers(1, 9)))
def test_a_text_does_not_depend_on_the_sizes_of_reads(raw, encoding, cuts):
    """A text that is read at once or in pieces is the same text, or an error in both cases."""

    class Pipe(io.BytesIO):
        """A stream whose reads return the numbers of bytes in `sizes`."""

        def read1(self, size=-1):
            return self.read(sizes.pop() if sizes else size)

    texts = []
    for read_sizes in ([], cuts):
        sizes = [*read_sizes]
        try:
            texts.append("".join(TextReader(Pipe(raw), "text", encoding)))
        except CharrnnError:
            texts.append(None)
    assert texts[0] == texts[1]


@property_test(300)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=20))
def test_any_string_is_a_vocabulary_or_an_error(chars):
    """A vocabulary is sorted, not empty, and has each character once."""
    is_valid = bool(chars) and list(chars) == sorted(set(chars))
    try:
        assert Vocab(chars).chars == chars
        assert is_valid
    except CharrnnError:
        assert not is_valid


YAML = """corpus:
  path: [a.txt, 'b c.txt']
  validation: 0.1
model: {cell: gru, hidden: 12}
train: &train
  steps: 1e3
  seed: null
optimizer:
  name: adam # and so on
  clip: !!float 5
"""
NOISE = st.sampled_from([b"", b"\0", b"\xff", b"\t", b"*train", b"<<: *train", b"!!python/name:os"])


@property_test(300)
@given(
    cut=st.tuples(st.integers(0, len(YAML)), st.integers(0, 40)),
    noise=NOISE | st.sampled_from(sorted(KINDS)).map(str.encode) | st.binary(max_size=4),
)
def test_any_bytes_are_a_config_or_an_error(tmp_path, cut, noise):
    """A config with a part replaced is a config or an error; `cut` has the start and the length."""
    path = tmp_path / "config.yaml"
    raw = YAML.encode()
    path.write_bytes(raw[: cut[0]] + noise + raw[sum(cut) :])
    with contextlib.suppress(CharrnnError):
        assert isinstance(configs.load(str(path)), Config)


@pytest.fixture(scope="module")
def valid_path(tmp_path_factory):
    """Return the path of a valid checkpoint."""
    folder = tmp_path_factory.mktemp("valid")
    (folder / "text.txt").write_text("anna\nbob\nclara\n" * 9, encoding="utf-8")
    config = configs.from_dict(
        {
            "corpus": {"path": str(folder / "text.txt"), "mode": "lines", "validation": 0.4},
            "model": {"hidden": 3, "layers": 2, "cell": "gru"},
            "train": {"seed": 1, "steps": 1},
            "optimizer": {"name": "adam", "ema_decay": 0.9},
        },
        "here",
    )
    run = Trainer(config, corpora.read_corpus(config.corpus, 1))
    run.update()
    run.validate(lambda: None)
    save(run, folder / "model.npz")
    return folder / "model.npz"


def members_of(path):
    """Return the members of a checkpoint as {name: bytes}."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def use(path):
    """Load, describe, sample, score and resume a checkpoint, or let it be refused.

    Any exception other than CharrnnError is raised.
    """
    with contextlib.suppress(CharrnnError), np.errstate(all="ignore"):
        loaded = checkpoint.load(str(path))
        assert isinstance(loaded, Checkpoint)
        facts = info.facts(loaded, str(path))
        info.format_facts(facts)
        json.dumps(facts)
        model = TextModel(loaded)
        for text in model.texts(2, chars=3, seed=1):
            assert len(text.text) <= 3
        model.score("anna\nbob\n", skip_unknown=True)
        if loaded.config.corpus.path and loaded.config.train.seed is not None:
            resumed = Trainer(loaded.config, reload_corpus(loaded))
            resumed.restore(loaded)
            resumed.update()


def pack(path, members):
    """Write members as a checkpoint, with correct checksums."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)


@property_test(150)
@given(
    member=st.integers(0, 99),
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 6), st.binary(max_size=6)), max_size=3
    ),
)
def test_any_bytes_in_a_member_are_detected_or_harmless(tmp_path, valid_path, member, changes):
    """A checkpoint with changed bytes and correct checksums is usable or refused."""
    path, members = tmp_path / "model.npz", members_of(valid_path)
    name = sorted(members)[member % len(members)]
    raw = members[name]
    for offset, length, new in changes:
        raw = raw[:offset] + new + raw[offset + length :]
    pack(path, {**members, name: raw})
    use(path)


def test_a_checkpoint_cannot_make_the_program_read_a_device(charrnn, tmp_path, valid_path):
    """A device as the corpus is refused, because its bytes may never end."""
    path, members = tmp_path / "model.npz", members_of(valid_path)
    meta = json.loads(str(np.load(io.BytesIO(members["meta.npy"]))))
    meta["config"]["corpus"]["path"] = ["/dev/null"]
    pack(path, {**members, "meta.npy": as_npy(json.dumps(meta))})
    for arguments in (["eval", path], ["sample", path, "--novel", "--lines", 1]):
        result = charrnn(*arguments)
        assert result.exit_code == 1
        assert "/dev/null, which the checkpoint names as its corpus, is not a file" in result.stderr


def as_npy(text):
    """Return a string as the bytes of an npy member."""
    stream = io.BytesIO()
    np.save(stream, np.array(text))
    return stream.getvalue()


ODD_VALUES = [
    None,
    True,
    -1,
    0,
    1,
    2,
    5,
    10**9,
    2**62,
    10**400,
    0.5,
    1e308,
    -1e-308,
    "",
    "x",
    "\x1b",
    "-",
]
ODD_VALUES += [[], [0], {}, {"a": 1}, float("nan"), float("inf"), "zzz", "utf-16", "lstm"]


@property_test(200)
@given(seed=st.integers(0, 2**32))
def test_any_json_in_a_checkpoint_is_detected_or_harmless(tmp_path, valid_path, seed):
    """A checkpoint with up to three odd values in its meta, at any depth, is usable or refused."""
    path, members, rng = tmp_path / "model.npz", members_of(valid_path), random.Random(seed)
    meta = json.loads(str(np.load(io.BytesIO(members["meta.npy"]))))
    for _ in range(rng.randint(1, 3)):
        node = meta
        while node:
            key = rng.choice(sorted(node) if isinstance(node, dict) else range(len(node)))
            if not isinstance(node[key], (dict, list)) or rng.random() < 0.2:
                node[key] = copy.deepcopy(rng.choice(ODD_VALUES))
                break
            node = node[key]
    pack(path, {**members, "meta.npy": as_npy(json.dumps(meta))})
    use(path)
