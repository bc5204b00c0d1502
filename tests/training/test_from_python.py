"""`charrnn.train`: from a config and a text in Python to a model."""

import logging
import textwrap
from pathlib import Path

import pytest
import yaml
from run_helpers import LINES, PROSE

import charrnn as package
from charrnn import checkpoint
from charrnn.config.schema import KINDS
from charrnn.errors import ConfigError, CorpusError, DivergedError
from charrnn.training.from_python import KEYS

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_and_a_dictionary_train_like_the_command(charrnn, config, trained, monkeypatch):
    """The weights are those of `charrnn train`, to the last bit, from either kind of config."""
    path = config()
    expected = checkpoint.load(trained).params.flat.tobytes()
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["output"]["checkpoint"] = settings["optimizer"] = None
    monkeypatch.chdir(path.parent)
    models = [
        package.train(path, checkpoint="other.npz"),
        package.train(str(path), LINES, checkpoint=None),
        package.train(settings, LINES),
        package.train({}, LINES, **settings),
        package.train(settings),  # a path in a dictionary is relative to the current folder
    ]
    for model in models:
        assert model.params.flat.tobytes() == expected
        assert model.checkpoint.step == 20


def test_a_checkpoint_is_written_only_if_it_is_named(config, tmp_path, monkeypatch):
    """Without a name, training leaves no file; with one, the checkpoint can be loaded."""
    path = config()
    unnamed = tmp_path / "unnamed.yaml"
    unnamed.write_text(path.read_text(encoding="utf-8").replace("checkpoint", "# "))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    package.train(unnamed)
    assert sorted(tmp_path.iterdir()) == before
    model = package.train(unnamed, PROSE, mode="stream", output={"checkpoint": "mine.npz"})
    saved = package.load(str(tmp_path / "mine.npz"))
    assert repr(saved) == repr(model)
    assert saved.generate(20, seed=1) == model.generate(20, seed=1)
    assert package.train(path).config.output.checkpoint == str(tmp_path / "small.npz")
    assert (tmp_path / "small.npz").exists()


def test_nothing_that_is_read_is_overwritten(config, tmp_path):
    """A corpus or a config in the place of a file of the run is refused, and stays."""
    corpus = tmp_path / "mine.jsonl"
    corpus.write_text(PROSE, encoding="utf-8")
    with pytest.raises(ConfigError, match="is the corpus, and training would overwrite it"):
        package.train({"corpus": {"path": str(corpus)}}, checkpoint=str(tmp_path / "mine.npz"))
    assert corpus.read_text(encoding="utf-8") == PROSE
    path = config()
    with pytest.raises(ConfigError, match="is the config, and training would overwrite it"):
        package.train(path, checkpoint=str(path))


def test_a_text_in_memory_has_no_path(tmp_path):
    """Its checkpoint names no file that is gone: equal runs have equal configs, also on disk."""
    settings = {"hidden": 4, "steps": 2, "seed": 1, "checkpoint": str(tmp_path / "mine.npz")}
    models = [package.train({}, PROSE, **settings) for _ in range(2)]
    assert models[0].config == models[1].config
    assert package.load(settings["checkpoint"]).config.corpus.path == ("-",)


def test_nothing_is_printed_and_messages_are_logged(capfd, caplog):
    """stdout and stderr stay empty; the logger gets the seed, validations and warnings."""
    settings = {"hidden": 4, "steps": 20, "validate_every": 10, "mode": "lines", "seed": None}
    model = package.train({}, LINES, **settings)
    assert capfd.readouterr() == ("", "")
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("charrnn").handlers)
    caplog.set_level(logging.INFO, "charrnn")
    package.train({}, LINES, **settings)
    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if message.startswith("seed ")]
    validations = [message for message in messages if "validation" in message]
    assert [message.split()[1] for message in validations] == ["10/20", "20/20"]
    assert model.config.train.seed is not None


def test_a_run_that_does_not_learn_warns_and_raises(capfd, caplog, monkeypatch):
    """A run that does not learn logs a warning and raises DivergedError, without a print."""
    monkeypatch.setattr("charrnn.training.loop._first_nats", lambda trainer: 9.0)
    with pytest.raises(DivergedError, match="does not learn"):
        package.train({}, PROSE, hidden=4, steps=500)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "predicts worse than guessing" in warning.getMessage()
    assert capfd.readouterr() == ("", "")


def test_the_text_replaces_that_of_the_config(config):
    """The checksum, URL and encoding of the config's text do not apply to another text."""
    other = {"sha256": "0" * 64, "encoding": "utf-16", "mode": "lines"}
    model = package.train(config(), LINES, **other)
    assert set(model.vocab.chars) == set(LINES)


def test_workers_share_the_rows():
    """Two processes train the same model as one, to rounding."""
    settings = {"hidden": 8, "steps": 20, "batch_size": 4, "seed": 1, "dtype": "float64"}
    one, two = (package.train({}, PROSE, workers=count, **settings) for count in (1, 2))
    assert two.params.flat == pytest.approx(one.params.flat, abs=1e-9)


@pytest.mark.parametrize(
    ("message", "config", "settings"),
    [
        ("there is no setting 'hiden': did you mean hidden", {}, {"hiden": 3}),
        ("the config: there is no setting 'x'", {"x": 3}, {}),
        ("did you mean model.hidden", {"model": {"hiden": 3}}, {}),
        ("layers must be a whole number", {}, {"layers": "two"}),
        ("model must be a dictionary of settings", {"model": 3}, {}),
        ("no such config file", "none.yaml", {}),
    ],
)
def test_a_mistake_in_the_config_is_named(message, config, settings):
    """An unknown or invalid setting raises ConfigError with its name."""
    with pytest.raises(ConfigError, match=message):
        package.train(config, LINES, **settings)


@pytest.mark.parametrize(
    ("message", "text"),
    [("the text is empty", ""), ("the text is not utf-8", "ab\ud800"), ("the text has", "a")],
)
def test_a_mistake_in_the_text_names_no_file(message, text):
    """The message says `the text`, not the name of a temporary file."""
    with pytest.raises(CorpusError, match=f"^{message}"):
        package.train({}, text)


def test_a_config_without_a_text_is_refused():
    """Without a text, the config must name one."""
    with pytest.raises(ConfigError, match=r"corpus\.path is missing"):
        package.train({})


def test_every_setting_has_a_name_of_its_own():
    """A keyword is the name of one setting, whatever its section."""
    assert len(KEYS) == len(KINDS)


def test_the_example_of_the_package_runs(capsys, monkeypatch):
    """The example in the docstring of the package runs and prints what it describes."""
    monkeypatch.chdir(ROOT)
    example = package.__doc__.partition("\n\n")[2].rpartition("\n\n")[0]
    exec(textwrap.dedent(example).replace("epochs=5", "steps=5"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("<TextModel: gru 1 x 64, ")
    assert [line.split()[0] for line in lines[-2:]] == ["allosaurus", "qwxzk"]
