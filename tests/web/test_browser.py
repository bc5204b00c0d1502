"""The parts of the page in a real browser: Write, Type, Read and Learn."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hostile_text import HOSTILE_TEXT, hostile_page
from run_helpers import LINES

from charrnn import api
from charrnn.evaluation.evaluator import PREDICTION
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import inspection

PROSE = (
    'The cat said "no mat" (twice).\n\n    It sat; It sat, and it sat on a very long mat of 12.\n'
)
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
TABS = ["write", "type", "read", "learn"]


class Pages(NamedTuple):
    """The pages by name; of `prose` also the text, the bits and ranks, and the activations."""

    paths: dict[str, Path]
    text: str
    bits: np.ndarray
    ranks: np.ndarray
    activations: np.ndarray
    model: api.TextModel


@pytest.fixture(scope="module")
def pages(train, run_command):
    """Pages of prose, of names, and of a text with markup and control characters."""
    paths, checkpoints = {}, {}
    for name, text in (
        ("prose", PROSE * 40),
        ("names", LINES * 10),
        ("hostile", HOSTILE_TEXT * 30),
    ):
        mode = "lines" if name == "names" else "stream"
        checkpoints[name] = train(name, text, mode, cell="lstm", layers=2)
        paths[name] = checkpoints[name].with_suffix(".html")
    for name, text in (("prose", PROSE * 20), ("names", LINES * 10)):
        path = checkpoints[name].with_suffix(".txt")
        path.write_text(text, encoding="utf-8")
        run_command("page", checkpoints[name], path, "-o", paths[name], "--dtype", "float32")
    page = hostile_page(checkpoints["hostile"], checkpoints["hostile"].parent)
    paths["hostile"].write_text(page, encoding="utf-8")
    model, text = api.load(str(checkpoints["prose"])), PROSE * 20
    (piece,) = model._score_pieces(text, PREDICTION, skip_unknown=False)
    path = str(checkpoints["prose"].with_suffix(".txt"))
    with ScoringTask(model.checkpoint, path, False) as task:
        activations = inspection.activations(task, text)
    bits, ranks = piece.values[0] / np.log(2), np.nan_to_num(piece.values[1]).astype(int)
    return Pages(paths, text, bits, ranks, activations, model)


def open_tab(page, tab):
    """Show a part of the page; of Read and Learn, wait until the first characters are scored."""
    page.locator(f"#tab-{tab}").click()
    if tab in ("read", "learn"):
        page.wait_for_function("() => blocks[0].numbers.length === blocks[0].stop")


def char(page, i):
    """Return the element of character i of the text that is read."""
    return page.locator("#text span").nth(i)


def focused(page):
    """Return the index of the character that has the focus."""
    return page.evaluate("document.activeElement.i")


def levels(page, selector="#text span"):
    """Return the shade of every character, negative for the colour of negative values."""
    names = page.locator(selector).evaluate_all("spans => spans.map((span) => span.className)")
    shades = [(int(re.search(r"a(\d)", name)[1]), "negative" in name) for name in names]
    return np.array([-level if negative else level for level, negative in shades])


def matches_bits(shades, bits):
    """Return whether shades are those of the bits; near an integer they may be rounded."""
    near = np.abs(bits - np.round(bits)) < 1e-3
    return bool(((shades == np.minimum(np.floor(np.nan_to_num(bits)), 8)) | near).all())


def written(page):
    """Return the text that was written, when it is at its end."""
    page.wait_for_function("() => $('stop').disabled && written")
    return page.evaluate("written")


def test_text_is_written_stopped_continued_and_copied(visit, pages):
    """Text streams in, Stop ends it, Continue resumes it, and Copy copies it."""
    page = visit(pages.paths["prose"], permissions=["clipboard-read", "clipboard-write"])
    options = {"seed": 5, "temperature": 0.8, "prime": "The"}
    page.locator("#seed").fill("5")
    page.locator("#prime").fill("The")
    page.locator("#temperature").fill("0.8")
    page.locator("#length").fill("150")
    page.locator("#start").click()
    text = written(page)
    assert text == pages.model.generate(150, **options)
    assert page.locator("#written").inner_text().startswith("The")
    assert page.locator("#warmth").inner_text() == "0.80"
    page.locator("#continue").click()
    page.wait_for_function("(n) => !isWriting && written.length > n", arg=len(text))
    assert page.evaluate("written") == pages.model.generate(300, **options)
    page.locator("#copy").click()
    page.wait_for_function("() => $('write-status').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == pages.model.generate(300, **options)
    page.locator("#length").fill("100000000")
    page.locator("#start").click()
    page.wait_for_function("() => written.length > 2000")
    page.locator("#stop").click()
    text = written(page)
    assert re.match(r"[\d,]+ characters with seed 5, ", page.locator("#write-status").inner_text())
    assert "".join(pages.model.sample(len(text) - 3, **options)) == text
    page.locator("#prime").fill("1#")
    page.locator("#start").click()
    page.wait_for_function("() => $('write-status').textContent === 'The model does not know #'")


def test_a_model_of_lines_writes_a_list(visit, pages):
    """A list has an element for each line; without a seed, the one that is drawn is shown."""
    page = visit(pages.paths["names"])
    page.locator("#length").fill("12")
    page.locator("#start").click()
    names = written(page).split("\n")
    assert len(names) == 13
    assert page.locator("#written .line").all_inner_texts() == names
    seed = re.search(r"seed (\d+)", page.locator("#write-status").inner_text())[1]
    page.locator("#seed").fill(seed)
    page.evaluate("['start', 'start'].forEach((id) => $(id).click())")  # the second run replaces
    page.wait_for_function("() => !isWriting && written.split('\\n').length === 13")
    assert written(page).split("\n") == names


def test_typed_text_is_shaded_and_predicted(visit, pages):
    """What is typed, also in its middle, is shaded by its bits; the next characters are listed."""
    page = visit(pages.paths["prose"])
    open_tab(page, "type")
    typed = page.locator("#typed")
    typed.press_sequentially("The cat sat on")
    for text in ("The cat sat on", "The mat sat on", "The mat sat it"):
        (piece,) = pages.model._score_pieces("\n" + text, PREDICTION, skip_unknown=False)
        bits = piece.nats[1:] / np.log(2)
        assert matches_bits(levels(page, "#backdrop span"), bits)
        np.testing.assert_allclose(page.evaluate("typedBits"), bits, atol=1e-5)
        rows = page.locator("#suggestions button").evaluate_all(
            "buttons => buttons.map((button) => button.getAttribute('aria-label'))"
        )
        expected = pages.model.next(text, top=5)
        names = {" ": "space", "\n": "newline"}
        assert [row.split(",")[0] for row in rows] == [names.get(c, c) for c, _ in expected]
        assert float(re.search(r"[\d.]+\s%", rows[0])[0][:-2]) == pytest.approx(
            100 * expected[0][1], abs=0.06
        )
        if text == "The cat sat on":
            typed.evaluate("(area) => area.setSelectionRange(4, 5)")
            page.keyboard.press("m")
        elif text == "The mat sat on":
            for key in ("Control+End", "Backspace", "Backspace", "i", "t"):
                page.keyboard.press(key)
    page.wait_for_function("() => /^14 characters, /.test($('type-status').textContent)")


def test_a_suggestion_is_taken_and_undone(visit, pages):
    """The right arrow, Alt with a digit and a tap take a character; Ctrl+Z takes it back."""
    page = visit(pages.paths["prose"], **PHONE)
    open_tab(page, "type")
    typed, text = page.locator("#typed"), "The c"
    typed.press_sequentially(text)
    for action in ("ArrowRight", "Alt+3", "tap", "Enter"):
        suggestions = [char for char, _ in pages.model.next(text, top=5)]
        if action == "tap":
            page.locator("#suggestions button").nth(1).tap()
        elif action == "Enter":
            page.locator("#suggestions button").nth(4).press("Enter")
        else:
            page.keyboard.press(action)
        text += suggestions[{"ArrowRight": 0, "Alt+3": 2, "tap": 1, "Enter": 4}[action]]
        assert typed.input_value() == text
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")  # moves in the text, as before its end
    assert typed.input_value() == text
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert typed.input_value().startswith("The c"[: len(typed.input_value())])
    assert len(typed.input_value()) < len(text)
    assert page.locator("#backdrop span").count() == len(typed.input_value())


def test_unknown_characters_are_marked(visit, pages):
    """An unknown character is underlined and left out; the characters around it are scored."""
    page = visit(pages.paths["prose"])
    open_tab(page, "type")
    page.locator("#typed").fill("Th👩e\u202e cat")
    assert page.locator("#backdrop span").count() == 9
    assert page.locator("#backdrop .unknown").all_inner_texts() == ["👩", "\u202e"]
    known = [level for k, level in enumerate(page.evaluate("typedBits")) if k not in (2, 4)]
    (piece,) = pages.model._score_pieces("\nThe cat", PREDICTION, skip_unknown=False)
    np.testing.assert_allclose(known, piece.nats[1:] / np.log(2), atol=1e-4)
    page.wait_for_function("() => /not know 2 of them$/.test($('type-status').textContent)")
    page.locator("#inspect").click()
    page.wait_for_function("() => blocks[0].numbers.length === 9")
    char(page, 2).click()
    assert page.locator("#score").inner_text() == "Not in the vocabulary of the model"
    page.locator("#tab-type").click()
    page.locator("#typed").fill("mat")
    page.locator("#tab-read").click()
    assert page.locator("#text span").all_inner_texts() == ["m", "a", "t"]
    page.locator("#source").select_option("given")
    page.wait_for_function("() => numbersOf(100)")
    assert page.locator("#text span").first.inner_text() == "T"


def test_the_text_is_shaded_by_surprisal(visit, pages):
    """Each character in view has a shade for its bits, up to eight."""
    page = visit(pages.paths["prose"])
    open_tab(page, "read")
    shades = levels(page)
    assert len(set(shades)) > 3
    assert matches_bits(shades, pages.bits[: len(shades)])
    paper, shade = (
        char(page, int(i)).evaluate("span => getComputedStyle(span).backgroundColor")
        for i in (shades.argmin(), shades.argmax())
    )
    assert paper != shade


def test_only_what_is_in_view_has_elements(visit, pages):
    """Blocks that leave the view lose their elements; the text's end is scored as by Python."""
    page = visit(pages.paths["prose"], viewport={"width": 1000, "height": 400})
    open_tab(page, "read")
    assert page.locator("#text span").count() < len(pages.text)
    char(page, 0).click()
    page.keyboard.press("Control+End")
    assert focused(page) == len(pages.text) - 1
    page.wait_for_function("() => frontier === characters.length && !isWorking")
    assert not page.evaluate("blocks[0].isShown")
    last = page.evaluate("numbersOf(current)")
    assert last["bits"] == pytest.approx(pages.bits[-1], abs=1e-4)
    assert page.evaluate("characters.join('')") == pages.text
    assert page.locator("#text").evaluate("box => box.textContent").count("↵") == 60


