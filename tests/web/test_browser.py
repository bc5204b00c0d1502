"""The page in a real browser: Chromium without a window, driven by Playwright.

Skipped if either is missing: `pip install -e '.[test-browser]'`, and Debian's `chromium`.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from hostile_text import HOSTILE_TEXT, hostile_page
from run_helpers import LINES

from charrnn.checkpoint import load as load_checkpoint
from charrnn.cli.app import main
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import inspection as inspections
from charrnn.web import page as pages

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

PROSE = (
    'The cat said "no mat" (twice).\n\n    It sat; It sat, and it sat on a very long mat of 12.\n'
)
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of this file."""
    with playwright.sync_playwright() as driver:
        # Chromium cannot start its sandbox as root in a container.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class WrittenPages(NamedTuple):
    """The folder of the pages, and the inspection and the task of `prose.html`."""

    folder: Path
    inspection: inspections.Inspection
    task: ScoringTask


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Three pages: prose, names, and a text with markup and control characters."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in (
        ("prose", PROSE * 40),
        ("hostile", HOSTILE_TEXT * 30),
        ("names", LINES * 10),
    ):
        mode = "lines" if name == "names" else "stream"
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        (folder / f"{name}.yaml").write_text(
            f"corpus: {{path: {name}.txt, mode: {mode}}}\n"
            "model: {cell: lstm, hidden: 8, layers: 2}\n"
            "train: {steps: 60, seed: 1, batch_size: 8}\n"
            f"output: {{checkpoint: {name}.npz}}\n",
            encoding="utf-8",
        )
        result = CliRunner().invoke(main, ["train", str(folder / f"{name}.yaml"), "-q"])
        assert result.exit_code == 0, result.stderr
    (folder / "prose.txt").write_text(PROSE * 4, encoding="utf-8")
    task = ScoringTask(load_checkpoint(folder / "prose.npz"), str(folder / "prose.txt"), False)
    inspection = inspections.inspect_text(task)
    (folder / "prose.html").write_text(
        pages.render(task, inspection, "prose.npz"), encoding="utf-8"
    )
    paths = [str(folder / name) for name in ("names.npz", "names.txt", "names.html")]
    assert CliRunner().invoke(main, ["page", *paths[:2], "-o", paths[2]]).exit_code == 0
    page = hostile_page(folder / "hostile.npz", folder)
    (folder / "hostile.html").write_text(page, encoding="utf-8")
    return WrittenPages(folder, inspection, task)


@pytest.fixture
def visit(browser, written):
    """A function that opens a page, which must not log, raise, open a dialog or load anything."""
    events, contexts = [], []

    def visit(name="prose", **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        url = (written.folder / f"{name}.html").as_uri()
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url != url and events.append(request.url))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert events == []


def char(page, i):
    """Return the element of character i."""
    return page.locator("#text span").nth(i)


def focused(page):
    """Return the index of the character that has the focus."""
    return page.evaluate("spans.indexOf(document.activeElement)")


def levels(page):
    """Return the shade of every character (N,), negative for the colour of negative values."""
    shades = page.evaluate(
        "spans.map((span) => [Number(/\\ba(\\d)/.exec(span.className)[1]), "
        "span.classList.contains('negative')])"
    )
    return np.array([-level if negative else level for level, negative in shades])


def test_the_text_is_shaded_by_surprisal(visit, written):
    """Each character has a shade for its bits, up to eight; one that is not scored has none."""
    page, inspection = visit(), written.inspection
    assert page.evaluate("spans.length") == len(inspection.text)
    expected = np.minimum(np.floor(np.nan_to_num(inspection.bits)), 8)
    # A value near an integer may be rounded to another level.
    near = np.abs(inspection.bits - np.round(inspection.bits)) < 1e-4
    assert ((levels(page) == expected) | near).all()
    assert len(set(expected)) > 3
    paper, shade = (
        page.evaluate(f"getComputedStyle(spans[{i}]).backgroundColor")
        for i in (int(expected.argmin()), int(expected.argmax()))
    )
    assert paper != shade


@pytest.mark.parametrize("action", ["hover", "tap"])
def test_the_panel_shows_the_prediction_of_a_character(visit, written, action):
    """The panel shows the rank, probability and bits of a character, and the five likeliest."""
    _, inspection, task = written
    page = visit(**(PHONE if action == "tap" else {}))
    for i in (4, 31, 100):
        getattr(char(page, i), action)()
        rank, V, percent, bits = re.fullmatch(
            r"Rank (\d+) of (\d+), (?:[<≈] )?([\d.]+) %, ([\d.]+) bits",
            page.locator("#score").inner_text(),
        ).groups()
        assert (int(rank), int(V)) == (inspection.ranks[i], task.loaded.model.vocab_size)
        assert float(percent) == pytest.approx(100 * 2 ** -inspection.bits[i], abs=0.11)
        assert float(bits) == pytest.approx(inspection.bits[i], abs=0.006)
        rows = page.locator("#likeliest li").all_inner_texts()
        assert len(rows) == 5
        ids, probabilities = inspection.likeliest[:, i], inspection.probabilities[:, i]
        for row, id_, p in zip(rows, ids, probabilities, strict=True):
            letter, percent = row.split(maxsplit=1)
            expected = task.loaded.vocab.chars[id_]
            assert letter == {" ": "␣", "\n": "↵"}.get(expected, expected)
            assert float(re.search(r"[\d.]+", percent)[0]) == pytest.approx(100 * p, abs=0.11)
        in_top_five = inspection.ranks[i] <= 5
        assert page.locator("#likeliest .actual").count() == in_top_five


