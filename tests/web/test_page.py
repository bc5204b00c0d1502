"""The page of `charrnn eval --html`: what it holds, says of the cells, and escapes."""

import base64
import hashlib
import html.parser
import itertools
import json
import math
import re

import networks
import numpy as np
import pytest
from hostile_text import HOSTILE_TEXT, hostile_page
from run_helpers import LINES, PROSE

from charrnn.arrays import Batch
from charrnn.checkpoint import load as load_checkpoint
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.web import inspection as readings
from charrnn.web import page as pages
from charrnn.web import unit_features


class Parts(html.parser.HTMLParser):
    """The elements of a page, and what its scripts and styles hold."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.held, self.policy, self.text = [], {}, "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        self.within = f"{tag} {attributes.get('type', '')}".strip()

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.held[self.within] = self.held.get(self.within, "") + data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))


def shown(parts):
    """What the page's script is given, its arrays unpacked."""
    facts = json.loads(parts.held["script application/json"])
    types = {"text": "<u2", "bits": "<f4", "ranks": "<u2", "likeliest": "<u2"}
    types |= {"probabilities": "<u2", "activations": "i1"}
    for name, dtype in types.items():
        facts[name] = np.frombuffer(base64.b64decode(facts[name]), dtype)
    for name in ("likeliest", "probabilities"):
        facts[name] = facts[name].reshape(-1, facts["K"])
    facts["activations"] = facts["activations"].reshape(len(facts["cells"]), -1)
    return facts


