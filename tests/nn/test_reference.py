"""Comparisons with PyTorch, whose results scripts/make_reference.py wrote to reference.npz."""

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

every_network = pytest.mark.parametrize(("layers", "outputs"), [(1, ""), (2, ""), (2, "all")])


@pytest.fixture(scope="module")
def reference():
    """The arrays of reference.npz by name."""
    with np.load(Path(__file__).with_name("reference.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


@every_network
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradients_equal_those_of_pytorch(reference, cell, layers, outputs):
    """Loss, gradients and last state equal PyTorch's to 1e-12, with a nonzero state and padding."""
    prefix = f"{cell}{layers}{outputs}."
    arrays = {k.removeprefix(prefix): v for k, v in reference.items() if k.startswith(prefix)}
    model = networks.make_model(7, cell, 5, layers, "float64", output_layers=outputs or "top")
    params = Params.of({name: arrays[f"param.{name}"] for name in model.shapes()})
    batch = Batch(arrays["ids"], arrays["targets"], arrays["mask"])
    loss, grads, dstate, last = networks.gradients(model, params, batch, arrays["state"])
    assert loss == pytest.approx(float(arrays["loss"]), abs=1e-12)
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, arrays[f"grad.{name}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(dstate, arrays["dstate"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, arrays["last"], rtol=0, atol=1e-12)


@every_network
@pytest.mark.parametrize("cell", CELLS)
def test_the_score_of_a_text_equals_that_of_pytorch(reference, cell, layers, outputs):
    """A text of a thousand characters has PyTorch's score in float32, to 1e-5 nats a character."""
    prefix = f"{cell}{layers}{outputs}."
    model = networks.make_model(7, cell, 5, layers, "float32", output_layers=outputs or "top")
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
def test_twenty_optimizer_steps_equal_those_of_pytorch(reference, name, rate, settings):
    """Twenty steps of each optimizer give the parameters that PyTorch's optimizer gives."""
    flat = reference["optim.start"].copy()
    config = OptimizerConfig(name=name, **settings)
    optimizer = OPTIMIZERS[name](config, Params({"w": flat.shape}, "float64"))
    for t, gradient in enumerate(reference["optim.gradients"], start=1):
        optimizer.step(flat, gradient.copy(), rate, t)
    np.testing.assert_allclose(flat, reference[f"optim.{name}"], rtol=1e-9, atol=1e-9)


def test_names_are_shuffled_as_by_pytorch(tmp_path, monkeypatch):
    """Names are shuffled as by PyTorch 2.13, so that the test names are those of makemore."""
    order = [7, 0, 3, 6, 11, 1, 8, 5, 2, 9, 4, 10]
    assert makemore_split.permutation(12, 3407) == order
    (tmp_path / "names.txt").write_text("".join(f" name{n}\n\n" for n in range(12)))
    monkeypatch.setattr(sys, "argv", ["makemore_split.py", str(tmp_path / "names.txt")])
    monkeypatch.setattr(makemore_split, "TEST_NAMES", 2)
    makemore_split.main()
    parts = [(tmp_path / f"names.{part}.txt").read_text().split() for part in ("train", "test")]
    assert parts == [[f"name{n}" for n in order[:-2]], [f"name{n}" for n in order[-2:]]]
