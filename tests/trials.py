"""A watcher that can stop a run, a small text, and what two checkpoints of one run must share."""

import json

import numpy as np

from charrnn.training.loop import StopAsked

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

    def check(self):
        if self.trainer is not None and self.trainer.step == self.stop_at:
            raise StopAsked


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
