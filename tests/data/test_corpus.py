"""A text on its way in: every byte is accounted for, and no line stands on both sides."""

import hashlib
import io

import numpy as np
import pytest

from charrnn.config.schema import CorpusConfig
from charrnn.data import corpus
from charrnn.data.reader import TextReader, open_text
from charrnn.errors import CorpusError


class Drip(io.BytesIO):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content, size):
        super().__init__(content)
        self.size = size

    def read1(self, size=-1):
        """No more than `self.size` bytes."""
        return super().read1(self.size)


def drip(content, size, **options):
    """A reader of these bytes, so many at a time."""
    return TextReader(Drip(content, size), "drip.txt", **options)


@pytest.fixture
def read(tmp_path):
    """Reads a corpus of one or more files with this content; `settings` are of the config."""

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
    """All of a stream."""
    parts = np.concatenate([read_corpus.training, read_corpus.validation])
    return read_corpus.vocab.decode(parts)


def record(read_corpus, number):
    """One line of a corpus of lines."""
    records = read_corpus.records
    return read_corpus.vocab.decode(records.ids[slice(*records.starts[[number, number + 1]])])[:-1]


def lines_of(read_corpus, numbers):
    """Some lines of a corpus of lines."""
    return [record(read_corpus, number) for number in numbers]


def all_lines(read_corpus):
    """Every line, in the order of the file."""
    return lines_of(read_corpus, range(len(read_corpus.records.starts) - 1))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_the_size_of_the_pieces_does_not_matter(size):
    """A byte order mark, a CRLF or a character of four bytes may be cut anywhere."""
    text = "\ufeffa\r\nb\r\r\n\u00e9\U0001f600\r\n\n\rc\ufeff\r"
    reader = drip(text.encode(), size)
    assert "".join(reader) == "a\nb\r\n\u00e9\U0001f600\n\n\rc\ufeff\r"
    assert reader.crlf == 3
    assert reader.bom
    assert reader.sha256.hexdigest() == hashlib.sha256(text.encode()).hexdigest()
    assert reader.notices() == [
        "drip.txt opens with a byte order mark; it is left out",
        "drip.txt has 3 Windows line ends (CRLF); they are read as LF",
    ]


def test_a_plain_text_brings_no_notices(read):
    """Nothing was mended, so nothing is said."""
    assert read("a\nb\n").notices == ()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("content", "offset", "byte"),
    [
        pytest.param(b"abc\xffdef", 3, "ff", id="no character begins so"),
        pytest.param(b"ab\xf0\x9f\x98", 2, "f0", id="cut off at the end"),
        pytest.param(b"a\xc3\xa9\xc3\nb", 3, "c3", id="second half missing"),
        pytest.param(b"\xef\xbb\xbfa\r\n\x80", 6, "80", id="after what was mended"),
        pytest.param(b"ab\xe2\x82", 2, "e2", id="two bytes of three"),
        pytest.param(b"a" * 1234 + b"\xfe", 1234, "fe", id="far in"),
    ],
)
def test_bytes_that_are_not_utf_8_are_found(content, offset, byte, size):
    """The offset is that in the file, whatever pieces it came in."""
    with pytest.raises(CorpusError) as caught:
        list(drip(content, size))
    assert caught.value.with_hint == (
        f"drip.txt is not utf-8 text: byte {offset:,} (counted from 0) is 0x{byte}. "
        "If it has another encoding, name it: --set corpus.encoding=latin-1 (train), "
        "or convert the text: iconv -f latin1 -t utf-8"
    )


def test_the_encoding_is_that_of_the_config(read):
    """The same bytes, read in two ways."""
    assert text_of(read(b"caf\xe9", encoding="latin-1")) == "caf\u00e9"
    assert text_of(read("caf\u00e9", encoding="latin-1")) == "caf\u00c3\u00a9"
    with pytest.raises(CorpusError, match=r"byte 3 .* is 0xe9"):
        read(b"caf\xe9")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_utf_16_without_its_mark_is_an_error_of_the_text(size):
    """Python tells it in another way than it tells other errors."""
    assert "".join(drip("ab".encode("utf-16"), size, encoding="utf-16")) == "ab"
    with pytest.raises(CorpusError, match=r"drip\.txt is not utf-16 text"):
        list(drip(b"abcdef", size, encoding="utf-16"))


