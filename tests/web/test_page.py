"""The page of `charrnn page`: its numbers, its hidden units and its escapes."""

import base64
import collections
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
from charrnn.web import inspection as inspections
from charrnn.web import page as pages
from charrnn.web import unit_features


class PageParser(html.parser.HTMLParser):
    """The elements, the text, and the scripts and styles of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.blocks, self.policy, self.text = [], {}, "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        self.block = f"{tag} {attributes.get('type', '')}".strip()

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.blocks[self.block] = self.blocks.get(self.block, "") + data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))


def script_data(page):
    """Return the data of a page's script, with its arrays unpacked."""
    data = json.loads(PageParser(page).blocks["script application/json"])
    types = {"text": "<u2", "bits": "<f4", "ranks": "<u2", "likeliest": "<u2"}
    types |= {"probabilities": "<u2", "activations": "i1"}
    for name, dtype in types.items():
        data[name] = np.frombuffer(base64.b64decode(data[name]), dtype)
    for name in ("likeliest", "probabilities"):
        data[name] = data[name].reshape(-1, data["K"])
    data["activations"] = data["activations"].reshape(len(data["units"]), -1)
    return data


def scoring_task(path, text, tmp_path):
    """Return a task that scores this text with the checkpoint at `path`."""
    (tmp_path / "text.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ScoringTask(load_checkpoint(path), str(tmp_path / "text.txt"), True)


@pytest.fixture
def train_model(config, charrnn):
    """A function that trains a small model for a few steps and returns its checkpoint's path."""

    def train(mode, **model):
        text = LINES * 3 if mode == "lines" else PROSE
        path = config(text, mode, f"{mode}", model={"hidden": 8, **model})
        return charrnn("train", path, "-q").stdout.strip()

    return train


def step_by_step(task, text, lines):
    """Return the probabilities (N, V) of each character and the activations (U, N) after it.

    The model runs one step at a time.
    """
    model, params = task.loaded.model, task.loaded.params
    ids = task.loaded.vocab.encode(text)
    newline = task.loaded.vocab.encode("\n")[0] if lines else None
    work = inspections.Workspace(model, 1, 1)
    activations = np.full((len(text), model.layers * model.hidden), np.nan)
    probabilities = np.full((len(text), model.vocab_size), np.nan)
    state = model.zero_state(1)
    previous = None
    for i, target in enumerate(ids):
        if lines and (i == 0 or ids[i - 1] == newline):
            previous, state = newline, model.zero_state(1)
        if previous is not None:
            batch = Batch(np.array([[previous]]), np.array([[target]]))
            _, state = model.forward(params, batch, state, work)
            probabilities[i] = work.logits[0]
            if i and not (lines and ids[i - 1] == newline):
                activations[i - 1] = np.concatenate([layer.hs_flat[0] for layer in work.layers])
        previous = target
    return probabilities, activations.T


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_an_inspection_equals_a_run_step_by_step(train_model, tmp_path, mode, cell, layers):
    """An inspection has the predictions before each character and the activations after it."""
    text = (LINES + "a\nbob\n") * 20
    task = scoring_task(train_model(mode, cell=cell, layers=layers), text, tmp_path)
    inspection = inspections.inspect_text(task)
    p, activations = step_by_step(task, text, mode == "lines")
    ids = task.loaded.vocab.encode(text)
    assert inspection.text == text
    assert inspection.length == len(text)
    first = 1 if mode == "stream" else 0
    target_p = p[np.arange(len(ids)), ids]
    np.testing.assert_allclose(inspection.bits, -np.log2(target_p), atol=1e-4)
    assert np.isnan(inspection.bits).sum() == first
    probabilities = inspection.probabilities[:, first:]
    highest = np.sort(p, axis=1)[:, :-6:-1].T
    np.testing.assert_allclose(probabilities, highest[:, first:], atol=1e-5)
    likeliest_p = np.take_along_axis(p, inspection.likeliest.T, axis=1).T
    np.testing.assert_allclose(probabilities, likeliest_p[:, first:], atol=1e-5)
    ranks = 1 + (p > target_p.reshape(-1, 1)).sum(axis=1)
    assert (inspection.ranks[first:] == ranks[first:]).mean() > 0.99  # ties may differ
    np.testing.assert_allclose(inspection.activations, activations, atol=2e-3)
    nats = np.nansum(inspection.bits) * math.log(2)
    assert inspection.score.total_nats == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_only_the_beginning_is_inspected_and_all_is_scored(
    train_model, tmp_path, mode, monkeypatch
):
    """A shorter inspection has the same numbers and score, and reads a stream in short chunks."""
    path, text = train_model(mode), LINES * 60
    full = inspections.inspect_text(scoring_task(path, text, tmp_path))
    calls, score_sequence = [], Evaluator.score_sequence

    def recording(self, ids, state, readout=None):
        calls.append((readout.rows, len(ids)))
        return score_sequence(self, ids, state, readout)

    monkeypatch.setattr(Evaluator, "score_sequence", recording)
    part = inspections.inspect_text(scoring_task(path, text, tmp_path), max_chars=2000)
    assert (part.text, part.length) == (text[:2000], len(text))
    assert part.score == full.score
    np.testing.assert_allclose(part.bits, full.bits[:2000], atol=1e-5)
    np.testing.assert_allclose(part.activations[:, :-1], full.activations[:, :1999], atol=1e-3)
    if mode == "stream":
        assert max(length for rows, length in calls if rows > 1) <= inspections.CHUNK_CHARS + 1


def test_unknown_characters_and_empty_lines_have_no_activation(train_model, tmp_path):
    """Unknown characters and empty lines have no bits and no activation.

    In a list, the newline that ends a line has no activation either.
    """
    inspection = inspections.inspect_text(
        scoring_task(train_model("lines"), "anna\n\nb#b", tmp_path)
    )
    assert inspection.text == "anna\n\nb#b\n"
    assert np.flatnonzero(np.isnan(inspection.bits)).tolist() == [5, 7]
    assert np.flatnonzero(np.isnan(inspection.activations[0])).tolist() == [4, 5, 7, 9]
    inspection = inspections.inspect_text(scoring_task(train_model("stream"), "#an#na", tmp_path))
    assert np.flatnonzero(np.isnan(inspection.bits)).tolist() == [0, 1, 3]
    assert np.flatnonzero(np.isnan(inspection.activations[0])).tolist() == [0, 3, 5]


def test_the_likeliest_characters_are_in_order():
    """The likeliest characters are in order: five, or all of a smaller vocabulary."""
    for V in (2, 7):
        model, params = networks.network(vocab_size=V)
        batch = networks.batch(vocab_size=V)
        work = inspections.Workspace(model, *batch.ids.shape)
        model.forward(params, batch, model.zero_state(batch.ids.shape[1]), work)
        readout = inspections.inspection_readout(model)
        rows, K = readout.extract(work), min(5, V)
        assert len(rows) == readout.rows == 2 + 2 * K + networks.H
        ordered = np.argsort(-work.logits, axis=1)[:, :K].T
        assert (rows[2 : 2 + K] == ordered).all()


FEATURES = {
    "white space": ("a b\tc\n", "010101"),
    "vowel": ("aeiouyÉx", "11111010"),
    "upper case": ("aBÉ1", "0110"),
    "digit": ("a1b2", "0101"),
    "punctuation": ("a.,$b", "01110"),
    "first letter of a word": ("ab cd_e f", "100100001"),
    "position in the line": ("ab\ncd", "12012"),
    "position in the word": ("ab, c", "12001"),
    "position in the sentence": ("a. b", "1012"),
    "line after an empty line": ("a\n\nbc\nd", "0001100"),
    "indentation depth": ("  a\nb\n\tc\n", "022000440"),
    "inside quotes": ('a "b c" it\'s d', "00111100000000"),
    "inside brackets": ("f(a[1]) ) (b", "011111000000"),
    "inside a comment": ("a # b\nc /* d */", "001110001111111"),
    "inside a URL": ("a http://b.c d", "00111111111100"),
}


@pytest.mark.parametrize("name", unit_features.FEATURES)
def test_a_feature_has_a_number_for_every_character(name):
    """Each feature of a short text has the numbers that were counted by hand."""
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
    """An apostrophe does not open or close a quotation, and no quotation has an empty line."""
    values = unit_features.FEATURES["inside quotes"](text)
    assert "".join(str(int(value)) for value in values) == expected


def test_a_rare_feature_is_left_out():
    """A feature is left out if fewer than ten characters have it, or fewer than ten lack it."""
    text = "ab cd\n" * 20
    assert set(unit_features.features(text)) == {
        "white space",
        "vowel",
        "first letter of a word",
        "position in the line",
        "position in the word",
        "position in the sentence",
    }
    assert "digit" not in unit_features.features(text + "123456789")
    assert "digit" in unit_features.features(text + "1234567890")
    assert unit_features.features("") == {}


def test_correlations_are_pearsons():
    """Correlations equal NumPy's; they are 0 for a constant, and skip characters not read."""
    rng = np.random.default_rng(0)
    activations, features = rng.normal(size=(70, 300)), rng.normal(size=(4, 300))
    activations[3] = 0.25  # constant
    activations[:, ::7] = np.nan
    is_read = ~np.isnan(activations[0])
    correlations = unit_features.correlations(activations.astype(np.float16), features)
    for u, f in itertools.product((0, 5, 69), range(4)):
        expected = np.corrcoef(activations[u, is_read], features[f, is_read])[0, 1]
        assert correlations[u, f] == pytest.approx(expected, abs=1e-3)
    assert (correlations[3] == 0).all()


def test_the_most_correlated_unit_comes_first():
    """Units are in order of correlation, of either sign, with the best one of every feature."""
    text = 'He said "no way" (twice). ' * 40
    features = {name: feature(text) for name, feature in unit_features.FEATURES.items()}
    activations = np.random.default_rng(1).normal(size=(8, len(text)))
    for unit, (name, weight) in enumerate(
        [("white space", 9), ("inside quotes", -6), ("white space", -7), ("inside brackets", 3)]
    ):
        activations[unit] += weight * features[name]
    pairs = unit_features.most_correlated(activations, text, 30, 8)
    correlations = unit_features.correlations(
        activations, np.stack([*unit_features.features(text).values()])
    )
    names = list(unit_features.features(text))
    for pair in pairs:
        exact = correlations[pair.unit, names.index(pair.feature)]
        assert pair.correlation == pytest.approx(exact)
    strengths = [abs(pair.correlation) for pair in pairs]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == pytest.approx(np.abs(correlations).max())
    signs = {(pair.unit, pair.feature, pair.correlation > 0) for pair in pairs}
    assert signs >= {
        (0, "white space", True),
        (1, "inside quotes", False),
        (2, "white space", False),
        (3, "inside brackets", True),
    }
    assert {pair.unit for pair in pairs} == set(range(8))
    firsts = {(int(np.abs(correlations[:, f]).argmax()), name) for f, name in enumerate(names)}
    for count, per_feature in ((len(names), 8), (30, 1)):
        pairs = unit_features.most_correlated(activations, text, count, per_feature)
        assert {(pair.unit, pair.feature) for pair in pairs} == firsts
    assert len(unit_features.most_correlated(activations, text, 3, 8)) == 3


def test_a_text_without_features_still_has_units():
    """The units of a text without features are paired with no feature."""
    (pair,) = unit_features.most_correlated(np.zeros((1, 3)), "abc", 5, 5)
    assert pair == unit_features.UnitFeature(0, "", 0.0)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_page_contains_the_inspection(charrnn, train_model, tmp_path, mode):
    """A page contains the inspection, with activations in 8 bits; its path is on stdout."""
    path = train_model(mode, layers=2)
    text = tmp_path / "a.txt"
    text.write_text(LINES * 20, encoding="utf-8")
    result = charrnn("page", path, text, "-o", tmp_path / "page.html")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'page.html'}\n"
    data = script_data((tmp_path / "page.html").read_text(encoding="utf-8"))
    inspection = inspections.inspect_text(ScoringTask(load_checkpoint(path), str(text), True))
    assert "".join(chr(data["codePoints"][i]) for i in data["text"]) == inspection.text
    np.testing.assert_allclose(data["bits"], inspection.bits, atol=1e-6)
    assert (data["ranks"] == inspection.ranks).all()
    vocab = load_checkpoint(path).vocab
    scored = inspection.ranks > 0
    for k in range(data["K"]):
        letters = "".join(chr(data["codePoints"][i]) for i in data["likeliest"][scored, k])
        assert letters == vocab.decode(inspection.likeliest[k, scored].tolist())
    np.testing.assert_allclose(data["probabilities"].T / 65535, inspection.probabilities, atol=1e-5)
    assert len({(unit["layer"], unit["unit"]) for unit in data["units"]}) == 16
    for unit, row in zip(data["units"], data["activations"], strict=True):
        exact = inspection.activations[(unit["layer"] - 1) * 8 + unit["unit"] - 1]
        assert ((row == -128) == np.isnan(exact)).all()
        is_read = row != -128
        np.testing.assert_allclose(
            row[is_read] / 127 * unit["scale"], exact[is_read], atol=unit["scale"] / 200
        )
        assert unit["scale"] == pytest.approx(np.nanmax(np.abs(exact)), abs=1e-4)