@pytest.mark.parametrize("action", ["hover", "tap"])
def test_the_panel_shows_the_prediction_of_a_character(visit, pages, action):
    """The panel shows the rank, probability and bits of a character, and the five likeliest."""
    page = visit(pages.paths["prose"], **(PHONE if action == "tap" else {}))
    open_tab(page, "read")
    for i in (4, 31, 100):
        getattr(char(page, i), action)()
        rank, V, percent, bits = re.fullmatch(
            r"Rank (\d+) of (\d+), (?:[<≈] )?([\d.]+)\s%, ([\d.]+) bits",
            page.locator("#score").inner_text(),
        ).groups()
        assert (int(rank), int(V)) == (pages.ranks[i], len(pages.model.vocab))
        assert float(percent) == pytest.approx(100 * 2 ** -pages.bits[i], abs=0.11)
        assert float(bits) == pytest.approx(pages.bits[i], abs=0.006)
        assert page.locator("#likeliest li").count() == 5
        assert page.locator("#likeliest .actual").count() == (pages.ranks[i] <= 5)
    char(page, 0).click()
    assert page.locator("#score").inner_text() == "Not scored"


def test_the_keyboard_reaches_everything(visit, pages):
    """Tab stops at the tabs, the controls and the text; arrow keys move in tabs and text."""
    page, text = visit(pages.paths["prose"]), pages.text
    page.keyboard.press("Tab")
    for tab in [*TABS[1:], *TABS]:
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert page.locator(f"#{tab}").is_visible()
        assert page.locator("[role=tabpanel]:visible, [aria-selected=true]:visible").count() >= 2
    page.keyboard.press("ArrowLeft")
    stops = []
    for _ in range(7):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("(e => e.id || e.className || e.tagName)(document.activeElement)")
        )
    assert stops[:2] == ["source", "shade"]
    assert "current" in stops[2].split()
    assert stops[3:6] == ["step", "step", "SUMMARY"]
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
        ("Control+End", len(text) - 1),
        ("ArrowRight", len(text) - 1),
        ("Control+Home", 0),
    ):
        page.keyboard.press(key)
        assert focused(page) == position, key
        assert page.locator("#text [tabindex='0']").count() == 1
        assert page.locator("#text [aria-selected=true]").count() == 1
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => numbersOf(1)")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(f"{text[1]}. Rank {pages.ranks[1]} of ")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_up_and_down_keep_the_column(visit, pages):
    """Down and then up returns to the same character, also in a line that is wrapped."""
    page = visit(pages.paths["prose"], viewport={"width": 420, "height": 700})
    open_tab(page, "read")
    start = pages.text.index("It sat;") + 3
    char(page, start).click()
    page.keyboard.press("ArrowDown")
    boxes = [char(page, i).bounding_box() for i in (start, focused(page))]
    assert boxes[1]["y"] > boxes[0]["y"]
    assert boxes[1]["x"] == pytest.approx(boxes[0]["x"], abs=1)
    assert "\n" not in pages.text[start : focused(page)]
    page.keyboard.press("ArrowUp")
    assert focused(page) == start


