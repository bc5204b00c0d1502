"""The learning rate at every step, worked out by hand."""

import itertools

import pytest

from charrnn.config.schema import OptimizerConfig
from charrnn.training.schedules import Schedule
from charrnn.training.state import TrainingState


def rates(steps=100, per_epoch=10, **settings):
    schedule = Schedule(OptimizerConfig(learning_rate=2.0, **settings), steps, per_epoch)
    return [schedule.rate(step) for step in range(steps)]


def test_constant_is_constant():
    """From the first update on."""
    assert set(rates()) == {2.0}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "plateau"])
def test_every_schedule_can_warm_up(schedule):
    """In a straight line that reaches the whole rate with the last step of the warm-up."""
    found = rates(schedule=schedule, warmup=4, step_epochs=5)[:5]
    assert found[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert found[4] == pytest.approx(2.0, rel=1e-3)


def test_cosine_falls_to_its_final_share():
    """Half-way between at half time, never rising again."""
    found = rates(schedule="cosine", cosine_final_factor=0.1)
    assert found[0] == 2.0
    assert found[50] == pytest.approx(2.0 * 0.55)
    assert all(a > b for a, b in itertools.pairwise(found))
    end = Schedule(
        OptimizerConfig(learning_rate=2.0, schedule="cosine", cosine_final_factor=0.1), 100, 10
    )
    assert end.rate(100) == pytest.approx(0.2)
    assert end.rate(500) == pytest.approx(0.2)


def test_step_multiplies_every_so_many_epochs():
    """Ten steps an epoch, two epochs a change."""
    found = rates(schedule="step", decay_factor=0.5, step_epochs=2)
    assert found[:20] == [2.0] * 20
    assert found[20:40] == [1.0] * 20
    assert found[99] == 2.0 * 0.5**4


def test_plateau_waits_for_a_better_validation():
    """The rate falls after so many validations that were not better, and waits again."""
    config = OptimizerConfig(
        learning_rate=2.0, schedule="plateau", plateau_patience=2, decay_factor=0.1
    )
    schedule, progress = Schedule(config, 100, 10), TrainingState()
    found = []
    for nats in (3.0, 2.0, 2.1, 2.0, 1.9, 2.0, 2.0, 2.0, 2.0):
        progress.record_validation(nats)
        schedule.record_validation(progress.waited)
        found.append(schedule.rate(0))
    expected = [2.0, 2.0, 2.0, 0.2, 0.2, 0.2, 0.02, 0.02, 0.002]
    assert found == pytest.approx(expected)