def test_the_page_of_the_validation_part_goes_to_stdout(charrnn, trained, tmp_path):
    """With `-o -` stdout has the page alone; its head has the score that `eval` prints."""
    result = charrnn("page", trained, "-o", "-")
    assert result.exit_code == 0
    assert result.stdout.startswith("<!DOCTYPE html>")
    assert result.stdout.endswith("</html>\n")
    score = json.loads(charrnn("eval", trained, "--json").stdout)
    text = PageParser(result.stdout).text
    assert f"{score['bits_per_char']:.4f} bits per character" in text
    name = str(tmp_path / "small.npz")
    name = name if len(name) <= 60 else "…" + name[-59:]
    assert f"How {name} predicts the validation part of corpus.txt" in text


def test_a_page_and_the_log_name_the_part_of_a_long_text(charrnn, trained, tmp_path, monkeypatch):
    """A page of the beginning of a text has a notice, and so has stderr without -q."""
    monkeypatch.setattr(pages, "MAX_CHARS", 30)
    arguments = ["page", trained, "-", "-o", tmp_path / "page.html"]
    result = charrnn(*arguments, stdin=LINES)
    part = f"the first 30 of {len(LINES)} characters"
    assert f"the page shows {part}; the score is that of the whole text" in result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{part} are shown".lower() in PageParser(page).text.lower()
    assert len(script_data(page)["text"]) == 30
    assert charrnn(*arguments, "-q", stdin=LINES).stderr == ""


