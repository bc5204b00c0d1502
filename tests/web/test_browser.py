"""The page in a real browser: Chromium without a window, driven by Playwright.

Skipped where either is missing: `pip install -e '.[test-browser]'`, and Debian's `chromium`.
"""

import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from hostile_text import HOSTILE_TEXT, hostile_page
from run_helpers import LINES

from charrnn.checkpoint import load as load_checkpoint
from charrnn.cli.app import main
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import inspection as readings
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
    """One for all tests."""
    with playwright.sync_playwright() as driver:
        # A sandbox needs rights that root in a container has not.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with three pages, and what `prose.html` shows."""
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
    found = readings.inspect_text(task)
    (folder / "prose.html").write_text(pages.render(task, found), encoding="utf-8")
    names = [str(folder / name) for name in ("names.npz", "names.txt", "names.html")]
    assert CliRunner().invoke(main, ["page", *names[:2], "-o", names[2]]).exit_code == 0
    page = hostile_page(folder / "hostile.npz", folder)
    (folder / "hostile.html").write_text(page, encoding="utf-8")
    return folder, found, task


@pytest.fixture
def visit(browser, made):
    """Opens a page; in the end nothing may have been said, asked for or fetched by it."""
    troubles, contexts = [], []

    def visit(name="prose", **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        url = (made[0] / f"{name}.html").as_uri()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url != url and troubles.append(request.url))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []


def char(page, i):
    return page.locator("#text span").nth(i)


def focused(page):
    """The number of the character that has the focus."""
    return page.evaluate("spans.indexOf(document.activeElement)")


def levels(page):
    """The shade of every character, below zero where it is the other colour."""
    found = page.evaluate(
        "spans.map((span) => [Number(/\\ba(\\d)/.exec(span.className)[1]), "
        "span.classList.contains('down')])"
    )
    return np.array([-level if down else level for level, down in found])


def test_the_text_is_shaded_by_surprisal(visit, made):
    """A level for each bit up to eight; the first character of a stream has none."""
    page, found = visit(), made[1]
    assert page.evaluate("spans.length") == len(found.text)
    expected = np.minimum(np.floor(np.nan_to_num(found.bits)), 8)
    near = np.abs(found.bits - np.round(found.bits)) < 1e-4  # another rounding, another level
    assert ((levels(page) == expected) | near).all()
    assert len(set(expected)) > 3
    paper, shaded = (
        page.evaluate(f"getComputedStyle(spans[{i}]).backgroundColor")
        for i in (int(expected.argmin()), int(expected.argmax()))
    )
    assert paper != shaded


@pytest.mark.parametrize("way", ["hover", "tap"])
def test_a_character_tells_what_was_expected_in_its_place(visit, made, way):
    """Its rank, probability and bits, and the five likeliest with theirs."""
    _, found, task = made
    page = visit(**(PHONE if way == "tap" else {}))
    for i in (4, 31, 100):
        getattr(char(page, i), way)()
        p = 2 ** -found.bits[i]
        said = page.locator("#figures").inner_text()
        rank, V, share, bits = re.fullmatch(
            r"Rank (\d+) of (\d+), (?:[<≈] )?([\d.]+) %, ([\d.]+) bits", said
        ).groups()
        assert (int(rank), int(V)) == (found.ranks[i], task.loaded.model.vocab_size)
        assert float(share) == pytest.approx(100 * p, abs=0.11)
        assert float(bits) == pytest.approx(found.bits[i], abs=0.006)
        rows = page.locator("#likeliest li").all_inner_texts()
        assert len(rows) == 5
        for row, id_, p in zip(rows, found.likeliest[:, i], found.probabilities[:, i], strict=True):
            letter, share = row.split(maxsplit=1)
            expected = task.loaded.vocab.chars[id_]
            assert letter == {" ": "␣", "\n": "↵"}.get(expected, expected)
            assert float(re.search(r"[\d.]+", share)[0]) == pytest.approx(100 * p, abs=0.11)
        among = found.ranks[i] <= 5
        assert page.locator("#likeliest .right").count() == among


