"""Reading, encoding and splitting a text."""

import hashlib
import io

import numpy as np
import pytest

from charrnn.config.schema import CorpusConfig
from charrnn.data import corpus
from charrnn.data.reader import TextReader, open_text
from charrnn.errors import CorpusError


class SlowStream(io.BytesIO):
    """A stream that returns a few bytes at a time, as a pipe may."""

    def __init__(self, content, size):
        super().__init__(content)
        self.size = size

    def read1(self, size=-1):
        """Return at most `self.size` bytes."""
        return super().read1(self.size)


def slow_reader(content, size, **options):
    """Return a reader of these bytes that gets `size` of them at a time."""
    return TextReader(SlowStream(content, size), "slow.txt", **options)


@pytest.fixture
def read(tmp_path):
    """A function that reads a corpus of files with these contents and corpus settings."""

    def read(*contents, seed=1, **settings):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"text{number}.txt"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(str(path))
        settings = {"validation": 0.0, **settings}
        return corpus.read_corpus(CorpusConfig(path=tuple(paths), **settings), seed)

    return read


def text_of(read_corpus):
    """Return the text of a stream corpus."""
    parts = np.concatenate([read_corpus.training, read_corpus.validation])
    return read_corpus.vocab.decode(parts)


def record(read_corpus, number):
    """Return a line of a corpus of lines."""
    records = read_corpus.records
    return read_corpus.vocab.decode(records.ids[slice(*records.starts[[number, number + 1]])])[:-1]


def lines_of(read_corpus, numbers):
    """Return lines of a corpus of lines."""
    return [record(read_corpus, number) for number in numbers]


def all_lines(read_corpus):
    """Return all lines, in the order of the file."""
    return lines_of(read_corpus, range(len(read_corpus.records.starts) - 1))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_the_size_of_the_pieces_does_not_matter(size):
    """A byte order mark, a CRLF or a four-byte character can be cut anywhere."""
    text = "\ufeffa\r\nb\r\r\n\u00e9\U0001f600\r\n\n\rc\ufeff\r"
    reader = slow_reader(text.encode(), size)
    assert "".join(reader) == "a\nb\r\n\u00e9\U0001f600\n\n\rc\ufeff\r"
    assert reader.crlf == 3
    assert reader.bom
    assert reader.sha256.hexdigest() == hashlib.sha256(text.encode()).hexdigest()
    assert reader.notices() == [
        "slow.txt opens with a byte order mark; it is left out",
        "slow.txt has 3 Windows line ends (CRLF); they are read as LF",
    ]


def test_a_plain_text_brings_no_notices(read):
    """A text that needs no normalization has no notices."""
    assert read("a\nb\n").notices == ()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("content", "offset", "byte"),
    [
        pytest.param(b"abc\xffdef", 3, "ff", id="invalid first byte"),
        pytest.param(b"ab\xf0\x9f\x98", 2, "f0", id="cut off at the end"),
        pytest.param(b"a\xc3\xa9\xc3\nb", 3, "c3", id="second byte missing"),
        pytest.param(b"\xef\xbb\xbfa\r\n\x80", 6, "80", id="after a mark and CRLF"),
        pytest.param(b"ab\xe2\x82", 2, "e2", id="two bytes of three"),
        pytest.param(b"a" * 1234 + b"\xfe", 1234, "fe", id="far from the start"),
    ],
)
def test_undecodable_bytes_are_reported_with_their_offset(content, offset, byte, size):
    """The error names the offset in the file of the first undecodable byte, for any pieces."""
    with pytest.raises(CorpusError) as error:
        list(slow_reader(content, size))
    assert error.value.with_hint == (
        f"slow.txt is not utf-8 text: byte {offset:,} (counted from 0) is 0x{byte}. "
        "If it has another encoding, name it: --set corpus.encoding=latin-1 (train), "
        "or convert the text: iconv -f latin1 -t utf-8"
    )


