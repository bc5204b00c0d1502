"""A text that tries to inject markup and control characters into the page that shows it."""

import dataclasses

from charrnn.checkpoint import load as load_checkpoint
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import inspection as inspections
from charrnn.web import page as pages

HOSTILE_TEXT = (
    "</script><script>alert(1)</script><!-- ]]> \"'` &lt; \x00\x1b[2J \u2028\u2029 "
    "\u202eevil\u2066 👩\u200d👩\u200d👧 <img src=x onerror=alert(2)> ${inspection}\ttab\n"
)


def hostile_page(path, folder):
    """Return the page of HOSTILE_TEXT, scored by the checkpoint at `path`.

    Its first character is replaced by half of a surrogate pair.
    """
    (folder / "x.txt").write_text(HOSTILE_TEXT, encoding="utf-8", newline="")
    task = ScoringTask(load_checkpoint(path), str(folder / "x.txt"), skip_unknown=True)
    task.name = "a <b> & \u202e\udcff.txt"
    inspection = inspections.inspect_text(task)
    assert inspection.text == HOSTILE_TEXT
    inspection = dataclasses.replace(inspection, text="\ud83d" + HOSTILE_TEXT[1:])
    return pages.render(task, inspection, "<i>&\u2066.npz")