def test_lower_case_is_asked_for(read):
    """Otherwise the text is left as it is."""
    assert text_of(read("Ab\u00c9")) == "Ab\u00c9"
    assert text_of(read("Ab\u00c9", lowercase=True)) == "ab\u00e9"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lower_case_does_not_depend_on_the_pieces(size):
    """Python writes a Greek sigma in another way at the end of a word, or of a piece."""
    reader = drip("\u039f\u03a3\u0391 \u039f\u03a3".encode(), size, lowercase=True)
    assert "".join(reader) == "\u03bf\u03c3\u03b1 \u03bf\u03c3"


def test_files_are_joined_in_order(read):
    """Running text has nothing put between."""
    assert text_of(read("one", "two\n", "", "three")) == "onetwo\nthree"


def test_lines_of_two_files_do_not_run_into_each_other(read):
    """The last line of a file need not end in a newline."""
    assert all_lines(read("a\nb", "c\n", "", "d", mode="lines")) == ["a", "b", "c", "d"]


def test_standard_input_is_a_file_too(charrnn, config):
    """In the command and as an entry of the config."""
    result = charrnn("train", config(), "--corpus", "-", "-q", stdin="ab\ncd\nef\ngh\nij\n" * 3)
    assert result.exit_code == 0, result.stderr
    result = charrnn("train", config(), "--corpus", "-", "-q", stdin="")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: standard input is empty")


def test_standard_input_can_be_read_once(charrnn, config):
    """Twice in a list is a mistake."""
    path = config()
    result = charrnn("train", path, "--set", "corpus.path=[-, -]", "-q", stdin="ab\n" * 20)
    assert result.exit_code == 2
    assert "standard input" in result.stderr


@pytest.mark.parametrize("content", ["", "\n", "\n\n\n", "\ufeff", "\ufeff\r\n"])
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_text_of_nothing_is_refused(read, content, mode):
    """Also one of nothing but empty lines or a byte order mark."""
    with pytest.raises(CorpusError, match=r"text0\.txt is empty: there is nothing to learn from"):
        read(content, mode=mode)


def test_empty_lines_are_left_out_and_counted(read):
    """They would teach a model to stop at once."""
    read_corpus = read("\na\n\n\nb\n", mode="lines")
    assert all_lines(read_corpus) == ["a", "b"]
    assert any("has 3 empty lines; they are left out" in each for each in read_corpus.notices)


@pytest.mark.parametrize("content", ["a\nbc\nd", "a\nbc\nd\n", "a\r\nbc\r\nd\r\n", "a\n\nbc\nd\n"])
def test_the_last_newline_makes_no_difference_to_lines(read, content):
    """The same records, each between two newlines."""
    read_corpus = read(content, mode="lines")
    assert read_corpus.vocab.chars == "\nabcd"
    assert read_corpus.vocab.decode(read_corpus.records.ids) == "\na\nbc\nd\n"
    assert read_corpus.records.starts.tolist() == [1, 3, 6, 8]
    assert read_corpus.records.lengths(np.array([0, 1, 2])).tolist() == [2, 3, 2]


def test_records_side_by_side_are_padded_to_the_longest(read):
    """Column b is record b; the mask tells where it ends."""
    read_corpus = read("a\nbc\n", mode="lines")
    ids, targets, inside = read_corpus.records.padded(np.array([0, 1]))
    decode = read_corpus.vocab.decode
    assert inside.T.tolist() == [[True, True, False], [True, True, True]]
    assert [decode(ids[inside[:, b], b]) for b in range(2)] == ["\na", "\nbc"]
    assert [decode(targets[inside[:, b], b]) for b in range(2)] == ["a\n", "bc\n"]


