"""How many threads a run gets: by its size, by the environment, and before NumPy is there."""

from types import SimpleNamespace

import pytest

from charrnn import threads


@pytest.fixture
def environment(monkeypatch):
    """An environment that names no number of threads, in a process without NumPy."""
    found = {}
    monkeypatch.setattr(threads, "os", SimpleNamespace(environ=found))
    monkeypatch.setattr(threads, "sys", SimpleNamespace(modules={}))
    return found


@pytest.mark.parametrize(
    ("cell", "hidden", "rows", "limited"),
    [
        ("rnn", 100, 1, True),
        ("gru", 128, 16, True),
        ("rnn", 100, 104, True),
        ("rnn", 100, 105, False),
        ("lstm", 128, 50, False),
    ],
)
def test_small_products_get_one_thread(environment, cell, hidden, rows, limited):
    """A million multiplications a step is where two begin to help."""
    threads.limit({"model": {"cell": cell, "hidden": hidden}, "train": {"batch_size": rows}})
    assert environment == (dict.fromkeys(threads.VARIABLES, "1") if limited else {})


def test_sampling_and_scoring_get_one_thread(environment):
    """Their products are small."""
    threads.limit()
    assert set(environment) == set(threads.VARIABLES)


@pytest.mark.parametrize("variable", [*threads.VARIABLES, "OMP_NUM_THREADS"])
def test_what_the_environment_says_counts_more(environment, variable):
    """Whoever set it meant it."""
    environment[variable] = "2"
    threads.limit()
    assert environment == {variable: "2"}


def test_a_checkpoint_and_its_config_get_the_same(trained, tmp_path):
    """So that a resumed run has the same bits, whichever it is resumed by."""
    from charrnn import checkpoint

    expected = checkpoint.load(trained).config.as_dict()
    found = threads.settings_in(trained)
    assert found["model"] == expected["model"]
    assert found["train"] == expected["train"]
    (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
    assert threads.settings_in(str(tmp_path / "broken.npz")) == {}
    assert threads.settings_in(str(tmp_path / "none.npz")) == {}
