"""A text that tries to inject markup and control characters into the page that shows it."""

from charrnn.checkpoint import load as load_checkpoint
from charrnn.evaluation.evaluator import Score
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import page as pages

HOSTILE_TEXT = (
    "</script><script>alert(1)</script><!-- ]]> \"'` &lt; \x00\x1b[2J \u2028\u2029 "
    "\u202eevil\u2066 👩\u200d👩\u200d👧 <img src=x onerror=alert(2)> ${data}\ttab\n"
)


def hostile_page(path, folder):
    """Return the page of HOSTILE_TEXT and the checkpoint at `path`.

    Its first character is replaced by half of a surrogate pair.
    """
    (folder / "x.txt").write_text(HOSTILE_TEXT, encoding="utf-8", newline="")
    text = "\ud83d" + HOSTILE_TEXT[1:]
    with ScoringTask(load_checkpoint(path), str(folder / "x.txt"), skip_unknown=True) as task:
        task.name = "a <b> & \u202e\udcff.txt"
        return pages.render(task, "<i>&\u2066.npz", text, "float32", Score(100.0, len(text)))
