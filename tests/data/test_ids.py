"""Large texts: their ids on disk equal those in memory, and the cache stores them."""

import errno
import io
import os
import pickle
import sys
import tempfile
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from run_helpers import LINES

from charrnn import checkpoint
from charrnn.config.schema import CorpusConfig
from charrnn.data import cache, corpus, ids, line_hashes
from charrnn.data.reader import TextReader
from charrnn.data.vocabulary import Vocab
from charrnn.errors import CorpusError, VocabError

MIXED = "".join(f"plain {n}\r\n\nÉté {n % 7}\n\u4e2d\u6587\n\U0001f600\n" for n in range(40))
TEXTS = {"ascii": LINES * 9, "mixed": MIXED, "no final newline": LINES + "last"}


@pytest.fixture
def large(monkeypatch, tmp_path):
    """The cache folder, in a test where texts above 50 bytes are large and chunks are small."""
    monkeypatch.setattr(ids, "MAX_MEMORY_BYTES", 50)
    monkeypatch.setattr("charrnn.data.reader.CHUNK_BYTES", 37)
    monkeypatch.setattr(line_hashes, "BLOCK", 11)
    monkeypatch.setattr(corpus, "BLOCK", 11)
    return cache.cache_folder()


@pytest.fixture
def write(tmp_path):
    """A function that writes texts to files and returns a corpus config with their paths."""

    def write(*texts, **settings):
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"text{number}.txt"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(str(path))
        return CorpusConfig(path=tuple(paths), **settings)

    return write


def ids_of(read):
    """Return the array with all ids of a corpus."""
    return read.training.base if read.records is None else read.records.ids


def entries(folder, suffix=""):
    """Return the paths of ids files in the cache, or with suffix `.json` of text profiles."""
    return [entry for entry in folder.iterdir() if entry.suffix == suffix]


def is_mapped(read):
    """Return whether the ids of a corpus are memory-mapped."""
    array = ids_of(read)
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array, np.memmap)