@pytest.mark.parametrize("seed", range(20))
def test_copies_of_a_line_are_on_the_same_side(read, seed):
    """And the share that is held out is close to what was asked, whatever came first."""
    lines = ["often"] * 300 + [f"twice {n}" for n in range(150)] * 2 + [f"{n}" for n in range(400)]
    read_corpus = read("\n".join(lines), mode="lines", validation=0.1, seed=seed)
    training = lines_of(read_corpus, read_corpus.training)
    validation = lines_of(read_corpus, read_corpus.validation)
    assert not set(training) & set(validation)
    assert sorted(training + validation) == sorted(lines)
    assert 95 <= len(validation) <= 100
    assert sum("has 449 repeated lines" in each for each in read_corpus.notices) == 1


def test_copies_may_part_where_they_are_let(read):
    """As when each line is drawn by itself; then the share held out is exact."""
    lines = [f"twice {n}" for n in range(500)] * 2
    read_corpus = read("\n".join(lines), mode="lines", validation=0.1, duplicates="independent")
    training = lines_of(read_corpus, read_corpus.training)
    validation = lines_of(read_corpus, read_corpus.validation)
    assert len(validation) == 100
    assert sorted(training + validation) == sorted(lines)
    assert len(set(training) & set(validation)) > 70


def test_the_split_of_lines_depends_on_the_seed_alone(read):
    """It is the same again, and another with another seed."""
    content = "\n".join(map(str, range(500)))
    one, again = (read(content, mode="lines", validation=0.1, seed=3) for _ in range(2))
    other = read(content, mode="lines", validation=0.1, seed=4)
    assert len(one.validation) == len(other.validation) == 50
    assert one.validation.tolist() == again.validation.tolist()
    assert one.validation.tolist() != other.validation.tolist()
    assert one.validation.tolist() != list(range(450, 500))


def test_the_last_part_of_a_stream_is_held_out(read):
    """Whatever the seed."""
    text = "abcdefghij" * 10
    for seed in (1, 2):
        read_corpus = read(text, validation=0.15, seed=seed)
        assert read_corpus.vocab.decode(read_corpus.training) == text[:85]
        assert read_corpus.vocab.decode(read_corpus.validation) == text[85:]


@pytest.mark.parametrize(("mode", "content"), [("lines", "only\n"), ("stream", "one line")])
def test_too_little_to_hold_out_is_refused_with_what_to_type(read, mode, content):
    """One line or one character; the setting that the message names works."""
    with pytest.raises(CorpusError, match=r"too few to hold out|a single character") as caught:
        read(content, mode=mode, validation=0.9 if mode == "lines" else 0.1)
    assert caught.value.hint.endswith("--set corpus.validation=0")
    assert len(read(content, mode=mode).validation) == 0


def test_another_text_than_the_checksum_says_is_refused(read):
    """The checksum is over the bytes in the file, before anything is mended."""
    content = b"\xef\xbb\xbfab\r\n"
    right = hashlib.sha256(content).hexdigest()
    assert read(content, sha256=right).sha256 == right
    with pytest.raises(CorpusError, match=f"has sha256 {right}, but corpus.sha256 is 00"):
        read(content, sha256="0" * 64)


def test_the_checksum_of_files_is_that_of_each(read):
    """Where one ends and the next begins is part of it."""
    assert read("a", "bc").sha256 != read("ab", "c").sha256


def test_what_is_no_text_file_is_told(tmp_path):
    """A folder and a file that is not there."""
    with pytest.raises(CorpusError, match="is a folder, not a text"):
        open_text(str(tmp_path))
    with pytest.raises(CorpusError, match="no such text file"):
        open_text(str(tmp_path / "none.txt"))


def test_a_stream_is_cut_where_peers_cut_it(tmp_path):
    """Of 1,115,394 characters the last 111,540 are held out."""
    path = tmp_path / "long.txt"
    path.write_text("ab" * (1_115_394 // 2), encoding="utf-8")
    found = corpus.read_corpus(CorpusConfig(path=(str(path),)), seed=1)
    assert (len(found.training), len(found.validation)) == (1_003_854, 111_540)