def test_the_keyboard_reaches_everything(visit, written):
    """Tab stops at the text, the buttons and the units; arrow keys move in the text."""
    page, text = visit(), written.inspection.text
    stops = []
    for _ in range(8):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("(e => e.id || e.className || e.tagName)(document.activeElement)")
        )
    assert stops[0] == "surprisal"
    assert "current" in stops[1].split()
    assert stops[2:5] == ["previous", "next", "SUMMARY"]
    buttons = "[...document.querySelectorAll('#units button')]"
    assert page.evaluate(f"{buttons}.indexOf(document.activeElement)") == 2
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Escape")
    char(page, 10).click()
    line = text.index("\n")
    end = text.index("\n", line + 2)  # of the third line, which is long
    for key, position in (
        ("ArrowRight", 11),
        ("ArrowLeft", 10),
        ("End", line),
        ("ArrowRight", line + 1),
        ("ArrowRight", line + 2),
        ("End", end),
        ("Home", line + 2),
        ("ArrowUp", line + 1),
        ("ArrowUp", 0),
        ("ArrowLeft", 0),
        ("ArrowDown", line + 1),
        ("PageUp", 0),
        ("Control+End", len(text) - 1),
        ("ArrowRight", len(text) - 1),
        ("Control+Home", 0),
    ):
        page.keyboard.press(key)
        assert focused(page) == position, key
        assert page.locator("#text [tabindex]").count() == 1
        assert page.locator("#text [aria-selected=true]").count() == 1
    page.keyboard.press("ArrowRight")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(f"{text[1]}. Rank {written.inspection.ranks[1]} of ")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_up_and_down_keep_the_column(visit, written):
    """Down and then up returns to the same character, also in a line that is wrapped."""
    page = visit(viewport={"width": 420, "height": 700})
    start = written.inspection.text.index("It sat;") + 3
    char(page, start).click()
    page.keyboard.press("ArrowDown")
    boxes = [char(page, i).bounding_box() for i in (start, focused(page))]
    assert boxes[1]["y"] > boxes[0]["y"]
    assert boxes[1]["x"] == pytest.approx(boxes[0]["x"], abs=1)
    assert written.inspection.text[start : focused(page)].count("\n") == 0
    page.keyboard.press("ArrowUp")
    assert focused(page) == start


def test_short_lines_are_in_columns(visit):
    """Short lines are in columns; the arrow keys follow the screen, Home and End the line."""
    page, text = visit("names"), LINES * 10
    rows = page.evaluate("[...document.querySelectorAll('.line')].map((line) => line.offsetTop)")
    columns = rows.count(rows[0])
    assert columns > 3
    assert rows == sorted(rows)
    starts = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]
    char(page, starts[1]).click()
    page.keyboard.press("ArrowDown")
    assert focused(page) == starts[1 + columns]
    page.keyboard.press("End")
    assert focused(page) == starts[2 + columns] - 1
    narrow = visit("names", **PHONE)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 320


def test_a_unit_shades_the_text(visit, written):
    """A unit shades the text by its activation until the button or Escape restores surprisal."""
    page, inspection = visit(), written.inspection
    before = levels(page)
    for index, selector in ((0, "#surprisal"), (3, None)):
        button = page.locator("#units button").nth(index)
        button.click()
        unit, layer, feature, r = re.fullmatch(
            r"unit (\d+) of layer (\d+), (.+), correlation ([−+][\d.]+)",
            button.get_attribute("aria-label"),
        ).groups()
        activation = inspection.activations[8 * (int(layer) - 1) + int(unit) - 1].astype(float)
        expected = 8 * np.nan_to_num(activation) / np.nanmax(np.abs(activation))
        assert np.abs(levels(page) - expected).max() < 0.55
        assert page.locator("#shading").inner_text().endswith(f"{feature}, {r}")
        assert page.locator("[aria-pressed=true]").count() == 1
        colours = [
            page.evaluate(f"getComputedStyle(spans[{int(i)}]).backgroundColor")
            for i in (np.nanargmin(activation), np.nanargmax(activation))
        ]
        assert colours[0] != colours[1]
        if selector:
            page.locator(selector).click()
        else:
            page.keyboard.press("Escape")
        assert (levels(page) == before).all()
        assert page.locator("#surprisal").get_attribute("aria-pressed") == "true"
    order = [float(b.replace("−", "-")) for b in page.locator("#units b").all_inner_texts()]
    assert max(map(abs, order)) == abs(order[0])


