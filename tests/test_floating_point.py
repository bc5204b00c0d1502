"""Overflow, underflow and NaN: results stay finite, or training stops before NaN is saved."""

import itertools
import json
import math

import networks
import numpy as np
import pytest
from run_helpers import RecordingCallbacks, save

from charrnn import checkpoint
from charrnn.arrays import Batch
from charrnn.config.schema import OptimizerConfig
from charrnn.errors import CheckpointError, DivergedError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.nn.cells import CELLS
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.nn.workspace import Workspace
from charrnn.training import loop, optimizers
from charrnn.training.schedules import Schedule

HUGE = {"float32": 1e30, "float64": 1e290}  # their squares overflow
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def train_errstate():
    """Return the error handling of `charrnn train`: only a division by zero raises."""
    return np.errstate(over="ignore", invalid="ignore")


def is_clean(path):
    """Return whether every number in a checkpoint is finite.

    The validation losses in the history are not checked: they are NaN where there is no validation.
    """
    with np.load(path, allow_pickle=False) as npz:
        arrays = {name: array for name, array in npz.items() if name != "meta"}
        meta = str(npz["meta"])
    arrays["history"] = arrays["history"][:, :4]
    json.loads(meta, parse_constant=pytest.fail)
    return all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("dtype", HUGE)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_states_give_finite_numbers(cell, layers, dtype):
    """Weights of 1e4 saturate every gate; the loss and the gradients are still finite."""
    model = networks.make_model(7, cell, 5, layers, dtype)
    params = Params(model.shapes(), dtype)
    params.flat[:] = np.random.default_rng(0).normal(0, 1e4, params.flat.size)
    batch, state = networks.batch(), model.zero_state(networks.B)
    loss, grads, dstate, state = networks.gradients(model, params, batch, state)
    assert math.isfinite(loss)
    for array in (grads.flat, dstate, state):
        assert np.isfinite(array).all()
    assert 0.7 < np.abs(state[:, 0]).max() <= 1


@pytest.mark.parametrize("cell", CELLS)
def test_weights_below_the_overflow_limit_do_not_overflow(cell):
    """The largest weights that `can_overflow` allows give finite logits, or NumPy raises here."""
    for dtype, layers in itertools.product(HUGE, (1, 2)):
        model = networks.make_model(7, cell, 5, layers, dtype)
        params = Params(model.shapes(), dtype)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], params.flat.size)
        limit = np.finfo(dtype).max / (8 * params.flat.size)
        params.flat[:] = signs * limit * 0.999
        assert not params.can_overflow()
        for same_sign in (False, True):
            if same_sign:
                params.flat[:] = limit * 0.999
            work, state = Workspace(model, 6, 3), model.zero_state(3)
            loss, state = model.forward(params, networks.batch(), state, work)
            assert math.isfinite(loss)
            assert np.isfinite(state).all()
        for too_large in (limit * 1.001, -limit * 1.001, math.inf, -math.inf, math.nan):
            params.flat[3] = too_large
            assert params.can_overflow(), too_large


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_probability_that_underflows_has_a_finite_surprisal(dtype):
    """A probability of 0 has a surprisal of 1,000 nats here, computed from shifted logits."""
    model = networks.make_model(3, "rnn", 2, 1, dtype)
    params = Params(model.shapes(), dtype)
    params["by"][:] = [0, 1000, 1000]
    ids, targets = np.array([[1]]), np.array([[0]])
    work = Workspace(model, 1, 1)
    loss, _ = model.forward(params, Batch(ids, targets), model.zero_state(1), work)
    assert work.logits[0, 0] == 0
    assert loss == pytest.approx(1000 + math.log(2), rel=1e-6)
    grads = params.zeros_like()
    model.backward(params, Batch(ids, targets), work, grads)
    assert grads["by"].tolist() == [-1, 0.5, 0.5]
    nats, _ = Evaluator(model, params).score_sequence(np.array([1, 0, 0]), model.zero_state(1))
    np.testing.assert_allclose(nats, [[1000 + math.log(2)] * 2], rtol=1e-6)


