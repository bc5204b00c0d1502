"""Characters and their numbers: nothing is lost either way, and what is unknown is named."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import vocabulary as vocabs
from charrnn.data.vocabulary import Vocab
from charrnn.errors import VocabError

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too


def first(count):
    """A vocabulary of so many characters."""
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
def test_a_text_comes_back_as_it_was(text):
    """Encoded with its own vocabulary and decoded again."""
    vocab = Vocab.of([text])
    ids = vocab.encode(text)
    assert ids.shape == (len(text),)
    assert vocab.decode(ids) == text


def test_the_empty_text_has_no_ids():
    """With any vocabulary; there is no vocabulary of nothing, though."""
    vocab = Vocab("abc")
    assert vocab.encode("").shape == (0,)
    assert vocab.decode([]) == ""
    with pytest.raises(VocabError, match="one or more"):
        Vocab.of([])


@given(ANY_TEXT.filter(bool))
def test_any_text_comes_back_as_it_was(text):
    """Whatever characters it has; its ids are all below the size of the vocabulary."""
    vocab = Vocab.of([text])
    ids = vocab.encode(text)
    assert vocab.decode(ids.tolist()) == text
    assert set(ids.tolist()) == set(range(len(vocab)))


@given(ANY_TEXT.filter(bool), ANY_TEXT)
def test_any_unknown_character_is_found(known, text):
    """The first one that the vocabulary lacks is named with its place, if there is one."""
    vocab = Vocab.of([known])
    strange = [place for place, char in enumerate(text) if char not in known]
    assert np.flatnonzero(vocab.lookup(text) == vocab.missing).tolist() == strange
    if strange:
        char, place = text[strange[0]], strange[0]
        with pytest.raises(VocabError) as caught:
            vocab.encode(text)
        assert f"(U+{ord(char):04X}) at character {place + 1:,}," in str(caught.value)
    else:
        assert vocab.decode(vocab.encode(text)) == text


def test_ids_follow_the_order_of_the_code_points():
    """The order of the text or of its pieces is of no account."""
    assert Vocab.of(["b\U0001f600", "a\u00e9", "\n"]).chars == "\nab\u00e9\U0001f600"
    assert Vocab.of(["hello"]).encode("ehlo").tolist() == [0, 1, 2, 3]


def test_all_scripts_of_east_asia_are_a_vocabulary():
    """Together: whatever their encodings can write, which is more than any text has."""
    chars = set(map(chr, range(0xAC00, 0xD7A4)))  # Hangul
    for encoding in ("gb2312", "big5", "shift_jis", "euc_kr"):
        for first in range(0x80, 0x100):
            for second in range(0x30, 0x100):
                chars.update(bytes([first, second]).decode(encoding, "ignore"))
    assert 25_000 < len(Vocab.of(["".join(chars)])) < vocabs.MAX_CHARS


def test_more_characters_than_any_text_has_are_refused():
    """They come of a wrong encoding, and the message says how to name the right one."""
    most = list(map(chr, range(vocabs.MAX_CHARS + 1)))
    assert len(Vocab.of(most[1:])) == vocabs.MAX_CHARS
    for pieces in (most, ["".join(most)], ["x", "".join(most)]):
        with pytest.raises(VocabError, match="30,001 distinct") as caught:
            Vocab.of(pieces)
        assert "corpus.encoding=utf-8, or utf-16" in caught.value.hint


@pytest.mark.parametrize("chars", ["", "ba", "aa", "abb"])
def test_a_vocabulary_is_sorted_and_distinct(chars):
    """As one from a damaged checkpoint might not be."""
    with pytest.raises(VocabError, match="distinct characters, sorted"):
        Vocab(chars)


def test_a_character_is_a_code_point():
    """Not a byte, and not what an eye sees as one sign."""
    assert len(Vocab.of(["\u00e9"])) == 1
    assert len(Vocab.of(["e\u0301"])) == 2
    assert Vocab.of(["\U0001f600"]).encode("\U0001f600" * 3).tolist() == [0, 0, 0]
    assert "\u00e9" in Vocab.of(["\u00e9"])
    assert "e" not in Vocab.of(["\u00e9"])


def test_an_unknown_character_is_named_with_its_place():
    """Counted from 1, in characters, and in ASCII so that any terminal can show it."""
    with pytest.raises(VocabError) as caught:
        Vocab("abc\u00e9").encode("\u00e9b\u2603a\u2604", "poem.txt")
    assert str(caught.value) == (
        "poem.txt has '\\u2603' (U+2603) at character 3, "
        "which the model's training text did not have"
    )


@pytest.mark.parametrize("char", ["a", "c", "e", "\U0010ffff", "\0"])
def test_below_between_and_above_are_all_unknown(char):
    """Also far beyond the last code point of the vocabulary."""
    vocab = Vocab("bd")
    assert vocab.lookup(f"b{char}d").tolist() == [0, vocab.missing, 1]


@pytest.mark.parametrize(
    ("count", "dtype"), [(1, "uint8"), (255, "uint8"), (256, "uint16"), (257, "uint16")]
)
def test_ids_take_the_smallest_type_that_has_room_for_missing(count, dtype):
    """255 characters and the number for none of them fill a byte."""
    vocab = first(count)
    ids = vocab.lookup(vocab.chars + "x")
    assert ids.dtype == np.dtype(dtype)
    assert ids.tolist() == list(range(count + 1))
    assert vocab.decode(ids[:-1]) == vocab.chars


def test_the_example_in_the_docstring_runs():
    """And shows what it says."""
    result = doctest.testmod(vocabs)
    assert result.attempted >= 4
    assert result.failed == 0
