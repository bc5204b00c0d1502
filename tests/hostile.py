"""A text that would like to be part of the page that shows it."""

import dataclasses

from charrnn.checkpoint import load as load_checkpoint
from charrnn.evaluation.scoring_task import Subject
from charrnn.web import inspection as readings
from charrnn.web import page as pages

HOSTILE = (
    "</script><script>alert(1)</script><!-- ]]> \"'` &lt; \x00\x1b[2J \u2028\u2029 "
    "\u202eevil\u2066 👩\u200d👩\u200d👧 <img src=x onerror=alert(2)> ${reading}\ttab\n"
)


def hostile_page(path, folder):
    """The page of a text that would like to be part of it, half a surrogate pair included."""
    (folder / "x.txt").write_text(HOSTILE, encoding="utf-8", newline="")
    subject = Subject(load_checkpoint(path), str(folder / "x.txt"), skip_unknown=True)
    subject.name = "a <b> & \u202e\udcff.txt"
    found = readings.read(subject)
    assert found.text == HOSTILE
    return pages.page(subject, dataclasses.replace(found, text="\ud83d" + HOSTILE[1:]))
