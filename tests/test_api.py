"""The library: the same texts and scores as the command line, from several threads at once."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from run_helpers import LINES

import charrnn as package
from charrnn.errors import CharrnnError, CheckpointError, CorpusError


@pytest.fixture
def model(trained):
    """A small model of lines."""
    return package.load(trained)


def test_it_samples_what_the_command_samples(model, trained, charrnn):
    """One stream, several records, chosen ones."""
    assert (
        "".join(model.sample(50, seed=3))
        == charrnn("sample", trained, "--n", 50, "--seed", 3, "-q", "--raw").stdout
    )
    records = [text.text for text in model.texts(4, seed=3, prime="an", temperature=0.5)]
    shown = charrnn("sample", trained, "--lines", 4, "--seed", 3, "--prime", "an",
                    "--temperature", 0.5, "-q")  # fmt: skip
    assert shown.stdout.splitlines() == records
    chosen = [text.text for text in model.select(4, match="^a", unique=True, seed=3)]
    shown = charrnn("sample", trained, "--lines", 4, "--seed", 3, "--match", "^a", "--unique")
    assert shown.stdout.splitlines() == chosen


def test_it_scores_what_the_command_scores(model, trained, charrnn):
    """To the last bit."""
    found = json.loads(charrnn("eval", trained, "-", "--json", stdin="anna\nbob\n").stdout)
    assert model.score("anna\nbob\n").nats == found["nats_per_char"]
    assert model.score(iter(["an", "na\nb", "ob"])).chars == found["chars"]
    assert model.score("anna?", skip_unknown=True).unknown == 1


def test_threads_may_share_a_model(model):
    """Eight at once write what each would write alone."""

    def work(seed):
        return "".join(model.sample(300, seed=seed)), model.score("clara\nemil\n").total_nats

    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == alone


def test_novel_records_do_not_stand_in_the_corpus(model, tmp_path):
    """Which must still be what the model was trained on."""
    known = set((tmp_path / "corpus.txt").read_text(encoding="utf-8").splitlines())
    selection = model.select(20, novel=True, unique=True, seed=1)
    found = {text.text for text in selection}
    assert len(found) == 20
    assert not found & known
    (tmp_path / "corpus.txt").write_text("other\nlines\n" * 9, encoding="utf-8")
    with pytest.raises(CorpusError, match="has changed since"):
        list(model.select(1, novel=True))


def test_a_missing_checkpoint_is_said():
    """As a CheckpointError, which is a CharrnnError."""
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        package.load("nowhere.npz")


def test_a_model_of_lower_case_folds_what_it_is_given(charrnn, config):
    """In Python as in the shell, by the same rule: a sigma at the end is that of the corpus."""
    folded = ("--set", "corpus.lowercase=true")
    text = "ΟΔΟΣ\nΜΕΡΟΣ\nΚΟΣΜΟΣ\nΦΩΣ\nΝΟΜΟΣ\nAnna\n" + LINES
    path = charrnn("train", config(text), "-q", *folded).stdout.strip()
    model = package.load(path)
    assert model.score("ΟΔΟΣ\n").nats == model.score("οδοσ\n").nats
    shown = charrnn("eval", path, "-", "--json", stdin="ANNA\nΟΔΟΣ\n")
    found = json.loads(shown.stdout)["nats_per_char"]
    assert model.score("ANNA\nΟΔΟΣ\n").nats == found
    assert model.score(iter(["AN", "NA\nΟΔ", "ΟΣ\n"])).nats == pytest.approx(found)
    assert "".join(model.sample(3, seed=1, prime="ΟΔΟΣ")).startswith("οδοσ")
    shown = charrnn("sample", path, "--lines", 2, "--prime", "ΟΔΟΣ", "--seed", 1, "-q")
    records = [text.text for text in model.texts(2, prime="ΟΔΟΣ", seed=1)]
    assert shown.stdout.splitlines() == records
    chosen = model.select(1, match="^οδ", prime="Ο", seed=1)
    assert [text.text[:2] for text in chosen] == ["οδ"]
    assert next(model.texts(1, stop="ΟΣ", chars=10**4, temperature=9.0, seed=1)).chars < 10**4


def test_a_python_caller_sees_no_shell_options(model):
    """They are apart from the message, as its hint."""
    with pytest.raises(CharrnnError) as caught:
        model.score("anna?")
    assert "--" not in str(caught.value)
    assert caught.value.hint == "To leave such characters out and count them: --unknown skip"
    assert pickle.loads(pickle.dumps(caught.value)).with_hint == caught.value.with_hint
