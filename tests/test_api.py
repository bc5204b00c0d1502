"""The Python API: it samples and scores like the command line, also from several threads."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from run_helpers import LINES

import charrnn as package
from charrnn.errors import (
    CharrnnError,
    CheckpointError,
    ConfigError,
    CorpusError,
    VocabError,
)


@pytest.fixture
def model(trained):
    """Return a small model that was trained on lines."""
    return package.load(trained)


def test_samples_equal_those_of_the_command(model, trained, charrnn):
    """`sample`, `texts` and `select` return what `charrnn sample` prints with the same seed."""
    assert (
        "".join(model.sample(50, seed=3))
        == charrnn("sample", trained, "--n", 50, "--seed", 3, "-q", "--raw").stdout
    )
    records = [text.text for text in model.texts(4, seed=3, prime="an", temperature=0.5)]
    result = charrnn("sample", trained, "--lines", 4, "--seed", 3, "--prime", "an",
                     "--temperature", 0.5, "-q")  # fmt: skip
    assert result.stdout.splitlines() == records
    selected = [text.text for text in model.select(4, match="^a", unique=True, seed=3)]
    result = charrnn("sample", trained, "--lines", 4, "--seed", 3, "--match", "^a", "--unique")
    assert result.stdout.splitlines() == selected


def test_scores_equal_those_of_the_command(model, trained, charrnn):
    """`score` and `charrnn eval` return the same numbers, bit for bit."""
    expected = json.loads(charrnn("eval", trained, "-", "--json", stdin="anna\nbob\n").stdout)
    assert model.score("anna\nbob\n").nats == expected["nats_per_char"]
    assert model.score(iter(["an", "na\nb", "ob"])).chars == expected["chars"]
    assert model.score("anna?", skip_unknown=True).unknown == 1


def test_threads_can_share_a_model(model):
    """Eight threads at once return what each of them returns alone."""

    def work(seed):
        return "".join(model.sample(300, seed=seed)), model.score("clara\nemil\n").total_nats

    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == alone


def test_novel_records_are_not_in_the_corpus(model, tmp_path):
    """`select` with novel=True returns no record of the corpus; a changed corpus is an error."""
    corpus_lines = set((tmp_path / "corpus.txt").read_text(encoding="utf-8").splitlines())
    selection = model.select(20, novel=True, unique=True, seed=1)
    records = {text.text for text in selection}
    assert len(records) == 20
    assert not records & corpus_lines
    (tmp_path / "corpus.txt").write_text("other\nlines\n" * 9, encoding="utf-8")
    with pytest.raises(CorpusError, match="has changed since"):
        list(model.select(1, novel=True))


def test_a_missing_checkpoint_raises_an_error():
    """`load` raises CheckpointError when there is no file at the path."""
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        package.load("nowhere.npz")


def test_a_lowercase_model_lowercases_its_input(charrnn, config):
    """A model of a lowercased corpus lowercases scored texts, primes and stop strings.

    Python and the command line use the same rule, also for a final sigma.
    """
    lowercase = ("--set", "corpus.lowercase=true")
    text = "ΟΔΟΣ\nΜΕΡΟΣ\nΚΟΣΜΟΣ\nΦΩΣ\nΝΟΜΟΣ\nAnna\n" + LINES
    path = charrnn("train", config(text), "-q", *lowercase).stdout.strip()
    model = package.load(path)
    assert model.score("ΟΔΟΣ\n").nats == model.score("οδοσ\n").nats
    result = charrnn("eval", path, "-", "--json", stdin="ANNA\nΟΔΟΣ\n")
    nats = json.loads(result.stdout)["nats_per_char"]
    assert model.score("ANNA\nΟΔΟΣ\n").nats == nats
    assert model.score(iter(["AN", "NA\nΟΔ", "ΟΣ\n"])).nats == pytest.approx(nats)
    assert "".join(model.sample(3, seed=1, prime="ΟΔΟΣ")).startswith("οδοσ")
    result = charrnn("sample", path, "--lines", 2, "--prime", "ΟΔΟΣ", "--seed", 1, "-q")
    records = [text.text for text in model.texts(2, prime="ΟΔΟΣ", seed=1)]
    assert result.stdout.splitlines() == records
    selected = model.select(1, match="^οδ", prime="Ο", seed=1)
    assert [text.text[:2] for text in selected] == ["οδ"]
    assert next(model.texts(1, stop="ΟΣ", chars=10**4, temperature=9.0, seed=1)).chars < 10**4


def test_an_error_message_names_no_command_line_options(model):
    """The options are in the `hint` of the error, which is also in its pickle."""
    with pytest.raises(CharrnnError) as raised:
        model.score("anna?")
    assert "--" not in str(raised.value)
    assert raised.value.hint == "To leave such characters out and count them: --unknown skip"
    assert pickle.loads(pickle.dumps(raised.value)).with_hint == raised.value.with_hint


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_next_characters_have_the_probabilities_of_scoring(charrnn, config, mode):
    """`next` returns the likeliest characters first, with the probabilities of `char_scores`."""
    model = package.load(charrnn("train", config(mode=mode), "-q").stdout.strip())
    predicted = model.next("an", top=None)
    assert sum(p for _, p in predicted) == pytest.approx(1)
    assert [p for _, p in predicted] == sorted((p for _, p in predicted), reverse=True)
    assert model.next("an", top=3) == predicted[:3]
    for rank, (char, p) in enumerate(predicted, 1):
        score = [*model.char_scores(("\nan" if mode == "stream" else "an") + char)][2]
        assert (score.char, score.rank) == (char, rank)
        assert 2**-score.bits == pytest.approx(p, rel=1e-4)
    first = dict(model.next("", top=None))
    assert ("\n" in first) == (mode == "stream")  # no record is empty
    same = model.next("bob\nan") == model.next("an")
    assert same == (mode == "lines")
    with pytest.raises(VocabError, match="the text has '\\?'"):
        model.next("an?")


def test_next_needs_no_newline_in_the_vocabulary(charrnn, config):
    """A model without a newline predicts too, the same at every call."""
    model = package.load(charrnn("train", config("abcd" * 99, "stream"), "-q").stdout.strip())
    assert model.next("ab", top=1) == model.next("ab", top=1)
    assert {char for char, _ in model.next("", top=None)} == set("abcd")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_scored_rows_equal_those_of_the_command(charrnn, config, mode):
    """`line_scores` and `char_scores` are the rows of `charrnn score`, in the original case."""
    lowercase = ("--set", "corpus.lowercase=true")
    path = charrnn("train", config(mode=mode), "-q", *lowercase).stdout.strip()
    model, text = package.load(path), "Anna\nbob?\n\nida"
    command = ("score", path, "-", "--json", "--unknown", "skip", "--per")
    rows = [*map(json.loads, charrnn(*command, "line", stdin=text).stdout.splitlines())]
    for pieces in (text, iter(["An", "na\nbob", "?\n\nida"])):
        lines = list(model.line_scores(pieces, skip_unknown=True))
        assert [line.text for line in lines] == [row["line"] for row in rows]
        assert [line.bits for line in lines] == pytest.approx([row["bits"] for row in rows])
        assert [line.unknown for line in lines] == [row["unknown"] for row in rows]
    assert lines[0].text == "Anna"
    rows = [*map(json.loads, charrnn(*command, "char", stdin=text).stdout.splitlines())]
    assert [score._asdict() for score in model.char_scores(text, skip_unknown=True)] == rows
    for scores in (model.line_scores, model.char_scores):
        with pytest.raises(VocabError, match="the text has '\\?'"):
            list(scores(text))


def test_a_model_describes_itself(model):
    """`repr` has the network, its size, the step and the best validation."""
    best = model.checkpoint.training_state["best_nats"]
    size, V = model.params.flat.size, len(model.vocab)
    assert repr(model) == (
        f"<TextModel: rnn 1 x 8, {size:,} parameters, {V} characters, step 20, "
        f"best validation {best:.4f} nats>"
    )
    model.checkpoint.training_state["best_nats"] = None
    assert repr(model).endswith("step 20>")


def test_generate_returns_the_text_of_sample(model):
    """`generate` joins what `sample` yields, and refuses a text without an end."""
    options = {"seed": 3, "prime": "an", "temperature": 0.5}
    assert model.generate(40, **options) == "".join(model.sample(40, **options))
    assert model.generate(None, lines=2, **options).count("\n") == 2
    with pytest.raises(ConfigError, match="has no end"):
        model.generate(None)


def test_continuations_take_no_common_prime(model):
    """Each prime is continued, and the keyword `prime` of the other methods is refused."""
    texts = list(model.continuations(["an", "bo"], seed=1))
    assert [text.text[:2] for text in texts] == ["an", "bo"]
    with pytest.raises(TypeError, match="prime"):
        model.continuations(["an"], prime="b")
