"""Small texts, callbacks that record and stop a run, and comparisons of checkpoints and metrics."""

import json

import numpy as np
import pytest

from charrnn import checkpoint

LINES = "anna\nbob\nanna\nclara\ndiego\nemil\nfrieda\ngustav\nhanna\nida\njonas\nkarla\n"
PROSE = LINES * 9 + "the cat sat on the mat;\nthe dog sat on the log.\n" * 9
TEXT = "".join(f"{n} times {n} makes {n * n}; " for n in range(300))
TIME_FIELDS = {"seconds", "recent_seconds"}  # of the training state: they differ in every run


class RecordingCallbacks:
    """Callbacks that print nothing, collect the validation reports and can stop a run at a step.

    To stop it, set `trainer` before the run starts.
    """

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.reports = []
        self.trainer = None

    def on_start(self, trainer, initial_nats):
        self.initial_nats = initial_nats

    def on_step(self, trainer): ...
    def on_sample(self, step, text): ...
    def on_end(self, message): ...
    def on_warning(self, message): ...

    def on_validation(self, trainer, point):
        self.reports.append(point)

    def stop_requested(self):
        return self.trainer is not None and self.trainer.step == self.stop_at


def contents(path):
    """Return the arrays of a checkpoint as bytes and its meta, without the measured times.

    The result is one dictionary: two runs with equal results have equal dictionaries.
    """
    with np.load(path, allow_pickle=False) as npz:
        arrays = dict(npz)
    meta = json.loads(str(arrays.pop("meta")))
    meta["training_state"] = {
        key: value for key, value in meta["training_state"].items() if key not in TIME_FIELDS
    }
    arrays["history"] = np.delete(arrays["history"], 1, axis=1)  # without the seconds
    return {name: array.tobytes() for name, array in arrays.items()} | meta


def metrics(path):
    """Return the rows of a .jsonl file as dictionaries, without the measured times."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    time_keys = ("seconds", "chars_per_s")
    return [{key: value for key, value in row.items() if key not in time_keys} for row in rows]


def assert_checkpoints_close(actual_path, expected_path):
    """Check that two checkpoints have the same numbers, to 1e-10, except for measured times.

    The numbers of the training state, which are sums, agree to 1e-8.
    """
    actual, expected = checkpoint.load(str(actual_path)), checkpoint.load(str(expected_path))
    np.testing.assert_allclose(actual.params.flat, expected.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(actual.state, expected.state, rtol=0, atol=1e-10)
    for slot, vector in actual.optimizer_state.items():
        np.testing.assert_allclose(vector, expected.optimizer_state[slot], rtol=0, atol=1e-10)
    columns = [0, 2, 3]  # of the history; column 1 has the seconds
    np.testing.assert_allclose(
        actual.history[:, columns], expected.history[:, columns], rtol=0, atol=1e-10
    )
    for state in (actual.training_state, expected.training_state):
        del state["seconds"], state["recent_seconds"]
    assert actual.training_state["schedule"] == pytest.approx(
        expected.training_state["schedule"], abs=1e-10
    )
    assert actual.training_state["position"] == expected.training_state["position"]
    scalars = [
        {key: value for key, value in state.items() if key not in ("schedule", "position")}
        for state in (actual.training_state, expected.training_state)
    ]
    assert scalars[0] == pytest.approx(scalars[1], abs=1e-8)


def save(run, path):
    """Write the checkpoint of a run at its current step.

    Raises DivergedError when a number is not finite.
    """
    checkpoint.save(run.snapshot(), str(path))