def test_a_unit_shades_the_text(visit, pages):
    """A unit, ranked or not, shades the text by its activation until Escape restores surprisal."""
    page = visit(pages.paths["prose"])
    open_tab(page, "read")
    before = levels(page)
    options = page.locator("#shade option").all_inner_texts()
    assert options[0] == "surprisal in bits"
    assert options[-16:] == [
        f"unit {unit} of layer {layer}" for layer in (1, 2) for unit in range(1, 9)
    ]
    for index in (1, 3, len(options) - 3):
        page.locator("#shade").select_option(index=index)
        unit, layer = re.match(r"unit (\d+) of layer (\d+)", options[index]).groups()
        activation = pages.activations[8 * (int(layer) - 1) + int(unit) - 1][: len(before)]
        shades = levels(page)
        scale = np.abs(pages.activations[8 * (int(layer) - 1) + int(unit) - 1])
        ratios = shades[:-1] / (8 * activation[:-1].astype(float) / np.nanmax(scale))
        strong = np.abs(activation[:-1]) > np.nanmax(scale) / 2
        np.testing.assert_allclose(ratios[strong], 1, atol=0.2)
        assert (shades < 0).any() == (np.nanmin(activation) < -np.nanmax(scale) / 16)
        page.keyboard.press("Escape")
        assert (levels(page) == before).all()
        assert page.locator("#shade").input_value() == ""


