"""Extensions are added in one place: a cell, an optimizer, a schedule, a command.

charrnn/README.md quotes the four examples.
"""

import sys
import types
from pathlib import Path

import click
import networks
import numpy as np
import pytest
from click.testing import CliRunner
from run_helpers import RecordingCallbacks

from charrnn import checkpoint
from charrnn.cli import app, options, terminal
from charrnn.config import schema
from charrnn.config.kinds import choice
from charrnn.config.schema import KINDS, Config
from charrnn.nn import gradcheck
from charrnn.nn.cells import CELLS, Layer
from charrnn.nn.model import Model
from charrnn.nn.workspace import Workspace
from charrnn.sampling.drawing import SamplingOptions
from charrnn.sampling.sampler import Sampler, StopConditions
from charrnn.training import loop
from charrnn.training.optimizers import OPTIMIZERS, Optimizer
from charrnn.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("setting", "registry"),
    [
        ("model.cell", CELLS),
        ("optimizer.name", OPTIMIZERS),
        ("optimizer.schedule", SCHEDULES),
    ],
)
def test_the_choices_of_the_schema_are_the_names_in_the_registry(setting, registry):
    """The schema, which does not import the registries, lists the same names as they do."""
    assert KINDS[setting].words == tuple(registry)
    assert Config().flat()[setting] in registry


def test_the_initialization_of_every_cell_is_a_setting():
    """The default initialization of each cell is a value of model.init."""
    for cell in CELLS.values():
        assert KINDS["model.init"].read(cell.default_init, "") == cell.default_init


@pytest.fixture
def leaky(monkeypatch):
    """Register a cell for the test: one class, and its name in the schema."""
    original_cells = dict(CELLS)

    class Leaky(Layer):
        """h[t] = (h[t-1] + tanh(a[t] + h[t-1] Whh)) / 2."""

        gates, state_names, default_init = 1, ("h",), "orthogonal"

        @classmethod
        def fill_biases(cls, bh, H):
            bh[:] = 0.125

        def forward(self, Whh):
            self.n = np.empty_like(self.a)
            for t, h_prev in enumerate(self.hs[:-1]):
                self.n[t] = np.tanh(self.a[t] + h_prev @ Whh)
                self.hs[t + 1] = (h_prev + self.n[t]) / 2

        def backward(self, Whh):
            dh_next = self.dstate[0]
            for t in reversed(range(len(self.a))):
                dh = (self.dhs[t] + dh_next) / 2
                self.a[t] = dh * (1 - self.n[t] ** 2)
                dh_next[...] = dh + self.a[t] @ Whh.T

    monkeypatch.setitem(schema.KINDS, "model.cell", choice("rnn", "gru", "lstm", "leaky"))
    yield Leaky
    CELLS.clear()
    CELLS.update(original_cells)


def test_a_new_cell_takes_one_class_and_one_name(leaky, trainer, tmp_path):
    """A new cell has correct gradients; it trains, samples and is loaded from its checkpoint."""
    model, params = networks.network("leaky", layers=2)
    batch, state = networks.batch(masked=True), networks.nonzero_state(model)
    rows = gradcheck.check(model, params, batch, state, Workspace(model, *batch.ids.shape))
    assert all(row.passed for row in rows)

    run = trainer("model.cell=leaky", "optimizer.learning_rate=0.05")
    assert isinstance(run.model, Model)
    assert (run.params["layer0.bh"] == 0.125).all()
    np.testing.assert_allclose(
        run.params["layer0.Whh"] @ run.params["layer0.Whh"].T, np.eye(12), atol=1e-6
    )
    path, callbacks = str(tmp_path / "run.npz"), RecordingCallbacks()
    loop.run(run, path, callbacks)
    nats = [report.validation.nats for report in callbacks.reports]
    assert nats[-1] < nats[0] - 0.1
    saved = checkpoint.load(path)
    sampler = Sampler(saved.model, saved.params, saved.vocab, "stream")
    assert len("".join(sampler.stream(1, SamplingOptions(), StopConditions(chars=20)))) == 20


def test_a_new_optimizer_takes_one_class_and_one_name(monkeypatch, trainer):
    """A new optimizer is registered by its class name, and it reduces the loss."""
    original_optimizers = dict(OPTIMIZERS)

    class Sign(Optimizer):
        """p -= rate sign(g)."""

        def _update(self, p, g, vectors, rate, t):
            p -= rate * np.sign(g)

    monkeypatch.setitem(schema.KINDS, "optimizer.name", choice(*OPTIMIZERS))
    run = trainer("optimizer.name=sign", "optimizer.learning_rate=0.001")
    first_loss = np.mean([run.update() for _ in range(5)])
    for _ in range(40):
        run.update()
    assert np.mean([run.update() for _ in range(5)]) < first_loss
    OPTIMIZERS.clear()
    OPTIMIZERS.update(original_optimizers)


def test_a_new_schedule_takes_one_function_and_one_name(monkeypatch, trainer):
    """A new schedule is registered by its name, and the run has its learning rates."""

    def linear(schedule, step):
        """Return a factor that falls from 1 to 0 along a line."""
        return 1 - step / schedule.steps

    monkeypatch.setitem(SCHEDULES, "linear", linear)
    monkeypatch.setitem(schema.KINDS, "optimizer.schedule", choice(*SCHEDULES))
    run = trainer("optimizer.schedule=linear", "optimizer.learning_rate=0.5", "train.steps=4")
    assert [run.schedule.rate(step) for step in range(4)] == [0.5, 0.375, 0.25, 0.125]


def test_a_new_command_takes_one_function_and_one_name(monkeypatch, tmp_path, trainer):
    """A new command is imported by its name, listed by --help, and prints its result."""

    @click.command(short_help="Print the characters that a model knows.")
    @options.checkpoint_argument
    def vocabulary(checkpoint_path):
        """Print the characters that the model in CKPT knows (- is stdin)."""
        from charrnn import checkpoint  # imported here, so that --help does not wait for NumPy

        terminal.write(checkpoint.load(checkpoint_path).vocab.chars)

    run, path = trainer(), str(tmp_path / "run.npz")
    checkpoint.save(run.snapshot(), path)
    module = types.ModuleType("charrnn.cli.vocabulary")
    module.vocabulary = vocabulary
    monkeypatch.setitem(sys.modules, "charrnn.cli.vocabulary", module)
    app._add_command("vocabulary")
    try:
        result = CliRunner().invoke(app.main, ["vocabulary", path])
        assert result.output == run.corpus.vocab.chars
        assert "Print the characters that a model knows." in CliRunner().invoke(app.main).output
    finally:
        del app.main.commands["vocabulary"]


def test_a_command_takes_one_file_and_one_name():
    """COMMANDS lists every file with a command; the command has the name of the file."""
    folder = Path(app.__file__).parent
    command_files = {
        path.stem
        for path in folder.glob("*.py")
        if "@click.command(" in path.read_text(encoding="utf-8")
    }
    assert command_files == set(app.COMMANDS) == set(app.main.commands)
    for name, command in app.main.commands.items():
        assert isinstance(command, click.Command)
        assert command.name == name