def same(a, b):
    """Return whether two corpora are equal."""
    arrays = [(a.training, b.training), (a.validation, b.validation)]
    if a.records is not None:
        arrays += [(a.records.ids, b.records.ids), (a.records.starts, b.records.starts)]
    return (
        all(x.tolist() == y.tolist() for x, y in arrays)
        and (a.vocab.chars, a.sha256, a.notices) == (b.vocab.chars, b.sha256, b.notices)
        and a.training.dtype == b.training.dtype
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_large_text_has_the_ids_it_has_in_memory(
    write, text, mode, lowercase, monkeypatch, request
):
    """A large text has the same ids and the same split as in memory, also from the cache."""
    config = write(text, "second file\n" * 9, mode=mode, lowercase=lowercase)
    expected = corpus.read_corpus(config, seed=3)
    request.getfixturevalue("large")
    encoded = corpus.read_corpus(config, seed=3)
    monkeypatch.setattr(ids.CorpusText, "_ids", lambda *_: pytest.fail("it is not in the cache"))
    cached = corpus.read_corpus(config, seed=3)
    assert not is_mapped(expected)
    assert is_mapped(encoded)
    assert is_mapped(cached)
    assert same(encoded, expected)
    assert same(cached, expected)


def test_the_key_of_an_entry_is_all_that_determines_its_ids(write, large):
    """A new text, mode, case or vocabulary adds an entry; a new seed or share does not."""
    text = LINES * 9
    corpus.read_corpus(write(text), 1)
    corpus.read_corpus(write(text, validation=0.2), 2)
    assert len(entries(large)) == 1
    for count, (changed, settings) in enumerate(
        [(text + "x", {}), (text, {"mode": "lines"}), (text, {"lowercase": True})], 2
    ):
        corpus.read_corpus(write(changed, **settings), 1)
        assert len(entries(large)) == count
    wide = corpus.read_corpus(write(text), 1, Vocab.of(["abc", "xyz\U0001f600"]), extend=True)
    assert wide.vocab.chars == "".join(sorted(set(text) | set("abcxyz\U0001f600")))
    assert wide.vocab.decode(wide.training.tolist()) == text[: len(wide.training)]
    assert len(entries(large)) == 5


@pytest.mark.parametrize("damage", ["cut short", "empty", "missing"])
def test_a_damaged_entry_is_written_again(write, large, damage):
    """An entry of the cache that is damaged or missing is computed and written again."""
    config = write(LINES * 9)
    expected = corpus.read_corpus(config, 1)
    (entry,) = entries(large)
    content = entry.read_bytes()
    entry.unlink()  # the memory map of `expected` stays valid
    if damage != "missing":
        entry.write_bytes(content[:-9] if damage == "cut short" else b"")
    assert same(corpus.read_corpus(config, 1), expected)
    assert entries(large) == [entry]
    assert entry.read_bytes() == content


@pytest.fixture
def decoded(monkeypatch):
    """A list to which the name of every decoded file is added."""
    names, decode = [], TextReader.__iter__

    def recorded(reader):
        names.append(reader.name)
        return decode(reader)

    monkeypatch.setattr(TextReader, "__iter__", recorded)
    return names


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_cached_text_is_not_decoded_again(write, large, decoded, mode):
    """Vocabulary, notices and ids of a text in the cache are read without decoding the text."""
    config = write(MIXED.encode("utf-8-sig"), "", "more\r\n", mode=mode)
    expected = corpus.read_corpus(config, 1)
    assert len(expected.notices) == (5 if mode == "lines" else 3)
    assert len(decoded) == 6
    assert same(corpus.read_corpus(config, 1), expected)
    assert len(decoded) == 6
    wide = Vocab.of([*expected.vocab.chars, "!"])
    widened = corpus.read_corpus(config, 1, wide, extend=True)
    assert len(decoded) == 9
    assert same(corpus.read_corpus(config, 1, wide, extend=True), widened)
    assert len(decoded) == 9


@pytest.mark.parametrize(
    "content",
    ["", "[", "3", "null", '"ab"', "[]", '[["a", 5, []], "0"]', "edited", "\0" * 90],
)
def test_a_damaged_text_profile_is_written_again(write, large, decoded, content):
    """If the profile of a text in the cache is damaged, the text is read again."""
    config = write(LINES * 9)
    expected = corpus.read_corpus(config, 1)
    (entry,) = entries(large, ".json")
    original = entry.read_text()
    entry.write_text(original.replace("a", "b") if content == "edited" else content)
    decoded.clear()
    assert same(corpus.read_corpus(config, 1), expected)
    assert decoded
    assert entry.read_text() == original


def test_a_changed_text_is_read_again(write, large):
    """A text that changes but keeps its length, path and settings is read again."""
    corpus.read_corpus(write(LINES * 9), 1)
    assert "\u00e9" in corpus.read_corpus(write((LINES * 9)[:-2] + "\u00e9"), 1).vocab


def test_runs_can_write_the_same_entry_at_once(write, large):
    """Runs that write the same entry at once all get the whole corpus; no partial file stays."""
    config = write(LINES * 50, mode="lines")
    start, corpora = threading.Barrier(4), []

    def read():
        start.wait()
        corpora.append(corpus.read_corpus(config, 1))

    runs = [threading.Thread(target=read) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(corpora) == 4
    assert all(same(each, corpora[0]) for each in corpora)
    assert sorted(entry.suffix for entry in large.iterdir()) == ["", ".json"]


def test_standard_input_leaves_nothing_on_disk(large, monkeypatch):
    """A large text from standard input is not in the cache, and its temporary files go."""
    text = LINES * 50
    stream = types.SimpleNamespace(buffer=io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    read = corpus.read_corpus(CorpusConfig(path=("-",), validation=0.0), 1)
    assert is_mapped(read)
    assert read.vocab.decode(read.training.tolist()) == text
    assert list(large.iterdir()) == []


def test_unfinished_and_unused_entries_are_removed_in_time(write, large):
    """Partial files go after a day and entries after a month; newer and foreign files stay."""
    ages = {
        f".{'2' * 64}.oldpart_.part": 2,
        f".{'2' * 64}.newpart_.part": 0.5,
        "0" * 64: cache.UNUSED_DAYS + 1,
        "0" * 64 + ".json": cache.UNUSED_DAYS + 1,
        "1" * 64: cache.UNUSED_DAYS - 1,
        "thesis": 400,
        "thesis.part": 400,
    }
    large.mkdir()
    for name, days in ages.items():
        (large / name).write_bytes(b"1")
        time = (large / name).stat().st_mtime - days * cache.DAY_S
        os.utime(large / name, (time, time))
    corpus.read_corpus(write(LINES * 9), 1)
    left = {entry.name for entry in large.iterdir()} & set(ages)
    assert left == {f".{'2' * 64}.newpart_.part", "1" * 64, "thesis", "thesis.part"}


@pytest.mark.parametrize(
    ("text", "share"), [(LINES * 9, 0.0), ("same line\n" * 40, 0.1), ("x" * 400, 0.1)]
)
def test_a_large_list_without_a_validation_part(write, large, text, share):
    """A large list needs no validation part, but one that cannot be held out is an error."""
    config = write(text, mode="lines", validation=share)
    if share and len(set(text)) > 1:
        with pytest.raises(CorpusError, match="too few to hold out"):
            corpus.read_corpus(config, 1)
    else:
        assert len(corpus.read_corpus(config, 1).validation) == 0


def test_an_undecodable_pipe_leaves_nothing_on_disk(large, monkeypatch):
    """If a large text from standard input cannot be decoded, its temporary files go."""
    stream = types.SimpleNamespace(buffer=io.BytesIO(LINES.encode() * 9 + b"\xff"))
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(CorpusError, match="is not utf-8 text"):
        corpus.read_corpus(CorpusConfig(path=("-",)), 1)
    assert list(large.iterdir()) == []


def test_unknown_characters_of_a_cached_text_are_an_error(write, large):
    """A cached text with a character that the given vocabulary lacks is refused."""
    config = write(LINES * 9)
    corpus.read_corpus(config, 1)
    with pytest.raises(VocabError, match="which the model's training text did not have"):
        corpus.read_corpus(config, 1, Vocab("ab"))


class FullDiskFile:
    """A file on a full disk."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stream.close()

    def write(self, content):
        """Raise the error of a full disk."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writelines = write


@pytest.mark.parametrize("target", ["a file", "a pipe", "the ids of a pipe"])
def test_a_full_disk_is_an_error_with_a_hint(write, large, monkeypatch, target):
    """A full disk at any write is an error whose hint is another folder; no file stays."""
    config = write(LINES * 50, mode="lines")
    if target == "a file":

        def full(*args):
            return FullDiskFile(open(*args))

        monkeypatch.setattr("charrnn.atomic.open", full, raising=False)
    else:
        stream = types.SimpleNamespace(buffer=io.BytesIO(LINES.encode() * 50))
        monkeypatch.setattr(sys, "stdin", stream)
        config = CorpusConfig(path=("-",), mode="lines")
        real, files = tempfile.TemporaryFile, []

        def temporary(*args, **kwargs):
            files.append(real(*args, **kwargs))
            full = target == "a pipe" or len(files) > 1
            return FullDiskFile(files[-1]) if full else files[-1]

        monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    with pytest.raises(CorpusError, match="No space left") as error:
        corpus.read_corpus(config, 1)
    assert "CHARRNN_CACHE=FOLDER" in error.value.hint
    assert list(large.iterdir()) == []


def test_an_unwritable_cache_folder_is_an_error(write, large, monkeypatch, tmp_path):
    """A cache folder that cannot be written is an error whose hint is the variable to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(CorpusError, match="cannot be written to") as error:
        corpus.read_corpus(write(LINES * 9), 1)
    assert "Name another folder: CHARRNN_CACHE=FOLDER" in error.value.hint


@pytest.mark.parametrize("size", [9, 5])
def test_a_text_that_changes_while_it_is_read_is_refused(write, request, monkeypatch, size):
    """A large or small text that changes between the two passes over it is refused."""
    config = write(LINES * size)
    if size == 9:
        request.getfixturevalue("large")
    original = ids.CorpusText._ids

    def change_first(self, vocab):
        Path(config.path[0]).write_text(LINES * 8)
        return original(self, vocab)

    monkeypatch.setattr(ids.CorpusText, "_ids", change_first)
    with pytest.raises(CorpusError, match="changed while it was read"):
        corpus.read_corpus(config, 1)


@pytest.mark.parametrize("name", ["CHARRNN_CACHE", "XDG_CACHE_HOME"])
def test_environment_variables_set_the_cache_folder(name, monkeypatch, tmp_path):
    """CHARRNN_CACHE is the cache folder; without it, XDG_CACHE_HOME is the parent folder."""
    monkeypatch.delenv("CHARRNN_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(name, str(tmp_path / "cache"))
    expected = tmp_path / "cache" / ("" if name == "CHARRNN_CACHE" else "charrnn")
    assert cache.cache_folder() == expected


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_training_on_a_large_text_gives_the_same_weights(charrnn, config, tmp_path, mode, request):
    """Training from ids on disk, stopped and resumed, gives the same weights as from memory."""
    path = config(LINES * 9, mode=mode, train={"batch_size": 3})
    assert charrnn("train", path, "-q").exit_code == 0
    expected = checkpoint.load(str(tmp_path / "small.npz"))
    request.getfixturevalue("large")
    command = ["train", path, "--out", tmp_path / "large.npz", "-q"]
    assert charrnn(*command, "--set", "train.steps=10").exit_code == 0
    result = charrnn(*command, "--resume")
    assert result.exit_code == 0, result.stderr
    resumed = checkpoint.load(str(tmp_path / "large.npz"))
    assert resumed.params.flat.tobytes() == expected.params.flat.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_only_equal_lines_have_equal_hashes(size, monkeypatch):
    """Lines have equal hashes only if they are equal, for all block sizes and vocabularies."""
    monkeypatch.setattr(line_hashes, "BLOCK", size)
    lines = ["aa", "ab", "ba", "abc", "aa", "acb", "a", "aaa", "abc", "ab"]
    text = "\n".join(["", *lines, ""])
    hashes = []
    for vocab in (Vocab("\nabc"), Vocab("\nZabcz")):
        encoded = vocab.encode(text)
        starts = line_hashes.line_starts(encoded, 0)
        assert starts.tolist() == np.cumsum([1, *(len(line) + 1 for line in lines)]).tolist()
        hashes.append(line_hashes.line_hashes(encoded, starts, vocab).tolist())
    assert hashes[0] == hashes[1]
    for i, a in enumerate(lines):
        for j, b in enumerate(lines):
            assert (hashes[0][i] == hashes[0][j]) == (a == b)


def test_a_named_pipe_is_read_once(tmp_path, large):
    """A named pipe, as the shell makes for <(...), is copied and leaves no file in the cache."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(LINES * 50,))
    writer.start()
    read = corpus.read_corpus(CorpusConfig(path=(str(path),), validation=0.0), 1)
    writer.join()
    assert read.vocab.decode(read.training.tolist()) == LINES * 50
    assert list(large.iterdir()) == []


def test_a_large_corpus_can_be_sent_to_another_process(write, large):
    """A pickled large corpus holds all ids and does not need the file."""
    read = corpus.read_corpus(write(LINES * 9, mode="lines"), 1)
    sent = pickle.loads(pickle.dumps(read))
    assert same(sent, read)
    assert not is_mapped(sent)