def test_the_strip_shows_the_states(visit, pages):
    """The strip has a row for each number of the state, and a column for each character."""
    page = visit(pages.paths["prose"])
    open_tab(page, "read")
    char(page, 100).click()
    pixels = page.evaluate("[...$('strip').getContext('2d').getImageData(0, 0, 121, 32).data]")
    alpha = np.array(pixels).reshape(32, 121, 4)[:, :, 3] / 255
    h = np.abs(pages.activations[:, 40:161])
    rows = [*range(8), *range(16, 24)]  # h of each layer; c is below it
    np.testing.assert_allclose(alpha[rows], h, atol=0.01)


def test_the_step_is_shown_with_its_equations(visit, pages):
    """Learn shows old state, gates, new state and logits of the current character's step."""
    page = visit(pages.paths["prose"])
    open_tab(page, "read")
    char(page, 50).click()
    page.locator("#tab-learn").click()
    names = page.locator("#steps .row code b").all_inner_texts()
    layer = ["h[t-1]", "c[t-1]", *(f"{x}_{g}" for x in "aq" for g in "ifog"), *"ifogch"]
    assert names == [*layer, *layer, "logits"]
    assert "f = sigmoid(a_f + q_f)" in page.locator("#steps code").all_inner_texts()
    for row, unit in ((15, slice(0, 8)), (31, slice(8, 16))):
        new_state = pages.activations[unit, 50]
        low, high = page.locator("#steps .range").nth(row).inner_text().split(" to ")
        shown = [float(number.replace("−", "-")) for number in (low, high)]
        np.testing.assert_allclose(shown, [new_state.min(), new_state.max()], atol=0.006)
    expected = pages.model.next(pages.text[:51], top=1)
    assert page.locator("#steps .bars li").count() == 5
    page.locator("#learn .step").nth(1).click()
    assert page.locator("#context .current").inner_text() == pages.text[51]
    page.locator("#learn .step").nth(0).click()
    shown = page.locator("#steps .bars .char").first.inner_text()
    assert shown == {" ": "␣", "\n": "↵"}.get(expected[0][0], expected[0][0])


