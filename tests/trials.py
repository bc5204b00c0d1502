"""A watcher that can stop a run, a small text, and what two checkpoints of one run must share."""

import json

import numpy as np
import pytest

from charrnn import checkpoint

LINES = "anna\nbob\nanna\nclara\ndiego\nemil\nfrieda\ngustav\nhanna\nida\njonas\nkarla\n"
PROSE = LINES * 9 + "the cat sat on the mat;\nthe dog sat on the log.\n" * 9
TEXT = "".join(f"{n} times {n} makes {n * n}; " for n in range(300))
TIMELESS = {"seconds", "recent_seconds"}


class Silent:
    """Watches a run without a word, and can stop it at a step."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.reports = []
        self.trainer = None

    def started(self, *figures):
        self.initial = figures

    def ticked(self, *figures): ...
    def sampled(self, *figures): ...
    def ended(self, message): ...
    def troubled(self, message): ...

    def validated(self, report):
        self.reports.append(report)

    def stop_requested(self):
        return self.trainer is not None and self.trainer.step == self.stop_at


def contents(path):
    """Every array of a checkpoint as bytes and every number in its meta, but for the clock's."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays.pop("meta")))
    meta["progress"] = {k: v for k, v in meta["progress"].items() if k not in TIMELESS}
    arrays["history"] = np.delete(arrays["history"], 1, axis=1)  # seconds
    return {name: array.tobytes() for name, array in arrays.items()} | meta


def metrics(path):
    """The rows of a .jsonl file, but for the clock's numbers."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "chars_per_s")} for r in rows]


def assert_alike(path, other):
    """The same numbers in two checkpoints, to 1e-10, but for the clock's."""
    one, two = checkpoint.load(str(path)), checkpoint.load(str(other))
    np.testing.assert_allclose(one.params.flat, two.params.flat, rtol=0, atol=1e-10)
    np.testing.assert_allclose(one.state, two.state, rtol=0, atol=1e-10)
    for slot, vector in one.slots.items():
        np.testing.assert_allclose(vector, two.slots[slot], rtol=0, atol=1e-10)
    clockless = [0, 2, 3, 4]
    np.testing.assert_allclose(
        one.history[:, clockless], two.history[:, clockless], rtol=0, atol=1e-10
    )
    for progress in (one.progress, two.progress):
        del progress["seconds"], progress["recent_seconds"]
    assert one.progress["schedule"] == pytest.approx(two.progress["schedule"], abs=1e-10)
    assert one.progress["position"] == two.progress["position"]
    plain = [
        {key: value for key, value in progress.items() if key not in ("schedule", "position")}
        for progress in (one.progress, two.progress)
    ]
    assert plain[0] == pytest.approx(plain[1], abs=1e-8)


def save(run, path):
    """Write the checkpoint of a run as it is; DivergedError rather than NaN."""
    checkpoint.save(run.snapshot(), str(path))
