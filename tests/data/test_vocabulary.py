"""Vocabularies: encoding, decoding, and errors for unknown characters."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import vocabulary as vocabs
from charrnn.data.vocabulary import Vocab
from charrnn.errors import VocabError

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too


def vocabulary(count):
    """Return a vocabulary of `count` characters."""
    return Vocab("".join(map(chr, range(0x100, 0x100 + count))))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x", id="one character"),
        pytest.param("hello\n", id="ascii"),
        pytest.param("\0\t\r\n", id="control characters"),
        pytest.param("na\u00efve \u0416 \u4e2d", id="many alphabets"),
        pytest.param("a\U0001f600b\U0010ffff", id="outside the BMP"),
        pytest.param("e\u0301\u00e9", id="combining and composed"),
        pytest.param("\ud800\udfff \udc80", id="lone surrogates"),
    ],
)
def test_decoding_restores_an_encoded_text(text):
    """A text encoded with its own vocabulary and decoded is unchanged."""
    vocab = Vocab.of([text])
    ids = vocab.encode(text)
    assert ids.shape == (len(text),)
    assert vocab.decode(ids) == text


def test_the_empty_text_has_no_ids():
    """The empty text is encoded as no ids, but has no vocabulary."""
    vocab = Vocab("abc")
    assert vocab.encode("").shape == (0,)
    assert vocab.decode([]) == ""
    with pytest.raises(VocabError, match="one or more"):
        Vocab.of([])


@given(ANY_TEXT.filter(bool))
def test_decoding_restores_any_encoded_text(text):
    """Any text survives encoding and decoding, and uses every id of its vocabulary."""
    vocab = Vocab.of([text])
    ids = vocab.encode(text)
    assert vocab.decode(ids.tolist()) == text
    assert set(ids.tolist()) == set(range(len(vocab)))


@given(ANY_TEXT.filter(bool), ANY_TEXT)
def test_the_first_of_any_unknown_characters_is_named(known, text):
    """The error names the first character that the vocabulary lacks, and its position."""
    vocab = Vocab.of([known])
    unknown = [position for position, char in enumerate(text) if char not in known]
    assert np.flatnonzero(vocab.lookup(text) == vocab.missing).tolist() == unknown
    if unknown:
        char, position = text[unknown[0]], unknown[0]
        with pytest.raises(VocabError) as error:
            vocab.encode(text)
        assert f"(U+{ord(char):04X}) at character {position + 1:,}," in str(error.value)
    else:
        assert vocab.decode(vocab.encode(text)) == text


def test_ids_follow_the_order_of_the_code_points():
    """Ids are in the order of the code points, not of the text or its pieces."""
    assert Vocab.of(["b\U0001f600", "a\u00e9", "\n"]).chars == "\nab\u00e9\U0001f600"
    assert Vocab.of(["hello"]).encode("ehlo").tolist() == [0, 1, 2, 3]


def test_all_scripts_of_east_asia_fit_one_vocabulary():
    """All characters of the East Asian encodings together are below the maximum."""
    chars = set(map(chr, range(0xAC00, 0xD7A4)))  # Hangul
    for encoding in ("gb2312", "big5", "shift_jis", "euc_kr"):
        for first in range(0x80, 0x100):
            for second in range(0x30, 0x100):
                chars.update(bytes([first, second]).decode(encoding, "ignore"))
    assert 25_000 < len(Vocab.of(["".join(chars)])) < vocabs.MAX_CHARS


def test_more_characters_than_any_text_has_are_refused():
    """Too many distinct characters are an error whose hint is how to set the encoding."""
    chars = list(map(chr, range(vocabs.MAX_CHARS + 1)))
    assert len(Vocab.of(chars[1:])) == vocabs.MAX_CHARS
    for pieces in (chars, ["".join(chars)], ["x", "".join(chars)]):
        with pytest.raises(VocabError, match="30,001 distinct") as error:
            Vocab.of(pieces)
        assert "corpus.encoding=utf-8, or utf-16" in error.value.hint


@pytest.mark.parametrize("chars", ["", "ba", "aa", "abb"])
def test_a_vocabulary_is_sorted_and_distinct(chars):
    """Characters that are unsorted or repeated, as in a damaged checkpoint, are refused."""
    with pytest.raises(VocabError, match="distinct characters, sorted"):
        Vocab(chars)


def test_a_character_is_a_code_point():
    """A character is a code point, not a byte and not a grapheme cluster."""
    assert len(Vocab.of(["\u00e9"])) == 1
    assert len(Vocab.of(["e\u0301"])) == 2
    assert Vocab.of(["\U0001f600"]).encode("\U0001f600" * 3).tolist() == [0, 0, 0]
    assert "\u00e9" in Vocab.of(["\u00e9"])
    assert "e" not in Vocab.of(["\u00e9"])


def test_an_unknown_character_is_named_with_its_position():
    """The error has an unknown character in ASCII and its position in characters, from 1."""
    with pytest.raises(VocabError) as error:
        Vocab("abc\u00e9").encode("\u00e9b\u2603a\u2604", "poem.txt")
    assert str(error.value) == (
        "poem.txt has '\\u2603' (U+2603) at character 3, "
        "which the model's training text did not have"
    )


@pytest.mark.parametrize("char", ["a", "c", "e", "\U0010ffff", "\0"])
def test_characters_outside_the_vocabulary_are_missing(char):
    """Characters below, between and above those of a vocabulary have the id `missing`."""
    vocab = Vocab("bd")
    assert vocab.lookup(f"b{char}d").tolist() == [0, vocab.missing, 1]


@pytest.mark.parametrize(
    ("count", "dtype"), [(1, "uint8"), (255, "uint8"), (256, "uint16"), (257, "uint16")]
)
def test_ids_have_the_smallest_type_that_holds_missing(count, dtype):
    """The type of ids holds `missing` too, so one byte is enough for 255 characters."""
    vocab = vocabulary(count)
    ids = vocab.lookup(vocab.chars + "x")
    assert ids.dtype == np.dtype(dtype)
    assert ids.tolist() == list(range(count + 1))
    assert vocab.decode(ids[:-1]) == vocab.chars


def test_the_example_in_the_docstring_runs():
    """The examples in the docstrings of the vocabulary give the printed results."""
    result = doctest.testmod(vocabs)
    assert result.attempted >= 4
    assert result.failed == 0