def test_the_encoding_is_that_of_the_config(read):
    """The same bytes give different texts in different encodings."""
    assert text_of(read(b"caf\xe9", encoding="latin-1")) == "caf\u00e9"
    assert text_of(read("caf\u00e9", encoding="latin-1")) == "caf\u00c3\u00a9"
    with pytest.raises(CorpusError, match=r"byte 3 .* is 0xe9"):
        read(b"caf\xe9")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_utf_16_without_a_byte_order_mark_is_refused(size):
    """UTF-16 without a byte order mark is a CorpusError, although Python raises another error."""
    assert "".join(slow_reader("ab".encode("utf-16"), size, encoding="utf-16")) == "ab"
    with pytest.raises(CorpusError, match=r"slow\.txt is not utf-16 text"):
        list(slow_reader(b"abcdef", size, encoding="utf-16"))


def test_lowercase_is_optional(read):
    """Only `corpus.lowercase` changes the case of a text."""
    assert text_of(read("Ab\u00c9")) == "Ab\u00c9"
    assert text_of(read("Ab\u00c9", lowercase=True)) == "ab\u00e9"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lower_case_does_not_depend_on_the_pieces(size):
    """A Greek sigma has the same lower case at the end of a piece as elsewhere."""
    reader = slow_reader("\u039f\u03a3\u0391 \u039f\u03a3".encode(), size, lowercase=True)
    assert "".join(reader) == "\u03bf\u03c3\u03b1 \u03bf\u03c3"


def test_files_are_joined_in_order(read):
    """The files of a stream are joined in order, with nothing between them."""
    assert text_of(read("one", "two\n", "", "three")) == "onetwo\nthree"


def test_lines_of_two_files_are_not_joined(read):
    """The last line of a file ends there, even without a newline."""
    assert all_lines(read("a\nb", "c\n", "", "d", mode="lines")) == ["a", "b", "c", "d"]


def test_training_reads_standard_input(charrnn, config):
    """`--corpus -` trains on standard input, and reports it if it is empty."""
    result = charrnn("train", config(), "--corpus", "-", "-q", stdin="ab\ncd\nef\ngh\nij\n" * 3)
    assert result.exit_code == 0, result.stderr
    result = charrnn("train", config(), "--corpus", "-", "-q", stdin="")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: standard input is empty")


def test_standard_input_can_be_read_once(charrnn, config):
    """A corpus that lists standard input twice is refused."""
    path = config()
    result = charrnn("train", path, "--set", "corpus.path=[-, -]", "-q", stdin="ab\n" * 20)
    assert result.exit_code == 2
    assert "standard input" in result.stderr