def test_a_hostile_text_is_only_text(visit):
    """Markup, scripts and control characters of a text are shown as characters, with no effect."""
    page = visit("hostile")
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img, iframe, #text b, #text script").count() == 0
    text = "".join(page.locator("#text span").all_text_contents())
    assert text.startswith("\\ud83d/script><script>alert(1)</script><!-- ]]>")
    for escape in (
        "\\x00",
        "\\x1b[2J",
        "\\u2028",
        "\\u2029",
        "\\u202eevil\\u2066",
        "\\u200d",
        "→tab↵",
    ):
        assert escape in text
    assert page.title() == "How <i>&\\u2066.npz predicts a <b> & \\u202e\\udcff.txt"
    page.evaluate("spans.forEach((_, i) => moveTo(i))")
    assert focused(page) == len(HOSTILE_TEXT) - 1


def contrast(colour, background):
    """Return the contrast ratio of WCAG 2.2 between two colours, each three numbers up to 255."""

    def luminance(colour):
        fractions = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in fractions]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(colour), luminance(background)))
    return (light + 0.05) / (dark + 0.05)


def rgba(colour):
    """Return the three numbers up to 255 and the opacity of a CSS colour."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    return np.array(numbers[:3]), numbers[3] if len(numbers) > 3 else 1.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_shade(visit, scheme):
    """Text and small print have a contrast of 4.5 to 1 or more in the light and the dark scheme."""
    page = visit(color_scheme=scheme)
    paper, _ = rgba(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper.mean() < 60) == (scheme == "dark")
    shades = set()
    for by_unit in (False, True):
        if by_unit:
            page.locator("#units button").first.click()
        for names in (f"a{level}{sign}" for level in range(9) for sign in ("", " negative")):
            ink, back = page.evaluate(
                "(names) => { spans[9].className = names; const s = getComputedStyle(spans[9]); "
                "return [s.color, s.backgroundColor]; }",
                names,
            )
            colour, alpha = rgba(back)
            shade = alpha * colour + (1 - alpha) * paper
            shades.add(tuple(shade.round()))
            assert contrast(rgba(ink)[0], shade) >= 4.5, (names, by_unit)
    assert len(shades) == 1 + 3 * 8  # every level has its own colour
    for selector, background in (
        ("header .quiet", "body"),
        ("#position", "aside"),
        ("#units b", "#units button"),
    ):
        ink, back = page.evaluate(
            "([a, b]) => [getComputedStyle(document.querySelector(a)).color, "
            "getComputedStyle(document.querySelector(b)).backgroundColor]",
            [selector, background],
        )
        assert contrast(rgba(ink)[0], rgba(back)[0]) >= 4.5, selector


def test_a_phone_needs_no_sideways_scrolling(visit, written):
    """On a screen 320 pixels wide nothing is cut off, and no bar covers the focused character.

    Buttons are at least 44 pixels high.
    """
    page = visit(**PHONE, **DARK)
    scroll_width = "document.documentElement.scrollWidth"
    assert page.evaluate(scroll_width) == 320
    assert not page.locator("#unit-panel").evaluate("details => details.open")
    char(page, 20).tap()
    for button in ("#previous", "#next", "#surprisal", "summary"):
        box = page.locator(button).bounding_box()
        assert min(box["width"], box["height"]) >= 44, button
    page.locator("#next").tap()
    assert page.evaluate("current") == 21
    panel = page.locator("aside").bounding_box()["y"]
    assert panel > 320
    char(page, 21).focus()
    for key in ["ArrowDown"] * 12 + ["ArrowUp"] * 12 + ["Control+End", "PageUp", "Control+Home"]:
        page.keyboard.press(key)
        box = char(page, focused(page)).bounding_box()
        bar = page.locator("#bar").bounding_box()
        assert bar["y"] + bar["height"] <= box["y"] + 1, key
        assert box["y"] + box["height"] <= panel + 1, key
    page.locator("summary").tap()
    page.locator("#units button").nth(1).tap()
    assert page.locator("#units button").nth(1).bounding_box()["height"] >= 44
    assert page.evaluate(scroll_width) == 320
    assert page.locator("aside").bounding_box()["y"] > 640 * 0.4
    assert "unit" in page.locator("#shading").inner_text()


def test_a_page_without_scripts_shows_a_notice(visit):
    """A page without scripts shows the score, and a notice in place of the text."""
    page = visit(java_script_enabled=False)
    assert "scripts are switched off" in page.locator("noscript").inner_text()
    assert "bits per character" in page.locator("header").inner_text()
