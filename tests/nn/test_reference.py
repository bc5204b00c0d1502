"""Against PyTorch, an independent implementation: frozen by scripts/make_reference.py."""

import sys
from pathlib import Path

import makemore_split
import networks
import numpy as np
import pytest

from charrnn.arrays import Batch
from charrnn.config.schema import OptimizerConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.nn.cells import CELLS
from charrnn.nn.parameters import Params
from charrnn.training.optimizers import OPTIMIZERS


@pytest.fixture(scope="module")
def reference():
    """The frozen arrays by name."""
    with np.load(Path(__file__).with_name("reference.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradients_equal_those_of_pytorch(reference, cell, layers):
    """With the same weights, a state that is not zero, and padding; to 1e-12."""
    prefix = f"{cell}{layers}."
    entry = {k.removeprefix(prefix): v for k, v in reference.items() if k.startswith(prefix)}
    model = networks.make_model(7, cell, 5, layers, "float64")
    params = Params.of({name: entry[f"param.{name}"] for name in model.shapes()})
    batch = Batch(entry["ids"], entry["targets"], entry["mask"])
    loss, grads, dstate, last = networks.gradients(model, params, batch, entry["state"])
    assert loss == pytest.approx(float(entry["loss"]), abs=1e-12)
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, entry[f"grad.{name}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(dstate, entry["dstate"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, entry["last"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_text_scores_what_pytorch_scores_it(reference, cell, layers):
    """A thousand characters in float32 on both sides, to 1e-5 nats a character."""
    prefix = f"{cell}{layers}."
    model = networks.make_model(7, cell, 5, layers, "float32")
    arrays = {n: reference[f"{prefix}param.{n}"].astype(np.float32) for n in model.shapes()}
    score = networks.score_stream(Evaluator(model, Params.of(arrays)), reference[prefix + "text"])
    assert score.chars == 999
    expected = float(reference[prefix + "text_nats"]) / score.chars
    assert score.nats == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "rate", "settings"),
    [
        ("sgd", 0.1, {"momentum": 0.9}),
        ("adagrad", 0.1, {}),
        ("rmsprop", 0.01, {"rmsprop_decay": 0.95}),
        ("adam", 0.01, {"beta2": 0.99, "weight_decay": 0.1}),
    ],
)
def test_twenty_steps_lead_where_those_of_pytorch_lead(reference, name, rate, settings):
    """Each optimiser, from the same start with the same gradients."""
    flat = reference["optim.start"].copy()
    config = OptimizerConfig(name=name, **settings)
    optimizer = OPTIMIZERS[name](config, flat.size, "float64")
    for t, gradient in enumerate(reference["optim.gradients"], start=1):
        optimizer.step(flat, gradient.copy(), rate, t)
    np.testing.assert_allclose(flat, reference[f"optim.{name}"], rtol=1e-9, atol=1e-9)


def test_names_are_shuffled_as_pytorch_does(tmp_path, monkeypatch):
    """As PyTorch 2.13 printed for its seed; so the names held out are those of makemore."""
    order = [7, 0, 3, 6, 11, 1, 8, 5, 2, 9, 4, 10]
    assert makemore_split.permutation(12, 3407) == order
    (tmp_path / "names.txt").write_text("".join(f" name{n}\n\n" for n in range(12)))
    monkeypatch.setattr(sys, "argv", ["makemore_split.py", str(tmp_path / "names.txt")])
    monkeypatch.setattr(makemore_split, "TEST_NAMES", 2)
    makemore_split.main()
    written = [(tmp_path / f"names.{part}.txt").read_text().split() for part in ("train", "test")]
    assert written == [[f"name{n}" for n in order[:-2]], [f"name{n}" for n in order[-2:]]]
