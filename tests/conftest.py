"""Settings every test runs under, and the few things that many of them need."""

import numpy as np
import pytest
from click.testing import CliRunner
from trials import LINES, TEXT

from charrnn.cli.app import main
from charrnn.config import loader as configs
from charrnn.data import corpus as corpora
from charrnn.errors import ConfigError
from charrnn.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _strict_floating_point():
    """Overflow and invalid operations raise in every test."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def charrnn():
    """Runs a command line in this process; `.stdout`, `.stderr`, `.exit_code`."""
    return lambda *words, stdin=None: CliRunner().invoke(main, [str(w) for w in words], input=stdin)


@pytest.fixture
def config(tmp_path):
    """Writes a small config and its corpus; returns the config's path."""

    def write(corpus=LINES, mode="lines", name="small", **sections):
        (tmp_path / "corpus.txt").write_bytes(
            corpus if isinstance(corpus, bytes) else corpus.encode()
        )
        settings = {
            "corpus": {"path": "corpus.txt", "mode": mode, "validation": 0.2},
            "model": {"hidden": 8},
            "train": {"steps": 20, "seed": 7, "seq_length": 5},
            "output": {"validate_every": 10, "checkpoint": f"{name}.npz"},
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
    """A checkpoint of a small model of lines."""
    result = charrnn("train", config(), "-q")
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Reads a config with this content, in an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def load(content, *overrides):
        path = tmp_path / "run.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return configs.load(str(path), overrides)

    return load


@pytest.fixture
def mistakes(load, tmp_path):
    """The lines of the message a config ends in, its path cut off."""

    def mistakes(content, *overrides):
        with pytest.raises(ConfigError) as caught:
            load(content, *overrides)
        return str(caught.value).replace(f"{tmp_path}/", "").split("\n")

    return mistakes


@pytest.fixture
def trainer(tmp_path):
    """Makes a trainer of a small run; settings are given as `section.key=value`."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "lines.txt").write_text(TEXT.replace("; ", "\n"), encoding="utf-8")

    def make(*overrides, mode="stream"):
        path = tmp_path / "config.yaml"
        path.write_text(
            f"corpus: {{path: {'text' if mode == 'stream' else 'lines'}.txt, mode: {mode}}}\n"
            "model: {hidden: 12}\n"
            "train: {seed: 3, steps: 60}\n"
            "output: {checkpoint: run.npz, validate_every: 20}\n",
            encoding="utf-8",
        )
        settings = configs.load(str(path), overrides)
        return Trainer(settings, corpora.read(settings.corpus, settings.train.seed))

    return make
