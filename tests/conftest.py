"""Settings that apply to every test, and fixtures that many tests share."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by NumPy's import: tests run side by side
import numpy as np

del os.environ["OPENBLAS_NUM_THREADS"]
import pytest
from click.testing import CliRunner
from run_helpers import LINES, TEXT

from charrnn.cli.app import main
from charrnn.config import loader as configs
from charrnn.data import corpus as corpora
from charrnn.errors import ConfigError
from charrnn.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _strict_floating_point():
    """Raise on overflow, invalid operations and division by zero in every test."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Give each test an empty cache, so that none touches the user's."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def charrnn():
    """Return a function that runs a command line in this process.

    Its result has `.stdout`, `.stderr` and `.exit_code`.
    """

    def run(*arguments, stdin=None):
        return CliRunner().invoke(main, [*map(str, arguments)], input=stdin)

    return run


@pytest.fixture
def config(tmp_path):
    """Return a function that writes a small config and its corpus and returns the config's path.

    Keyword arguments are sections: dictionaries of settings that replace the defaults.
    """

    def write(corpus=LINES, mode="lines", name="small", **sections):
        (tmp_path / "corpus.txt").write_bytes(
            corpus if isinstance(corpus, bytes) else corpus.encode()
        )
        settings = {
            "corpus": {"path": "corpus.txt", "mode": mode, "validation": 0.2},
            "model": {"hidden": 8},
            "train": {"steps": 20, "seed": 7, "seq_length": 5},
            # Only validations are points of the loss curve.
            "output": {"validate_every": 10, "log_every": 10**6, "checkpoint": f"{name}.npz"},
        }
        for section, values in sections.items():
            settings[section].update(values) if section in settings else settings.update(
                {section: values}
            )
        lines = []
        for section, values in settings.items():
            lines.append(f"{section}:")
            lines += [
                f"  {key}: {'null' if value is None else value}" for key, value in values.items()
            ]
        path = tmp_path / f"{name}.yaml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def trained(config, charrnn):
    """Return the path of a checkpoint of a small model, trained on lines."""
    result = charrnn("train", config(), "-q")
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a config with the given content, in an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def load(content, *overrides):
        path = tmp_path / "run.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return configs.load(str(path), overrides)

    return load


@pytest.fixture
def mistakes(load, tmp_path):
    """Return a function that loads a wrong config and returns the lines of the error message.

    Paths in the message are relative to `tmp_path`.
    """

    def mistakes(content, *overrides):
        with pytest.raises(ConfigError) as raised:
            load(content, *overrides)
        return str(raised.value).replace(f"{tmp_path}/", "").split("\n")

    return mistakes


@pytest.fixture
def trainer(tmp_path):
    """Return a function that returns a trainer of a small run.

    Settings are given as `section.key=value`.
    """
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "lines.txt").write_text(TEXT.replace("; ", "\n"), encoding="utf-8")

    def make(*overrides, mode="stream"):
        path = tmp_path / "config.yaml"
        path.write_text(
            f"corpus: {{path: {'text' if mode == 'stream' else 'lines'}.txt, mode: {mode}}}\n"
            "model: {hidden: 12}\n"
            f"train: {{seed: 3, steps: 60{', state_reset: 0' if mode == 'stream' else ''}}}\n"
            "output: {checkpoint: run.npz, validate_every: 20, log_every: 1000000}\n",
            encoding="utf-8",
        )
        config = configs.load(str(path), overrides)
        return Trainer(config, corpora.read_corpus(config.corpus, config.train.seed))

    return make