def test_the_heading_names_the_checkpoint_and_the_text(charrnn, trained, tmp_path, monkeypatch):
    """The heading has the names as they were typed; of a long one the end; stdin is named too."""
    monkeypatch.chdir(tmp_path)
    for text, name in (("t.txt", "t.txt"), ("./" * 50 + "t.txt", "…" + "./" * 27 + "t.txt")):
        (tmp_path / "t.txt").write_text(LINES, encoding="utf-8")
        page = charrnn("page", "small.npz", text, "-o", "-").stdout
        assert page.count(f"How small.npz predicts {name}<") == 2  # title and heading
    page = charrnn("page", "-", "t.txt", "-o", "-", stdin=(tmp_path / "small.npz").read_bytes())
    assert "<h1>How standard input predicts t.txt</h1>" in page.stdout
    (tmp_path / "more.txt").write_text(LINES, encoding="utf-8")
    path = charrnn("train", "small.yaml", "--set", "corpus.path=[corpus.txt, more.txt]", "--force")
    page = charrnn("page", path.stdout.strip(), "-o", "-").stdout
    assert "the validation part of corpus.txt and 1 more</h1>" in page


def test_nothing_of_a_text_is_markup(charrnn, config, tmp_path):
    """A page about markup has the elements of any other page, and the characters of its text."""
    path = charrnn("train", config(HOSTILE_TEXT * 30, "stream"), "-q").stdout.strip()
    page = hostile_page(path, tmp_path)
    usual = charrnn("page", path, "-o", "-").stdout
    assert [tag for tag, _ in PageParser(page).tags] == [tag for tag, _ in PageParser(usual).tags]
    data = script_data(page)
    text = "".join(chr(data["codePoints"][i]) for i in data["text"])
    assert text == "\ud83d" + HOSTILE_TEXT[1:]
    block = re.search(r'<script type="application/json" id="inspection">(.*?)</script>', page)[1]
    assert not set("<>&") & set(block)
    assert block.isascii()
    assert "How &lt;i&gt;&amp;\\u2066.npz predicts a &lt;b&gt; &amp; \\u202e\\udcff.txt<" in page
    assert not [char for char in page if not char.isprintable() and char != "\n"]