@pytest.mark.parametrize("rate", ["1e6", "1e300"])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_any_learning_rate_ends_with_finite_numbers_or_exit_code_3(
    charrnn, config, tmp_path, cell, name, rate
):
    """Training with a huge rate ends normally, or with exit code 3 and an earlier checkpoint."""
    path = config(
        model={"cell": cell, "dropout": 0.1},
        optimizer={"name": name, "learning_rate": rate, "clip": None, "ema_decay": 0.5},
        output={"validate_every": 3, "sample_every": 1},
    )
    good_path = config(name="good", model={"cell": cell})
    out = tmp_path / "small.npz"
    assert charrnn("train", good_path, "--set", "train.steps=1", "--out", out, "-q").exit_code == 0
    before = out.read_bytes()
    result = charrnn("train", path, "-q")
    assert result.exit_code in ((3,) if rate == "1e300" else (0, 3)), result.stderr
    assert isinstance(result.exception, SystemExit | None)
    assert is_clean(out)
    if result.exit_code == 3:
        assert result.stderr.startswith("Error: training diverged: ")
        assert result.stderr.count("\n") == 1
        assert out.read_bytes() == before or checkpoint.load(str(out)).step % 3 == 0
    else:
        assert charrnn("sample", out, "--n", 9, "--seed", 1).exit_code == 0
        assert charrnn("eval", out).exit_code == 0


