"""Each schedule gives the learning rates that are computed by hand here."""

import itertools

import pytest

from charrnn.config.schema import OptimizerConfig
from charrnn.training.schedules import Schedule
from charrnn.training.state import TrainingState


def rates(steps=100, per_epoch=10, **settings):
    """Return the learning rate of every step of a schedule at a base rate of 2."""
    schedule = Schedule(OptimizerConfig(learning_rate=2.0, **settings), steps, per_epoch)
    return [schedule.rate(step) for step in range(steps)]


def test_constant_is_constant():
    """The constant schedule has the same rate at every step."""
    assert set(rates()) == {2.0}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "plateau"])
def test_every_schedule_can_warm_up(schedule):
    """Every schedule rises linearly to the full rate at the last step of the warm-up."""
    first = rates(schedule=schedule, warmup=4, step_epochs=5)[:5]
    assert first[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert first[4] == pytest.approx(2.0, rel=1e-3)


def test_cosine_falls_to_its_final_factor():
    """The cosine schedule always falls, is half-way at half time, and ends at its final factor."""
    cosine = rates(schedule="cosine", cosine_final_factor=0.1)
    assert cosine[0] == 2.0
    assert cosine[50] == pytest.approx(2.0 * 0.55)
    assert all(a > b for a, b in itertools.pairwise(cosine))
    schedule = Schedule(
        OptimizerConfig(learning_rate=2.0, schedule="cosine", cosine_final_factor=0.1), 100, 10
    )
    assert schedule.rate(100) == pytest.approx(0.2)
    assert schedule.rate(500) == pytest.approx(0.2)


def test_step_decays_every_step_epochs():
    """The step schedule multiplies the rate by its factor every two epochs of ten steps."""
    stepped = rates(schedule="step", decay_factor=0.5, step_epochs=2)
    assert stepped[:20] == [2.0] * 20
    assert stepped[20:40] == [1.0] * 20
    assert stepped[99] == 2.0 * 0.5**4


def test_a_point_has_the_rate_of_its_last_update(trainer):
    """A validation that lowers the rate logs the rate that led to it."""
    plateau = ("optimizer.schedule=plateau", "optimizer.plateau_patience=1")
    run = trainer(*plateau, "optimizer.learning_rate=1e-30")
    rates = []
    for _ in range(4):
        run.update()
        rates.append(run.validate().learning_rate)
    assert rates == pytest.approx([1e-30, 1e-30, 5e-31, 2.5e-31])


def test_plateau_waits_for_a_better_validation():
    """The rate falls after every two validations in a row that are not better."""
    config = OptimizerConfig(
        learning_rate=2.0, schedule="plateau", plateau_patience=2, decay_factor=0.1
    )
    schedule, state = Schedule(config, 100, 10), TrainingState()
    actual = []
    for nats in (3.0, 2.0, 2.1, 2.0, 1.9, 2.0, 2.0, 2.0, 2.0):
        state.record_validation(nats)
        schedule.record_validation(state.waited)
        actual.append(schedule.rate(0))
    expected = [2.0, 2.0, 2.0, 0.2, 0.2, 0.2, 0.02, 0.02, 0.002]
    assert actual == pytest.approx(expected)