def test_a_line_starts_from_the_zero_state(visit, pages):
    """In a list, the old state of the step that reads a newline is zero."""
    page = visit(pages.paths["names"])
    open_tab(page, "read")
    for i, is_zero in ((3, False), (4, True)):
        char(page, i).click()
        page.locator("#tab-learn").click()
        ranges = page.locator("#steps .range").all_inner_texts()
        assert (ranges[0] == "+0.00 to +0.00") == is_zero
        page.locator("#tab-read").click()


def test_a_hostile_text_is_only_text(visit, pages):
    """Markup, scripts and control characters are shown as characters, read, typed and written."""
    page = visit(pages.paths["hostile"])
    assert page.evaluate("document.scripts.length") == 3
    assert page.title() == "<i>&\\u2066.npz"
    page.locator("#length").fill("400")
    page.locator("#start").click()
    assert set(written(page)) <= {*HOSTILE_TEXT}
    shown = page.locator("#written").inner_text()
    assert not {"\x00", "\x1b", "\u202e"} & {*shown}
    open_tab(page, "type")
    page.locator("#typed").fill(HOSTILE_TEXT.replace("\x00", "") + "\ud83d")
    assert page.locator("#suggestions button").count() == 5
    open_tab(page, "read")
    assert page.locator("img, iframe, #text b, #text script, #written script").count() == 0
    text = "".join(page.locator("#text span").all_text_contents())
    assert text.startswith("\\u{d83d}/script><script>alert(1)</script><!-- ]]>")
    for escape in ("0", "1b", "2028", "2029", "202e", "2066", "200d"):
        assert f"\\u{{{escape}}}" in text
    assert "→tab↵" in text
    page.evaluate("characters.forEach((_, i) => moveTo(i))")
    assert focused(page) == len(HOSTILE_TEXT) - 1
    open_tab(page, "learn")


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
def test_text_stands_out_from_every_shade(visit, pages, scheme):
    """Text and small print have a contrast of 4.5 to 1 or more in the light and the dark scheme."""
    page = visit(pages.paths["prose"], color_scheme=scheme)
    open_tab(page, "read")
    paper, _ = rgba(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (paper.mean() < 60) == (scheme == "dark")
    shades = set()
    for index in (0, 1):
        page.locator("#shade").select_option(index=index)
        for names in (f"a{level}{sign}" for level in range(9) for sign in ("", " negative")):
            ink, back = char(page, 9).evaluate(
                "(span, names) => { span.className = names; const s = getComputedStyle(span); "
                "return [s.color, s.backgroundColor]; }",
                names,
            )
            colour, alpha = rgba(back)
            shade = alpha * colour + (1 - alpha) * paper
            shades.add(tuple(shade.round()))
            assert contrast(rgba(ink)[0], shade) >= 4.5, (names, index)
    assert len(shades) == 1 + 3 * 8  # every level has its own colour
    for selector, background in (
        ("header .quiet", "body"),
        ("#position", "aside"),
        ("[role=tab]", "body"),
        (".controls label", "body"),
        ("#shade", "#shade"),
    ):
        ink, back = page.evaluate(
            "([a, b]) => [getComputedStyle(document.querySelector(a)).color, "
            "getComputedStyle(document.querySelector(b)).backgroundColor]",
            [selector, background],
        )
        assert contrast(rgba(ink)[0], rgba(back)[0]) >= 4.5, selector


@pytest.mark.parametrize("name", ["prose", "names"])
def test_a_phone_needs_no_sideways_scrolling(visit, pages, name):
    """On a screen 390 pixels wide nothing is cut off, and no bar covers the focused character.

    Buttons are at least 44 pixels high.
    """
    page = visit(pages.paths[name], color_scheme="dark", **PHONE)
    scroll_width = "document.documentElement.scrollWidth"
    page.locator("#start").click()
    written(page)
    for tab in TABS:
        open_tab(page, tab)
        if tab == "type":
            page.locator("#typed").fill("mat" * 100)
        assert page.evaluate(scroll_width) == 390, tab
        for button in page.locator("button:visible, select:visible, summary:visible").all():
            box = button.bounding_box()
            assert min(box["width"], box["height"]) >= 44, button.inner_text()
    open_tab(page, "read")
    assert not page.locator("#state").evaluate("details => details.open")
    char(page, 20).tap()
    page.locator("#read .step").nth(1).tap()
    assert page.evaluate("current") == 21
    panel = page.locator("aside").bounding_box()["y"]
    assert panel > 320
    char(page, 21).focus()
    for key in ["ArrowDown"] * 12 + ["ArrowUp"] * 12 + ["Control+End", "Control+Home"]:
        page.keyboard.press(key)
        box = page.locator("#text [tabindex='0']").bounding_box()
        bar = page.locator("#bar").bounding_box()
        assert bar["y"] + bar["height"] <= box["y"] + 1, key
        assert box["y"] + box["height"] <= panel + 1, key
    page.locator("summary").tap()
    assert page.evaluate(scroll_width) == 390
    assert page.locator("aside").bounding_box()["y"] > 800 * 0.4


def test_reduced_motion_changes_the_page_less_often(visit, pages):
    """With prefers-reduced-motion a text appears in steps of a second, or at its end."""
    page = visit(pages.paths["prose"], reduced_motion="reduce")
    page.evaluate(
        "new MutationObserver(() => (window.changes = (window.changes ?? 0) + 1))"
        ".observe($('written'), { childList: true, subtree: true })"
    )
    page.locator("#length").fill("3000")
    page.locator("#start").click()
    assert len(written(page)) == 3000
    assert page.evaluate("changes") <= 3


def test_a_page_without_scripts_shows_a_notice(visit, pages):
    """A page without scripts shows the model, the score and a notice."""
    page = visit(pages.paths["prose"], java_script_enabled=False)
    assert "scripts are switched off" in page.locator("noscript").inner_text()
    assert "bits per character" in page.locator("main").inner_text()