def test_the_keyboard_reaches_everything(visit, made):
    """The text is one stop, in which arrows move; then come the buttons and the cells."""
    page, text = visit(), made[1].text
    stops = []
    for _ in range(8):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("(e => e.id || e.className || e.tagName)(document.activeElement)")
        )
    assert stops[0] == "surprisal"
    assert "at" in stops[1].split()
    assert stops[2:5] == ["previous", "next", "SUMMARY"]
    buttons = "[...document.querySelectorAll('#list button')]"
    assert page.evaluate(f"{buttons}.indexOf(document.activeElement)") == 2
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Escape")
    char(page, 10).click()
    line = text.index("\n")
    below = text.index("\n", line + 2)  # of the third line, which is long
    for key, at in (
        ("ArrowRight", 11),
        ("ArrowLeft", 10),
        ("End", line),
        ("ArrowRight", line + 1),
        ("ArrowRight", line + 2),
        ("End", below),
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
        assert focused(page) == at, key
        assert page.locator("#text [tabindex]").count() == 1
        assert page.locator("#text [aria-selected=true]").count() == 1
    page.keyboard.press("ArrowRight")
    spoken = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert spoken.startswith(f"{text[1]}. Rank {made[1].ranks[1]} of ")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_arrows_keep_to_their_column(visit, made):
    """Down and up again is where one was, also where a line is wrapped."""
    page = visit(viewport={"width": 420, "height": 700})
    start = made[1].text.index("It sat;") + 3
    char(page, start).click()
    page.keyboard.press("ArrowDown")
    boxes = [char(page, i).bounding_box() for i in (start, focused(page))]
    assert boxes[1]["y"] > boxes[0]["y"]
    assert boxes[1]["x"] == pytest.approx(boxes[0]["x"], abs=1)
    assert made[1].text[start : focused(page)].count("\n") == 0
    page.keyboard.press("ArrowUp")
    assert focused(page) == start


def test_short_lines_stand_side_by_side(visit):
    """As many as there is room for; the arrows follow what is seen, Home and End the line."""
    page, text = visit("names"), LINES * 10
    rows = page.evaluate("[...document.querySelectorAll('.line')].map((line) => line.offsetTop)")
    columns = rows.count(rows[0])
    assert columns > 3
    assert rows == sorted(rows)
    starts = [0, *(at + 1 for at, char in enumerate(text) if char == "\n")]
    char(page, starts[1]).click()
    page.keyboard.press("ArrowDown")
    assert focused(page) == starts[1 + columns]
    page.keyboard.press("End")
    assert focused(page) == starts[2 + columns] - 1
    narrow = visit("names", **PHONE)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 320


def test_a_cell_shades_the_text(visit, made):
    """By its activation, both ways from zero, until surprisal is asked for again."""
    page, found = visit(), made[1]
    before = levels(page)
    for number, back in ((0, "#surprisal"), (3, None)):
        button = page.locator("#list button").nth(number)
        button.click()
        about = button.get_attribute("aria-label")
        unit, layer, feature, r = re.fullmatch(
            r"cell (\d+) of layer (\d+), (.+), correlation ([−+][\d.]+)", about
        ).groups()
        cell = found.activations[8 * (int(layer) - 1) + int(unit) - 1].astype(float)
        shares = 8 * np.nan_to_num(cell) / np.nanmax(np.abs(cell))
        assert np.abs(levels(page) - shares).max() < 0.55
        assert page.locator("#shading").inner_text().endswith(f"{feature}, {r}")
        assert page.locator("[aria-pressed=true]").count() == 1
        colours = [
            page.evaluate(f"getComputedStyle(spans[{int(i)}]).backgroundColor")
            for i in (np.nanargmin(cell), np.nanargmax(cell))
        ]
        assert colours[0] != colours[1]
        if back:
            page.locator(back).click()
        else:
            page.keyboard.press("Escape")
        assert (levels(page) == before).all()
        assert page.locator("#surprisal").get_attribute("aria-pressed") == "true"
    order = [float(b.replace("−", "-")) for b in page.locator("#list b").all_inner_texts()]
    assert max(map(abs, order)) == abs(order[0])


def test_a_hostile_text_is_only_text(visit):
    """It opens nothing, runs nothing, turns nothing, and can be read character by character."""
    page = visit("hostile")
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img, iframe, #text b, #text script").count() == 0
    shown = "".join(page.locator("#text span").all_text_contents())
    assert shown.startswith("\\ud83d/script><script>alert(1)</script><!-- ]]>")
    for escape in (
        "\\x00",
        "\\x1b[2J",
        "\\u2028",
        "\\u2029",
        "\\u202eevil\\u2066",
        "\\u200d",
        "→tab↵",
    ):
        assert escape in shown
    assert page.title() == "What a network makes of a <b> & \\u202e\\udcff.txt"
    page.evaluate("spans.forEach((_, i) => move(i))")
    assert focused(page) == len(HOSTILE_TEXT) - 1


def contrast(one, other):
    """The ratio of WCAG 2.2 between two colours, each three numbers to 255."""

    def luminance(colour):
        shares = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def rgba(colour):
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    return np.array(numbers[:3]), numbers[3] if len(numbers) > 3 else 1.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_shade(visit, scheme):
    """At 4.5 to 1 or more, in the light and in the dark, and small print too."""
    page = visit(color_scheme=scheme)
    paper, _ = rgba(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper.mean() < 60) == (scheme == "dark")
    shades = set()
    for by_cell in (False, True):
        if by_cell:
            page.locator("#list button").first.click()
        for names in (f"a{level}{down}" for level in range(9) for down in ("", " down")):
            ink, back = page.evaluate(
                "(names) => { spans[9].className = names; const s = getComputedStyle(spans[9]); "
                "return [s.color, s.backgroundColor]; }",
                names,
            )
            colour, alpha = rgba(back)
            shade = alpha * colour + (1 - alpha) * paper
            shades.add(tuple(shade.round()))
            assert contrast(rgba(ink)[0], shade) >= 4.5, (names, by_cell)
    assert len(shades) == 1 + 3 * 8  # every level is another colour
    for selector, behind in (
        ("header .quiet", "body"),
        ("#place", "aside"),
        ("#list b", "#list button"),
    ):
        ink, back = page.evaluate(
            "([a, b]) => [getComputedStyle(document.querySelector(a)).color, "
            "getComputedStyle(document.querySelector(b)).backgroundColor]",
            [selector, behind],
        )
        assert contrast(rgba(ink)[0], rgba(back)[0]) >= 4.5, selector


def test_a_phone_needs_no_sideways_scrolling(visit, made):
    """At 320 points; targets are 44 high; what has the focus is not behind a bar."""
    page = visit(**PHONE, **DARK)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == 320
    assert not page.locator("#cells").evaluate("details => details.open")
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
    page.locator("#list button").nth(1).tap()
    assert page.locator("#list button").nth(1).bounding_box()["height"] >= 44
    assert page.evaluate(wide) == 320
    assert page.locator("aside").bounding_box()["y"] > 640 * 0.4
    assert "cell" in page.locator("#shading").inner_text()


def test_the_page_says_so_where_scripts_are_off(visit):
    """The score is there all the same."""
    page = visit(java_script_enabled=False)
    assert "scripts are switched off" in page.locator("noscript").inner_text()
    assert "bits per character" in page.locator("header").inner_text()
