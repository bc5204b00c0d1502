"""Large texts: on disk they become the same ids, are found again, and leave nothing behind."""

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
TEXTS = {"ascii": LINES * 9, "mixed": MIXED, "no newline at its end": LINES + "last"}


@pytest.fixture
def large(monkeypatch, tmp_path):
    """From now on every text of 50 bytes is a large one, read a few bytes at a time."""
    monkeypatch.setattr(ids, "MAX_MEMORY_BYTES", 50)
    monkeypatch.setattr("charrnn.data.reader.CHUNK_BYTES", 37)
    monkeypatch.setattr(line_hashes, "BLOCK", 11)
    monkeypatch.setattr(corpus, "BLOCK", 11)
    return cache.cache_folder()


@pytest.fixture
def write(tmp_path):
    """Writes texts to files and returns the corpus settings that name them."""

    def write(*texts, **settings):
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"text{number}.txt"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(str(path))
        return CorpusConfig(path=tuple(paths), **settings)

    return write


def ids_of(read):
    """All ids of a corpus, where they are kept."""
    return read.training.base if read.records is None else read.records.ids


def entries(folder, suffix=""):
    """The ids in the cache, each a file; or what else is known of the texts, with .json."""
    return [entry for entry in folder.iterdir() if entry.suffix == suffix]


def is_mapped(read):
    """Whether the ids of a corpus are in a mapped file."""
    array = ids_of(read)
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array, np.memmap)