@pytest.mark.parametrize("content", ["", "\n", "\n\n\n", "\ufeff", "\ufeff\r\n"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_an_empty_text_is_refused(read, content, mode):
    """A text of nothing but empty lines or a byte order mark is refused as empty."""
    with pytest.raises(CorpusError, match=r"text0\.txt is empty: there is nothing to learn from"):
        read(content, mode=mode)


def test_empty_lines_are_left_out_and_counted(read):
    """Empty lines are not records, and a notice counts them."""
    read_corpus = read("\na\n\n\nb\n", mode="lines")
    assert all_lines(read_corpus) == ["a", "b"]
    assert any("has 3 empty lines; they are left out" in notice for notice in read_corpus.notices)


@pytest.mark.parametrize("content", ["a\nbc\nd", "a\nbc\nd\n", "a\r\nbc\r\nd\r\n", "a\n\nbc\nd\n"])
def test_the_last_newline_makes_no_difference_to_lines(read, content):
    """A text has the same records with and without a newline at its end."""
    read_corpus = read(content, mode="lines")
    assert read_corpus.vocab.chars == "\nabcd"
    assert read_corpus.vocab.decode(read_corpus.records.ids) == "\na\nbc\nd\n"
    assert read_corpus.records.starts.tolist() == [1, 3, 6, 8]
    assert read_corpus.records.lengths(np.array([0, 1, 2])).tolist() == [2, 3, 2]


def test_records_side_by_side_are_padded_to_the_longest(read):
    """Column b of a padded batch is record b, and the mask ends where the record ends."""
    read_corpus = read("a\nbc\n", mode="lines")
    ids, targets, mask = read_corpus.records.padded(np.array([0, 1]))
    decode = read_corpus.vocab.decode
    assert mask.T.tolist() == [[True, True, False], [True, True, True]]
    assert [decode(ids[mask[:, b], b]) for b in range(2)] == ["\na", "\nbc"]
    assert [decode(targets[mask[:, b], b]) for b in range(2)] == ["a\n", "bc\n"]


@pytest.mark.parametrize("seed", range(20))
def test_copies_of_a_line_are_on_the_same_side(read, seed):
    """Copies of a line stay together, and about the configured share is held out."""
    lines = ["often"] * 300 + [f"twice {n}" for n in range(150)] * 2 + [f"{n}" for n in range(400)]
    read_corpus = read("\n".join(lines), mode="lines", validation=0.1, seed=seed)
    training = lines_of(read_corpus, read_corpus.training)
    validation = lines_of(read_corpus, read_corpus.validation)
    assert not set(training) & set(validation)
    assert sorted(training + validation) == sorted(lines)
    assert 95 <= len(validation) <= 100
    assert sum("has 449 repeated lines" in notice for notice in read_corpus.notices) == 1


def test_independent_copies_are_on_both_sides(read):
    """With `duplicates: independent`, lines are drawn one by one and the share is exact."""
    lines = [f"twice {n}" for n in range(500)] * 2
    read_corpus = read("\n".join(lines), mode="lines", validation=0.1, duplicates="independent")
    training = lines_of(read_corpus, read_corpus.training)
    validation = lines_of(read_corpus, read_corpus.validation)
    assert len(validation) == 100
    assert sorted(training + validation) == sorted(lines)
    assert len(set(training) & set(validation)) > 70


def test_the_split_of_lines_depends_on_the_seed_alone(read):
    """Equal seeds give equal splits of lines, and different seeds different ones."""
    content = "\n".join(map(str, range(500)))
    first, repeated = (read(content, mode="lines", validation=0.1, seed=3) for _ in range(2))
    reseeded = read(content, mode="lines", validation=0.1, seed=4)
    assert len(first.validation) == len(reseeded.validation) == 50
    assert first.validation.tolist() == repeated.validation.tolist()
    assert first.validation.tolist() != reseeded.validation.tolist()
    assert first.validation.tolist() != list(range(450, 500))


def test_the_last_part_of_a_stream_is_held_out(read):
    """The validation part of a stream is its end, for every seed."""
    text = "abcdefghij" * 10
    for seed in (1, 2):
        read_corpus = read(text, validation=0.15, seed=seed)
        assert read_corpus.vocab.decode(read_corpus.training) == text[:85]
        assert read_corpus.vocab.decode(read_corpus.validation) == text[85:]


@pytest.mark.parametrize(("mode", "content"), [("lines", "only\n"), ("stream", "one line")])
def test_a_text_too_short_for_validation_is_refused(read, mode, content):
    """A part of too few lines or characters is an error whose hint names a setting that works."""
    with pytest.raises(CorpusError, match=r"too few to hold out|a single character") as error:
        read(content, mode=mode, validation=0.9 if mode == "lines" else 0.1)
    assert error.value.hint.endswith("--set corpus.validation=0")
    assert len(read(content, mode=mode).validation) == 0


def test_a_text_with_another_checksum_is_refused(read):
    """`corpus.sha256` is compared with the checksum of the original bytes of the file."""
    content = b"\xef\xbb\xbfab\r\n"
    right = hashlib.sha256(content).hexdigest()
    assert read(content, sha256=right).sha256 == right
    with pytest.raises(CorpusError, match=f"has sha256 {right}, but corpus.sha256 is 00"):
        read(content, sha256="0" * 64)


def test_the_checksum_depends_on_where_files_end(read):
    """The checksum of several files depends on where each of them ends."""
    assert read("a", "bc").sha256 != read("ab", "c").sha256


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    """A folder and a missing file have messages of their own."""
    with pytest.raises(CorpusError, match="is a folder, not a text"):
        open_text(str(tmp_path))
    with pytest.raises(CorpusError, match="no such text file"):
        open_text(str(tmp_path / "none.txt"))


def test_a_stream_is_cut_where_other_programs_cut_it(tmp_path):
    """Of the 1,115,394 characters of tinyshakespeare, the last 111,540 are held out."""
    path = tmp_path / "long.txt"
    path.write_text("ab" * (1_115_394 // 2), encoding="utf-8")
    read_corpus = corpus.read_corpus(CorpusConfig(path=(str(path),)), seed=1)
    assert (len(read_corpus.training), len(read_corpus.validation)) == (1_003_854, 111_540)
