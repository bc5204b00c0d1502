"""The Python API: it samples and scores like the command line, also from several threads."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from run_helpers import LINES

import charrnn as package
from charrnn.errors import CharrnnError, CheckpointError, CorpusError


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