def same(one, other):
    """Whether two corpora hold the same."""
    arrays = [(one.training, other.training), (one.validation, other.validation)]
    if one.records is not None:
        arrays += [
            (one.records.ids, other.records.ids),
            (one.records.starts, other.records.starts),
        ]
    return (
        all(a.tolist() == b.tolist() for a, b in arrays)
        and (one.vocab.chars, one.sha256, one.notices)
        == (other.vocab.chars, other.sha256, other.notices)
        and one.training.dtype == other.training.dtype
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_large_text_becomes_what_it_becomes_in_memory(
    write, text, mode, lowercase, monkeypatch, request
):
    """Made, found again, and split alike; several files too."""
    config = write(text, "second file\n" * 9, mode=mode, lowercase=lowercase)
    expected = corpus.read_corpus(config, seed=3)
    request.getfixturevalue("large")
    made = corpus.read_corpus(config, seed=3)
    monkeypatch.setattr(ids.CorpusText, "_ids", lambda *_: pytest.fail("it was not found"))
    found = corpus.read_corpus(config, seed=3)
    assert not is_mapped(expected)
    assert is_mapped(made)
    assert is_mapped(found)
    assert same(made, expected)
    assert same(found, expected)


def test_an_entry_is_known_by_what_it_was_made_from(write, large):
    """Another text, mode, case or vocabulary makes another; another name or share does not."""
    text = LINES * 9
    corpus.read_corpus(write(text), 1)
    corpus.read_corpus(write(text, validation=0.2), 2)
    assert len(entries(large)) == 1
    for number, (changed, settings) in enumerate(
        [(text + "x", {}), (text, {"mode": "lines"}), (text, {"lowercase": True})], 2
    ):
        corpus.read_corpus(write(changed, **settings), 1)
        assert len(entries(large)) == number
    wide = corpus.read_corpus(write(text), 1, Vocab.of(["abc", "xyz\U0001f600"]), extend=True)
    assert wide.vocab.chars == "".join(sorted(set(text) | set("abcxyz\U0001f600")))
    assert wide.vocab.decode(wide.training.tolist()) == text[: len(wide.training)]
    assert len(entries(large)) == 5


@pytest.mark.parametrize("damage", ["cut short", "empty", "missing"])
def test_a_damaged_entry_is_made_anew(write, large, damage):
    """Whatever happened to it: a part of it is there, or nothing."""
    config = write(LINES * 9)
    expected = corpus.read_corpus(config, 1)
    (entry,) = entries(large)
    content = entry.read_bytes()
    entry.unlink()  # what is mapped stays as it was
    if damage != "missing":
        entry.write_bytes(content[:-9] if damage == "cut short" else b"")
    assert same(corpus.read_corpus(config, 1), expected)
    assert entries(large) == [entry]
    assert entry.read_bytes() == content


@pytest.fixture
def decoded(monkeypatch):
    """The names of the texts that are decoded from now on."""
    names, decode = [], TextReader.__iter__

    def noted(reader):
        names.append(reader.name)
        return decode(reader)

    monkeypatch.setattr(TextReader, "__iter__", noted)
    return names


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_text_that_was_read_is_not_decoded_again(write, large, decoded, mode):
    """Its checksum is enough for vocabulary, notices and ids; also for those of a wider one."""
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
def test_what_is_known_of_a_text_is_only_a_help(write, large, decoded, content):
    """Damaged, it is found out anew and kept again."""
    config = write(LINES * 9)
    expected = corpus.read_corpus(config, 1)
    (known,) = entries(large, ".json")
    right = known.read_text()
    known.write_text(right.replace("a", "b") if content == "edited" else content)
    decoded.clear()
    assert same(corpus.read_corpus(config, 1), expected)
    assert decoded
    assert known.read_text() == right


def test_a_text_that_has_changed_is_read_anew(write, large):
    """Though as long as before, at the same place and with the same settings."""
    corpus.read_corpus(write(LINES * 9), 1)
    assert "\u00e9" in corpus.read_corpus(write((LINES * 9)[:-2] + "\u00e9"), 1).vocab


def test_two_runs_may_make_the_same_entry_at_once(write, large):
    """Both get all of it, and no unfinished part stays."""
    config = write(LINES * 50, mode="lines")
    start, found = threading.Barrier(4), []

    def read():
        start.wait()
        found.append(corpus.read_corpus(config, 1))

    runs = [threading.Thread(target=read) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 4
    assert all(same(one, found[0]) for one in found)
    assert sorted(entry.suffix for entry in large.iterdir()) == ["", ".json"]


def test_standard_input_leaves_nothing_on_disk(large, monkeypatch):
    """It could not be found again: what was needed of the disk is gone at the end."""
    text = LINES * 50
    stream = types.SimpleNamespace(buffer=io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    found = corpus.read_corpus(CorpusConfig(path=("-",), validation=0.0), 1)
    assert is_mapped(found)
    assert found.vocab.decode(found.training.tolist()) == text
    assert list(large.iterdir()) == []


def test_unfinished_and_unused_entries_are_removed_in_time(write, large):
    """A part after a day, an entry after a month; younger ones stay, and what is not ours."""
    made = {
        f".{'2' * 64}.oldpart_.part": 2,
        f".{'2' * 64}.newpart_.part": 0.5,
        "0" * 64: cache.UNUSED_DAYS + 1,
        "0" * 64 + ".json": cache.UNUSED_DAYS + 1,
        "1" * 64: cache.UNUSED_DAYS - 1,
        "thesis": 400,
        "thesis.part": 400,
    }
    large.mkdir()
    for name, days in made.items():
        (large / name).write_bytes(b"1")
        at = (large / name).stat().st_mtime - days * cache.DAY_S
        os.utime(large / name, (at, at))
    corpus.read_corpus(write(LINES * 9), 1)
    left = {entry.name for entry in large.iterdir()} & set(made)
    assert left == {f".{'2' * 64}.newpart_.part", "1" * 64, "thesis", "thesis.part"}


@pytest.mark.parametrize(
    ("text", "share"), [(LINES * 9, 0.0), ("same line\n" * 40, 0.1), ("x" * 400, 0.1)]
)
def test_a_large_list_without_a_validation_part(write, large, text, share):
    """Whether none is wanted or none can be had: a corpus or one message."""
    config = write(text, mode="lines", validation=share)
    if share and len(set(text)) > 1:
        with pytest.raises(CorpusError, match="too few to hold out"):
            corpus.read_corpus(config, 1)
    else:
        assert len(corpus.read_corpus(config, 1).validation) == 0


def test_a_text_that_breaks_off_leaves_nothing_on_disk(large, monkeypatch):
    """It cannot be known before how large standard input is."""
    stream = types.SimpleNamespace(buffer=io.BytesIO(LINES.encode() * 9 + b"\xff"))
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(CorpusError, match="is not utf-8 text"):
        corpus.read_corpus(CorpusConfig(path=("-",)), 1)
    assert list(large.iterdir()) == []


def test_a_vocabulary_that_lacks_a_character_is_noticed_in_the_cache_too(write, large):
    """As it is when the text is read."""
    config = write(LINES * 9)
    corpus.read_corpus(config, 1)
    with pytest.raises(VocabError, match="which the model's training text did not have"):
        corpus.read_corpus(config, 1, Vocab("ab"))


class Full:
    """A file on a disk that is full."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stream.close()

    def write(self, content):
        """Fails as the system does."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writelines = write


@pytest.mark.parametrize("what", ["a file", "a pipe", "the ids of a pipe"])
def test_a_full_disk_is_told_with_the_folder_to_change(write, large, monkeypatch, what):
    """At any write; nothing of the attempt stays."""
    config = write(LINES * 50, mode="lines")
    if what == "a file":

        def full(*words):
            return Full(open(*words))

        monkeypatch.setattr("charrnn.atomic.open", full, raising=False)
    else:
        stream = types.SimpleNamespace(buffer=io.BytesIO(LINES.encode() * 50))
        monkeypatch.setattr(sys, "stdin", stream)
        config = CorpusConfig(path=("-",), mode="lines")
        real, made = tempfile.TemporaryFile, []

        def temporary(*words, **named):
            made.append(real(*words, **named))
            return made[-1] if what == "the ids of a pipe" and len(made) == 1 else Full(made[-1])

        monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    with pytest.raises(CorpusError, match="No space left") as caught:
        corpus.read_corpus(config, 1)
    assert "CHARRNN_CACHE=FOLDER" in caught.value.hint
    assert list(large.iterdir()) == []


def test_no_place_for_a_large_text_is_told(write, large, monkeypatch, tmp_path):
    """With the variable that names another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(CorpusError, match="cannot be written to") as caught:
        corpus.read_corpus(write(LINES * 9), 1)
    assert "Name another folder: CHARRNN_CACHE=FOLDER" in caught.value.hint


@pytest.mark.parametrize("size", [9, 5])
def test_a_text_that_changes_while_it_is_read_is_refused(write, request, monkeypatch, size):
    """Its checksum would be that of another text, whether it is a large one or not."""
    config = write(LINES * size)
    if size == 9:
        request.getfixturevalue("large")
    read = ids.CorpusText._ids

    def change_first(self, vocab):
        Path(config.path[0]).write_text(LINES * 8)
        return read(self, vocab)

    monkeypatch.setattr(ids.CorpusText, "_ids", change_first)
    with pytest.raises(CorpusError, match="changed while it was read"):
        corpus.read_corpus(config, 1)


@pytest.mark.parametrize("name", ["CHARRNN_CACHE", "XDG_CACHE_HOME"])
def test_the_cache_is_where_people_say(name, monkeypatch, tmp_path):
    """Its own variable first, then the desktop's."""
    monkeypatch.delenv("CHARRNN_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(name, str(tmp_path / "there"))
    expected = tmp_path / "there" / ("" if name == "CHARRNN_CACHE" else "charrnn")
    assert cache.cache_folder() == expected


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_training_on_a_large_text_is_training_on_the_text(charrnn, config, tmp_path, mode, request):
    """To the last bit, stopped and resumed in between."""
    path = config(LINES * 9, mode=mode, train={"batch_size": 3})
    assert charrnn("train", path, "-q").exit_code == 0
    expected = checkpoint.load(str(tmp_path / "small.npz"))
    request.getfixturevalue("large")
    words = ["train", path, "--out", tmp_path / "other.npz", "-q"]
    assert charrnn(*words, "--set", "train.steps=10").exit_code == 0
    result = charrnn(*words, "--resume")
    assert result.exit_code == 0, result.stderr
    found = checkpoint.load(str(tmp_path / "other.npz"))
    assert found.params.flat.tobytes() == expected.params.flat.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_equal_lines_have_equal_hashes_wherever_they_are_cut(size, monkeypatch):
    """And different lines have different ones, in a larger vocabulary too."""
    monkeypatch.setattr(line_hashes, "BLOCK", size)
    lines = ["aa", "ab", "ba", "abc", "aa", "acb", "a", "aaa", "abc", "ab"]
    text = "\n".join(["", *lines, ""])
    found = []
    for vocab in (Vocab("\nabc"), Vocab("\nZabcz")):
        encoded = vocab.encode(text)
        starts = line_hashes.line_starts(encoded, 0)
        assert starts.tolist() == np.cumsum([1, *(len(line) + 1 for line in lines)]).tolist()
        found.append(line_hashes.line_hashes(encoded, starts, vocab).tolist())
    assert found[0] == found[1]
    for i, one in enumerate(lines):
        for j, other in enumerate(lines):
            assert (found[0][i] == found[0][j]) == (one == other)


def test_a_pipe_with_a_name_is_read_once(tmp_path, large):
    """As the shell makes one of <(...): it is copied, and leaves nothing behind."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(LINES * 50,))
    writer.start()
    found = corpus.read_corpus(CorpusConfig(path=(str(path),), validation=0.0), 1)
    writer.join()
    assert found.vocab.decode(found.training.tolist()) == LINES * 50
    assert list(large.iterdir()) == []


def test_a_large_corpus_can_be_sent_to_another_process(write, large):
    """All of it, with no need of the file."""
    read = corpus.read_corpus(write(LINES * 9, mode="lines"), 1)
    sent = pickle.loads(pickle.dumps(read))
    assert same(sent, read)
    assert not is_mapped(sent)