def subject_of(path, text, tmp_path):
    (tmp_path / "subject.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ScoringTask(load_checkpoint(path), str(tmp_path / "subject.txt"), True)


@pytest.fixture
def model_of(config, charrnn):
    """Trains a small model for a moment; returns its checkpoint."""

    def train(mode, **model):
        text = LINES * 3 if mode == "lines" else PROSE
        path = config(text, mode, f"{mode}", model={"hidden": 8, **model})
        return charrnn("train", path, "-q").stdout.strip()

    return train


def by_hand(task, text, lines):
    """Probabilities (N, V) of every character and the cells (C, N) after it, a step at a time."""
    model, params = task.loaded.model, task.loaded.params
    ids = task.loaded.vocab.encode(text)
    newline = task.loaded.vocab.encode("\n")[0] if lines else None
    work = readings.Workspace(model, 1, 1)
    cells = np.full((len(text), model.layers * model.hidden), np.nan)
    expected = np.full((len(text), model.vocab_size), np.nan)
    state = model.zero_state(1)
    previous = None
    for place, target in enumerate(ids):
        if lines and (place == 0 or ids[place - 1] == newline):
            previous, state = newline, model.zero_state(1)
        if previous is not None:
            before = Batch(np.array([[previous]]), np.array([[target]]))
            _, state = model.forward(params, before, state, work)
            expected[place] = work.logits[0]
            if place and not (lines and ids[place - 1] == newline):
                cells[place - 1] = np.concatenate([layer.outputs[0] for layer in work.layers])
        previous = target
    return expected, cells.T


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_a_reading_is_what_the_network_did(model_of, tmp_path, mode, cell, layers):
    """Forecasts from before a character, cells from after it, whatever the cell and the mode."""
    text = (LINES + "a\nbob\n") * 20
    task = subject_of(model_of(mode, cell=cell, layers=layers), text, tmp_path)
    found = readings.inspect_text(task)
    p, cells = by_hand(task, text, mode == "lines")
    ids = task.loaded.vocab.encode(text)
    assert found.text == text
    assert found.length == len(text)
    first = 1 if mode == "stream" else 0
    of_target = p[np.arange(len(ids)), ids]
    np.testing.assert_allclose(found.bits, -np.log2(of_target), atol=1e-4)
    assert np.isnan(found.bits).sum() == first
    likeliest = np.sort(p, axis=1)[:, :-6:-1].T
    np.testing.assert_allclose(found.probabilities[:, first:], likeliest[:, first:], atol=1e-5)
    of_those = np.take_along_axis(p, found.likeliest.T, axis=1).T
    np.testing.assert_allclose(found.probabilities[:, first:], of_those[:, first:], atol=1e-5)
    ranks = 1 + (p > of_target.reshape(-1, 1)).sum(axis=1)
    assert (found.ranks[first:] == ranks[first:]).mean() > 0.99  # but for ties
    np.testing.assert_allclose(found.activations, cells, atol=2e-3)  # in 16 bits
    assert found.score.total_nats == pytest.approx(np.nansum(found.bits) * math.log(2), rel=1e-5)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_only_the_beginning_is_kept_and_all_of_it_scored(model_of, tmp_path, mode, monkeypatch):
    """The first characters are what they are in the whole; no window is larger than a chunk."""
    path, text = model_of(mode), LINES * 60
    whole = readings.inspect_text(subject_of(path, text, tmp_path))
    rows, follow = [], Evaluator.score_sequence

    def watched(self, ids, state, readout=None):
        rows.append((readout.rows, len(ids)))
        return follow(self, ids, state, readout)

    monkeypatch.setattr(Evaluator, "score_sequence", watched)
    part = readings.inspect_text(subject_of(path, text, tmp_path), most=2000)
    assert (part.text, part.length) == (text[:2000], len(text))
    assert part.score == whole.score
    np.testing.assert_allclose(part.bits, whole.bits[:2000], atol=1e-5)
    np.testing.assert_allclose(part.activations[:, :-1], whole.activations[:, :1999], atol=1e-3)
    if mode == "stream":
        assert max(length for width, length in rows if width > 1) <= readings.CHUNK_CHARS + 1


def test_unknown_and_empty_lines_have_no_activation(model_of, tmp_path):
    """Nor bits; in a list, neither has the newline that ends a line."""
    found = readings.inspect_text(subject_of(model_of("lines"), "anna\n\nb#b", tmp_path))
    assert found.text == "anna\n\nb#b\n"
    assert np.flatnonzero(np.isnan(found.bits)).tolist() == [5, 7]
    assert np.flatnonzero(np.isnan(found.activations[0])).tolist() == [4, 5, 7, 9]
    found = readings.inspect_text(subject_of(model_of("stream"), "#an#na", tmp_path))
    assert np.flatnonzero(np.isnan(found.bits)).tolist() == [0, 1, 3]
    assert np.flatnonzero(np.isnan(found.activations[0])).tolist() == [0, 3, 5]


def test_the_likeliest_come_in_order_and_are_all_there_are():
    """Also where the vocabulary has fewer than five characters."""
    for V in (2, 7):
        model, params = networks.network(vocab_size=V)
        batch = networks.batch(vocab_size=V)
        work = readings.Workspace(model, *batch.ids.shape)
        model.forward(params, batch, model.zero_state(batch.ids.shape[1]), work)
        readout = readings.inspection_readout(model)
        found, K = readout.extract(work), min(5, V)
        assert len(found) == readout.rows == 2 + 2 * K + networks.H
        ordered = np.argsort(-work.logits, axis=1)[:, :K].T
        assert (found[2 : 2 + K] == ordered).all()


FEATURES = {
    "white space": ("a b\tc\n", "010101"),
    "vowel": ("aeiouyÉx", "11111010"),
    "upper case": ("aBÉ1", "0110"),
    "digit": ("a1b2", "0101"),
    "punctuation": ("a.,$b", "01110"),
    "first letter of a word": ("ab cd_e f", "100100001"),
    "place in the line": ("ab\ncd", "12012"),
    "place in the word": ("ab, c", "12001"),
    "place in the sentence": ("a. b", "1012"),
    "line after an empty one": ("a\n\nbc\nd", "0001100"),
    "depth of indentation": ("  a\nb\n\tc\n", "022000440"),
    "inside quotes": ('a "b c" it\'s d', "00111100000000"),
    "inside brackets": ("f(a[1]) ) (b", "011111000000"),
    "inside a comment": ("a # b\nc /* d */", "001110001111111"),
    "inside a URL": ("a http://b.c d", "00111111111100"),
}


@pytest.mark.parametrize("name", unit_features.FEATURES)
def test_a_feature_is_read_off_the_text(name):
    """A number for every character; all of them are checked here by eye."""
    text, expected = FEATURES[name]
    assert "".join(str(int(value)) for value in unit_features.FEATURES[name](text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"one\n\ntwo"', "0" * 10),
        ('"a\nb" c', "1111000"),
        ("‘it’s so’ b", "11111111000"),
        ("l'eau d'or", "0" * 10),
        ("x = 'a b'", "000011110"),
        ("«a» „b“ `c`", "11001100110"),
    ],
)
def test_quotes_open_and_close(text, expected):
    """Not by an apostrophe, and not beyond an empty line."""
    found = unit_features.FEATURES["inside quotes"](text)
    assert "".join(str(int(value)) for value in found) == expected


def test_a_rare_feature_says_nothing():
    """Ten characters must have it, and ten lack it."""
    text = "ab cd\n" * 20
    assert set(unit_features.features(text)) == {
        "white space",
        "vowel",
        "first letter of a word",
        "place in the line",
        "place in the word",
        "place in the sentence",
    }
    assert "digit" not in unit_features.features(text + "123456789")
    assert "digit" in unit_features.features(text + "1234567890")
    assert unit_features.features("") == {}


def test_correlations_are_pearsons():
    """As NumPy computes them, where both vary; what was not read does not count."""
    rng = np.random.default_rng(0)
    cells, features = rng.normal(size=(70, 300)), rng.normal(size=(4, 300))
    cells[3] = 0.25  # constant
    cells[:, ::7] = np.nan
    read = ~np.isnan(cells[0])
    found = unit_features.correlations(cells.astype(np.float16), features)
    for c, f in itertools.product((0, 5, 69), range(4)):
        expected = np.corrcoef(cells[c, read], features[f, read])[0, 1]
        assert found[c, f] == pytest.approx(expected, abs=1e-3)
    assert (found[3] == 0).all()


def test_the_most_telling_cell_comes_first():
    """Whatever its sign; each feature's best cell is among the few that are kept."""
    text = 'He said "no way" (twice). ' * 40
    features = {name: feature(text) for name, feature in unit_features.FEATURES.items()}
    noise = np.random.default_rng(1).normal(size=(8, len(text)))
    cells = noise.copy()
    for cell, (name, share) in enumerate(
        [("white space", 9), ("inside quotes", -6), ("white space", -7), ("inside brackets", 3)]
    ):
        cells[cell] += share * features[name]
    found = unit_features.most_correlated(cells, text, 30, 8)
    correlations = unit_features.correlations(
        cells, np.stack([*unit_features.features(text).values()])
    )
    names = list(unit_features.features(text))
    for each in found:
        exact = correlations[each.unit, names.index(each.feature)]
        assert each.correlation == pytest.approx(exact)
    sizes = [abs(each.correlation) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(np.abs(correlations).max())
    told = {(each.unit, each.feature, each.correlation > 0) for each in found}
    assert told >= {
        (0, "white space", True),
        (1, "inside quotes", False),
        (2, "white space", False),
        (3, "inside brackets", True),
    }
    assert {each.unit for each in found} == set(range(8))
    firsts = {(int(np.abs(correlations[:, f]).argmax()), name) for f, name in enumerate(names)}
    for count, each_of in ((len(names), 8), (30, 1)):
        few = unit_features.most_correlated(cells, text, count, each_of)
        assert {(each.unit, each.feature) for each in few} == firsts
    assert len(unit_features.most_correlated(cells, text, 3, 8)) == 3


def test_a_text_without_features_still_has_cells():
    """They follow nothing."""
    (only,) = unit_features.most_correlated(np.zeros((1, 3)), "abc", 5, 5)
    assert only == unit_features.UnitFeature(0, "", 0.0)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_page_holds_the_reading(charrnn, model_of, tmp_path, mode):
    """Characters, bits, ranks, guesses, and cells to a byte; the page's path is on stdout."""
    path = model_of(mode, layers=2)
    text = tmp_path / "a.txt"
    text.write_text(LINES * 20, encoding="utf-8")
    result = charrnn("page", path, text, "-o", tmp_path / "page.html")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    facts, found = (
        shown(Parts(page)),
        readings.inspect_text(ScoringTask(load_checkpoint(path), str(text), True)),
    )
    assert "".join(chr(facts["points"][i]) for i in facts["text"]) == found.text
    np.testing.assert_allclose(facts["bits"], found.bits, atol=1e-6)
    assert (facts["ranks"] == found.ranks).all()
    vocab = load_checkpoint(path).vocab
    scored = found.ranks > 0
    for k in range(facts["K"]):
        letters = "".join(chr(facts["points"][i]) for i in facts["likeliest"][scored, k])
        assert letters == vocab.decode(found.likeliest[k, scored].tolist())
    np.testing.assert_allclose(facts["probabilities"].T / 65535, found.probabilities, atol=1e-5)
    assert len({(cell["layer"], cell["unit"]) for cell in facts["cells"]}) == 16
    for cell, row in zip(facts["cells"], facts["activations"], strict=True):
        exact = found.activations[(cell["layer"] - 1) * 8 + cell["unit"] - 1]
        assert ((row == -128) == np.isnan(exact)).all()
        read = row != -128
        np.testing.assert_allclose(
            row[read] / 127 * cell["most"], exact[read], atol=cell["most"] / 200
        )
        assert cell["most"] == pytest.approx(np.nanmax(np.abs(exact)), abs=1e-4)


def test_the_page_of_the_validation_part_goes_to_stdout(charrnn, trained):
    """Alone: its head has the score."""
    result = charrnn("page", trained, "-o", "-")
    assert result.exit_code == 0
    assert result.stdout.startswith("<!DOCTYPE html>")
    assert result.stdout.endswith("</html>\n")
    facts = json.loads(charrnn("eval", trained, "--json").stdout)
    assert f"{facts['bits_per_char']:.4f} bits per character" in Parts(result.stdout).text
    assert "What a network makes of the validation part" in Parts(result.stdout).text


def test_a_long_text_is_cut_and_both_say_so(charrnn, trained, tmp_path, monkeypatch):
    """The page and stderr, unless -q; the score is that of the whole text."""
    monkeypatch.setattr(pages, "MAX_CHARS", 30)
    words = ["page", trained, "-", "-o", tmp_path / "page.html"]
    result = charrnn(*words, stdin=LINES)
    said = f"the first 30 of {len(LINES)} characters"
    assert f"the page shows {said}; the score is that of the whole text" in result.stderr
    parts = Parts((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert f"{said} are shown".lower() in parts.text.lower()
    assert len(shown(parts)["text"]) == 30
    assert charrnn(*words, "-q", stdin=LINES).stderr == ""


def _written(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_nothing_of_a_text_is_markup(charrnn, config, tmp_path):
    """The elements are those of any page, and the data says what the text said."""
    path = charrnn("train", config(HOSTILE_TEXT * 30, "stream"), "-q").stdout.strip()
    page = hostile_page(path, tmp_path)
    usual = charrnn("page", path, "-o", "-").stdout
    assert [tag for tag, _ in Parts(page).tags] == [tag for tag, _ in Parts(usual).tags]
    facts = shown(Parts(page))
    assert "".join(chr(facts["points"][i]) for i in facts["text"]) == "\ud83d" + HOSTILE_TEXT[1:]
    block = re.search(r'<script type="application/json" id="reading">(.*?)</script>', page)[1]
    assert not set("<>&") & set(block)
    assert block.isascii()
    assert "a &lt;b&gt; &amp; \\u202e\\udcff.txt" in page
    assert not [char for char in page if not char.isprintable() and char != "\n"]


def test_what_cannot_be_seen_is_shown_as_an_escape():
    """So is half of a surrogate pair; a newline and a tab have signs of their own."""
    shown = {"\x00": "\\x00", "\u202e": "\\u202e", "\u200d": "\\u200d", "\ud83d": "\\ud83d"}
    shown |= {"\n": "↵", "\t": "→", "é": "é", " ": " ", "👩": "👩", "\xa0": "\\xa0"}
    assert {char: pages._label(char) for char in shown} == shown


def test_a_policy_lets_only_these_blocks_run(charrnn, trained):
    """By their hashes; nothing is fetched, and no attribute runs or styles anything."""
    page = charrnn("page", trained, "-o", "-").stdout
    parts = Parts(page)
    assert parts.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in parts.policy
    for kind, block in (("style", "style"), ("script", "script")):
        digest = base64.b64encode(hashlib.sha256(parts.held[block].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in parts.policy
    for _, attributes in parts.tags:
        assert not {"style", "src", "href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML", page)


def test_a_page_replaces_nothing_that_is_read(charrnn, trained, tmp_path):
    """Neither the checkpoint nor the text, by whatever name."""
    (tmp_path / "t.txt").write_text(LINES, encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "t.txt")
    for target in (trained, tmp_path / "t.txt", tmp_path / "link"):
        result = charrnn("page", trained, tmp_path / "t.txt", "-o", target)
        assert result.exit_code == 2
        assert f"-o {target} would replace what is read" in result.stderr
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == LINES


def test_a_page_that_cannot_be_written_leaves_no_trace(charrnn, trained, tmp_path):
    """Nor does one about a text that cannot be scored; an older page stays."""
    result = charrnn("page", trained, "-o", tmp_path / "none" / "page.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "page.html cannot be written: No such file or directory" in result.stderr
    assert "Choose another path with --out FILE" in result.stderr
    (tmp_path / "page.html").write_text("old", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    result = charrnn("page", trained, "-", "-o", tmp_path / "page.html", stdin="anna#\n")
    assert result.exit_code == 1
    assert "--unknown skip" in result.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_stays_small(charrnn, config, tmp_path):
    """Of a wide network only the most telling cells are in it, and no feature takes them all."""
    path = charrnn("train", config(PROSE, "stream", model={"hidden": 100}), "-q").stdout.strip()
    result = charrnn("page", path, _written(tmp_path / "t.txt", PROSE * 40), "-o", "-", "-q")
    facts = shown(Parts(result.stdout))
    assert len(facts["text"]) == min(readings.MAX_CHARS, len(PROSE) * 40)
    assert len(facts["cells"]) <= pages.MAX_UNITS
    counts = {}
    for cell in facts["cells"]:
        counts[cell["feature"]] = counts.get(cell["feature"], 0) + 1
    assert max(counts.values()) <= pages.MAX_UNITS_PER_FEATURE
    assert len(result.stdout) < 2.5e6