def test_invisible_characters_are_shown_as_escapes():
    """Invisible characters and lone surrogates are shown as escapes, newline and tab as marks."""
    labels = {"\x00": "\\x00", "\u202e": "\\u202e", "\u200d": "\\u200d", "\ud83d": "\\ud83d"}
    labels |= {"\n": "↵", "\t": "→", "é": "é", " ": " ", "👩": "👩", "\xa0": "\\xa0"}
    assert {char: pages._label(char) for char in labels} == labels


def test_a_policy_allows_only_the_blocks_of_the_page(charrnn, trained):
    """The policy allows two blocks by their hashes; the page loads nothing, inline or remote."""
    page = charrnn("page", trained, "-o", "-").stdout
    parser = PageParser(page)
    assert parser.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in parser.policy
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parser.blocks[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in parser.policy
    for _, attributes in parser.tags:
        assert not {"style", "src", "href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML", page)


def test_a_page_does_not_replace_its_inputs(charrnn, trained, tmp_path):
    """A page is refused if its path is the checkpoint or the text, also through a link."""
    (tmp_path / "t.txt").write_text(LINES, encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "t.txt")
    for target in (trained, tmp_path / "t.txt", tmp_path / "link"):
        result = charrnn("page", trained, tmp_path / "t.txt", "-o", target)
        assert result.exit_code == 2
        assert f"-o {target} is an input file: choose another path" in result.stderr
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == LINES


def test_a_page_that_cannot_be_written_leaves_no_file(charrnn, trained, tmp_path):
    """A page that fails leaves no file, and an older page stays as it is."""
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
    """A page has a limited number of characters, of units, and of units for each feature."""
    path = charrnn("train", config(PROSE, "stream", model={"hidden": 100}), "-q").stdout.strip()
    (tmp_path / "t.txt").write_text(PROSE * 40, encoding="utf-8", newline="")
    result = charrnn("page", path, tmp_path / "t.txt", "-o", "-", "-q")
    data = script_data(result.stdout)
    assert len(data["text"]) == min(inspections.MAX_CHARS, len(PROSE) * 40)
    assert len(data["units"]) <= pages.MAX_UNITS
    counts = collections.Counter(unit["feature"] for unit in data["units"])
    assert max(counts.values()) <= pages.MAX_UNITS_PER_FEATURE
    assert len(result.stdout) < 2.5e6