@pytest.mark.parametrize("array_name", ["params", "average", "squares", "state"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_nothing_that_is_not_finite_is_saved(trainer, tmp_path, array_name, number):
    """NaN or infinity in the weights, their average, the optimizer or the state is not saved.

    The old file stays.
    """
    run, path = trainer("optimizer.ema_decay=0.9"), tmp_path / "run.npz"
    run.update()
    save(run, path)
    before = path.read_bytes()
    array = {
        "params": run.params.flat,
        "average": run.eval_params.flat,
        "squares": run.optimizer.state_vectors["squares"],
        "state": run.state,
    }[array_name]
    array.flat[-1] = number
    with pytest.raises(DivergedError, match=r"training diverged: .* at step 1") as raised:
        save(run, path)
    assert raised.value.exit_code == 3
    assert path.read_bytes() == before


def test_sampling_from_diverged_weights_ends_the_run(trainer, tmp_path):
    """A sample from weights that overflow ends the run, also without a validation before it."""
    run = trainer("output.sample_every=1")
    run.params.flat[:] = MAX_FLOAT32
    with (
        train_errstate(),
        pytest.raises(DivergedError, match=r"the largest weight is 3\.4e\+38 at step 0"),
    ):
        run.sample(lambda: None)
    with train_errstate(), pytest.raises(DivergedError):
        loop.run(run, str(tmp_path / "run.npz"), RecordingCallbacks())
    assert not (tmp_path / "run.npz").exists()


def test_a_checkpoint_with_weights_that_can_overflow_is_refused(charrnn, trained):
    """Every command that reads a checkpoint whose weights can overflow prints an error."""
    saved = checkpoint.load(trained)
    saved.params.flat[:] = MAX_FLOAT32
    checkpoint.save(saved, trained)
    for command, *options in (["sample"], ["eval"], ["info"], ["train", "--resume"]):
        result = charrnn(command, trained, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "its weights are too large to compute with" in result.stderr


@pytest.mark.parametrize("dtype", HUGE)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_gradient_whose_squares_overflow_is_clipped_by_norm(dtype, sign):
    """The norm of a gradient of huge numbers is correct, and is the limit after clipping."""
    huge = HUGE[dtype]
    gradient = sign * np.array([3 * huge, 4 * huge, 0], dtype=dtype)
    assert optimizers.clip_by_norm(gradient, 5.0) == pytest.approx(5 * huge, rel=1e-6)
    np.testing.assert_allclose(gradient, [sign * 3, sign * 4, 0], rtol=1e-6)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_the_norm_of_a_gradient_that_is_not_finite_is_not_finite(number):
    """A gradient whose norm is not finite is not clipped."""
    gradient = np.array([1, number, 2], dtype=np.float32)
    assert not math.isfinite(optimizers.clip_by_norm(gradient, 1.0))
    assert gradient[[0, 2]].tolist() == [1, 2]


def test_clipping_by_value_clips_infinity_and_returns_nan():
    """Infinity is clipped to the limit; NaN cannot be clipped, and the returned maximum is NaN."""
    gradient = np.array([math.inf, 1, -math.inf], dtype=np.float32)
    assert optimizers.clip_by_value(gradient, 5.0) == math.inf
    assert gradient.tolist() == [5, 1, -5]
    for i in range(3):
        gradient = np.ones(3, dtype=np.float32)
        gradient[i] = math.nan
        assert math.isnan(optimizers.clip_by_value(gradient, 5.0))


@pytest.mark.parametrize(
    ("clip_by", "number", "message"),
    [
        ("norm", math.inf, "the gradient's norm is inf at step 2"),
        ("norm", math.nan, "the gradient's norm is nan at step 2"),
        ("value", math.nan, "the gradient is not a number at step 2"),
    ],
)
def test_a_gradient_that_cannot_be_clipped_ends_the_run(
    trainer, monkeypatch, clip_by, number, message
):
    """A gradient with NaN or an infinite norm ends the run before it changes the weights."""
    run = trainer(f"optimizer.clip_by={clip_by}")
    run.update()
    before = run.params.flat.tobytes()
    original_backward = Model.backward

    def backward(self, params, batch, work, grads, scale=1.0):
        dstate = original_backward(self, params, batch, work, grads, scale)
        grads.flat[5] = number
        return dstate

    monkeypatch.setattr(Model, "backward", backward)
    with pytest.raises(DivergedError, match=message):
        run.update()
    assert run.params.flat.tobytes() == before
    assert math.isfinite(run.training_state.recent_norms)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_squared_gradients_that_underflow_give_small_steps(name):
    """The square of a gradient of 1e-30 is 0 in float32; it does not cause a division by zero."""
    flat = np.zeros(4, dtype=np.float32)
    optimizer = optimizers.OPTIMIZERS[name](
        OptimizerConfig(name=name), Params({"w": (4,)}, "float32")
    )
    for t in range(1, 50):
        optimizer.step(flat, np.array([1e-30, -1e-30, 0, 1e-45], dtype=np.float32), 0.1, t)
    assert np.isfinite(flat).all()
    assert np.abs(flat).max() < 1e-20
    assert (np.sign(flat[:3]) == [-1, 1, 0]).all()


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_squared_gradients_that_overflow_are_not_saved(trainer, tmp_path, name):
    """Without clipping, the square of a gradient of 1e25 is infinite: its weight stops changing."""
    run = trainer(f"optimizer.name={name}", "optimizer.clip=null")
    gradient = run.grads.flat
    gradient[:] = 1e25
    with train_errstate():
        run.optimizer.step(run.params.flat, gradient, 0.1, 1)
    assert np.isfinite(run.params.flat).all()
    with pytest.raises(DivergedError, match="a number of the optimizer's squares is not finite"):
        save(run, tmp_path / "run.npz")
    assert not (tmp_path / "run.npz").exists()


def test_extreme_numbers_of_steps_and_epochs_are_computed(trainer):
    """Numbers of steps and epochs whose products overflow are limited, not an error."""
    run = trainer("train.steps=null", "train.epochs=1e308")
    assert run.steps == 2**63 - 1
    for epochs in (1e-320, 1e-308, 1e-9):
        config = OptimizerConfig(learning_rate=0.1, schedule="step", step_epochs=epochs)
        schedule = Schedule(config, 2**63 - 1, 1)
        assert schedule.rate(0) == config.learning_rate
        assert schedule.rate(2**62) == 0


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_text_of_one_distinct_character_is_predicted(charrnn, config, cell, name):
    """The only character of a text has a loss of 0 nats, and every command works."""
    path = config("a" * 60, "stream", model={"hidden": 4, "cell": cell}, optimizer={"name": name})
    result = charrnn("train", path)
    assert result.exit_code == 0, result.stderr
    assert "guessing is ln 1 = 0.0000" in result.stderr
    out = result.stdout.strip()
    assert is_clean(out)
    score = json.loads(charrnn("eval", out, "-", "--json", stdin="aaaa").stdout)
    assert (score["nats_per_char"], score["perplexity"], score["chars"]) == (0, 1, 3)
    assert charrnn("sample", out, "--n", 7, "-q").stdout == "a" * 7 + "\n"
    assert charrnn("sample", out, "--n", 3, "--count", 2, "-q", "-0").stdout == "aaa\0aaa\0"
    assert charrnn("eval", out).exit_code == 0
    assert charrnn("train", path, "--resume", "--set", "train.steps=30").exit_code == 0


def test_sums_of_squares_that_are_not_finite_are_not_loaded(trained):
    """A checkpoint with NaN or infinity in a sum of squares is refused."""
    saved = checkpoint.load(trained)
    for number in (math.inf, math.nan):
        saved.optimizer_state["squares"] = np.full_like(saved.optimizer_state["squares"], number)
        checkpoint.save(saved, trained)
        with pytest.raises(CheckpointError, match=r"optimizer\.squares holds numbers that are not"):
            checkpoint.load(trained)
