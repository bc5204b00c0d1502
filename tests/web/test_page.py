"""The file of `charrnn page`: weights, text, ranked hidden units, heading, escapes and policy."""

import base64
import collections
import hashlib
import html.parser
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hostile_text import HOSTILE_TEXT, hostile_page
from run_helpers import LINES, PROSE

from charrnn import checkpoint
from charrnn.arrays import Batch
from charrnn.evaluation.scoring_task import ScoringTask
from charrnn.nn.workspace import Workspace
from charrnn.web import inspection, unit_features
from charrnn.web import page as pages


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
        self.block = attributes.get("id", tag)

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.blocks[self.block] = self.blocks.get(self.block, "") + data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))


def page_data(page):
    """Return the data of a page's scripts, with the arrays unpacked."""
    data = json.loads(PageParser(page).blocks["data"])
    for name in ("weights", "startStates"):
        raw = base64.b64decode(data[name])
        data[name] = np.frombuffer(raw, {"float16": "<f2", "float32": "<f4"}[data["dtype"]])
    return data


def scoring_task(path, text, tmp_path):
    """Return a task that scores this text with the checkpoint at `path`."""
    (tmp_path / "text.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ScoringTask(checkpoint.load(path), str(tmp_path / "text.txt"), True)


@pytest.fixture
def train_model(config, charrnn):
    """A function that trains a small model for a few steps and returns its checkpoint's path."""

    def train(mode, **model):
        text = LINES * 3 if mode == "lines" else PROSE
        path = config(text, mode, f"{mode}", model={"hidden": 8, **model})
        return charrnn("train", path, "-q").stdout.strip()

    return train


def states_step_by_step(task, text, lines):
    """Return the activations (U, N) after each character; the model runs one step at a time."""
    model, params, vocab = task.loaded.model, task.loaded.params, task.loaded.vocab
    ids = vocab.encode(text)
    newline = vocab.encode("\n")[0] if lines else None
    work, state = Workspace(model, 1, 1), model.zero_state(1)
    activations = np.full((len(text), model.layers * model.hidden), np.nan)
    for i, id_ in enumerate(ids[:-1]):
        if lines and (i == 0 or ids[i - 1] == newline):
            start = Batch(np.array([[newline]]), np.array([[id_]]))
            _, state = model.forward(params, start, model.zero_state(1), work)
        if lines and id_ == newline:
            continue
        batch = Batch(np.array([[id_]]), np.array([[ids[i + 1]]]))
        _, state = model.forward(params, batch, state, work)
        activations[i] = np.concatenate([layer.hs_flat[0] for layer in work.layers])
    return activations.T


@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 2), ("lstm", 2)])
def test_activations_equal_a_run_step_by_step(train_model, tmp_path, mode, cell, layers):
    """The activations of all hidden units are those after each character."""
    text = (LINES + "a\nbob\n") * 20
    path = train_model(mode, cell=cell, layers=layers)
    with scoring_task(path, text, tmp_path) as task:
        expected = states_step_by_step(task, text, mode == "lines")
        np.testing.assert_allclose(inspection.activations(task, text), expected, atol=1e-5)


def test_unknown_characters_and_empty_lines_have_no_activation(train_model, tmp_path):
    """Unknown characters and empty lines have no activation.

    In a list, the newline that ends a line has no activation either.
    """
    for mode, text, missing in (
        ("lines", "anna\n\nb#b", [4, 5, 7, 8]),
        ("stream", "#an#na", [0, 3, 5]),
    ):
        with scoring_task(train_model(mode), text, tmp_path) as task:
            activations = inspection.activations(task, text)
        assert np.flatnonzero(np.isnan(activations[0])).tolist() == missing


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
    """The units of each feature are those of the strongest correlations, of either sign."""
    text = 'He said "no way" (twice). ' * 40
    features = {name: feature(text) for name, feature in unit_features.FEATURES.items()}
    activations = np.random.default_rng(1).normal(size=(8, len(text)))
    for unit, (name, weight) in enumerate(
        [("white space", 9), ("inside quotes", -6), ("white space", -7), ("inside brackets", 3)]
    ):
        activations[unit] += weight * features[name]
    names = list(unit_features.features(text))
    correlations = unit_features.correlations(
        activations, np.stack([*unit_features.features(text).values()])
    )
    for per_feature in (1, 3, 20):
        pairs = unit_features.most_correlated(activations, text, per_feature)
        assert len(pairs) == len(names) * min(per_feature, 8)
        strengths = [abs(pair.correlation) for pair in pairs]
        assert strengths == sorted(strengths, reverse=True)
        for f, name in enumerate(names):
            units = [pair.unit for pair in pairs if pair.feature == name]
            assert units == np.argsort(-np.abs(correlations[:, f]))[:per_feature].tolist()
        for pair in pairs:
            exact = correlations[pair.unit, names.index(pair.feature)]
            assert pair.correlation == pytest.approx(exact)
    signs = {(pair.unit, pair.feature, pair.correlation > 0) for pair in pairs}
    assert {
        (0, "white space", True),
        (1, "inside quotes", False),
        (3, "inside brackets", True),
    } <= signs


def test_a_text_without_features_has_no_ranked_units():
    """A text without features ranks no unit."""
    assert unit_features.most_correlated(np.zeros((1, 3)), "abc", 5) == []


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_page_has_the_model_and_the_text(charrnn, train_model, tmp_path, mode):
    """A page has weights, start states, vocabulary and text, and no number of a character."""
    path, text = train_model(mode, layers=2), tmp_path / "a.txt"
    text.write_text(LINES * 20, encoding="utf-8")
    result = charrnn("page", path, text, "-o", tmp_path / "page.html", "--dtype", "float32")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'page.html'}\n"
    data = page_data((tmp_path / "page.html").read_text(encoding="utf-8"))
    loaded = checkpoint.load(path)
    assert data["text"] == LINES * 20
    assert "".join(map(chr, data["codePoints"])) == loaded.vocab.chars
    assert (data["weights"] == loaded.params.flat).all()
    assert (data["cell"], data["L"], data["H"], data["lines"]) == ("rnn", 2, 8, mode == "lines")
    if mode == "stream":
        states = data["startStates"].reshape(-1, 2, 1, 8)
        assert (states.transpose(1, 2, 0, 3) == loaded.starts.state).all()
        assert data["startIds"] == loaded.starts.ids.tolist()
    else:
        assert len(data["startStates"]) == len(data["startIds"]) == 0
    assert {(unit["layer"], unit["unit"]) for unit in data["units"]} <= {*np.ndindex(2, 8)}
    assert {unit["feature"] for unit in data["units"]} >= {"vowel", "position in the line"}
    others = {key: value for key, value in data.items() if key not in ("weights", "startStates")}
    numbers = {key: value for key, value in others.items() if isinstance(value, list)}
    assert set(numbers) == {"startIds", "codePoints", "units"}


def test_float16_is_the_default_where_the_loss_stays(charrnn, trained, monkeypatch):
    """The default is float16 unless the loss changes too much; --dtype decides, and is scored."""
    weights = checkpoint.load(trained).params.flat
    pages_by_dtype = {}
    for limit, option, dtype in (
        (0.001, [], "float16"),
        (1e-12, [], "float32"),
        (0.001, ["--dtype", "float32"], "float32"),
        (1e-12, ["--dtype", "float16"], "float16"),
    ):
        monkeypatch.setattr(pages, "FLOAT16_NATS", limit)
        page = charrnn("page", trained, "-o", "-", *option).stdout
        data = page_data(page)
        assert data["dtype"] == dtype
        assert (data["weights"] == weights.astype(dtype)).all()
        assert pages_by_dtype.setdefault(dtype, page) == page
    bits = [re.search(r"<strong>(.*?)<", pages_by_dtype[dtype])[1] for dtype in pages_by_dtype]
    assert float(bits[0]) == pytest.approx(float(bits[1]), abs=2e-3)


def test_a_model_that_is_too_large_is_refused(charrnn, trained, monkeypatch):
    """A page that would be too large is an error, with the option or the setting that helps."""
    size = checkpoint.load(trained).params.flat.size
    monkeypatch.setattr(pages, "MAX_PAGE_MB", 2 * size * 4 / 3e6)
    assert charrnn("page", trained, "-o", "-", "-q").exit_code == 0
    result = charrnn("page", trained, "-o", "-", "--dtype", "float32")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"too large for a page: its {size:,} weights" in result.stderr
    assert "Use --dtype float16" in result.stderr
    monkeypatch.setattr(pages, "MAX_PAGE_MB", 0.0001)
    result = charrnn("page", trained, "-o", "-")
    assert result.exit_code == 1
    assert "Train a model with a smaller model.hidden" in result.stderr


def test_weights_beyond_float16_are_float32(charrnn, trained):
    """Weights that float16 cannot hold are written in float32, and float16 is refused."""
    loaded = checkpoint.load(trained)
    loaded.params["by"][0] = -1e5
    checkpoint.save(loaded, trained)
    assert page_data(charrnn("page", trained, "-o", "-").stdout)["dtype"] == "float32"
    result = charrnn("page", trained, "-o", "-", "--dtype", "float16")
    assert "float16 cannot hold the weights. Use --dtype float32" in result.stderr


def test_the_page_of_the_validation_part_goes_to_stdout(charrnn, trained):
    """With `-o -` stdout has the page alone; it has the score that `eval` prints."""
    result = charrnn("page", trained, "-o", "-", "--dtype", "float32")
    assert result.exit_code == 0
    assert result.stdout.startswith("<!DOCTYPE html>")
    assert result.stdout.endswith("</html>\n")
    score = json.loads(charrnn("eval", trained, "--json").stdout)
    text = " ".join(PageParser(result.stdout).text.split())
    assert f"{score['bits_per_char']:.4f} bits per character" in text
    assert "of the validation part of corpus.txt: perplexity" in text


def test_a_page_and_the_log_name_the_part_of_a_long_text(charrnn, trained, tmp_path, monkeypatch):
    """Of a long text a page has the beginning, and stderr says so without -q."""
    monkeypatch.setattr(pages, "MAX_CHARS", 30)
    arguments = ["page", trained, "-", "-o", tmp_path / "page.html"]
    result = charrnn(*arguments, stdin=LINES)
    part = f"the first 30 of {len(LINES)} characters"
    assert f"the page has {part}; the score is that of the whole text" in result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page_data(page)["text"] == LINES[:30]
    assert f"{len(LINES)} characters scored" in PageParser(page).text
    assert charrnn(*arguments, "-q", stdin=LINES).stderr == ""


def test_the_heading_names_the_checkpoint_and_the_text(charrnn, trained, tmp_path, monkeypatch):
    """Checkpoint and text are named as they were typed, and standard input is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(LINES, encoding="utf-8")
    page = charrnn("page", "small.npz", "./t.txt", "-o", "-").stdout
    assert page.count(">small.npz<") == 2  # title and heading
    assert "of ./t.txt: perplexity" in page
    page = charrnn("page", "-", "t.txt", "-o", "-", stdin=(tmp_path / "small.npz").read_bytes())
    assert "<h1>standard input</h1>" in page.stdout
    (tmp_path / "more.txt").write_text(LINES, encoding="utf-8")
    path = charrnn("train", "small.yaml", "--set", "corpus.path=[corpus.txt, more.txt]", "--force")
    page = charrnn("page", path.stdout.strip(), "-o", "-").stdout
    assert "the validation part of corpus.txt and 1 more: " in page


def test_nothing_of_a_text_is_markup(charrnn, config, tmp_path):
    """A page about markup has the elements of any other page, and the characters of its text."""
    path = charrnn("train", config(HOSTILE_TEXT * 30, "stream"), "-q").stdout.strip()
    page = hostile_page(path, tmp_path)
    usual = charrnn("page", path, "-o", "-").stdout
    assert [tag for tag, _ in PageParser(page).tags] == [tag for tag, _ in PageParser(usual).tags]
    data = page_data(page)
    assert data["text"] == "\ud83d" + HOSTILE_TEXT[1:]
    assert "".join(map(chr, data["codePoints"])) == checkpoint.load(path).vocab.chars
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    assert not set("<>&") & set(block)
    assert block.isascii()
    assert "<h1>&lt;i&gt;&amp;\\u2066.npz</h1>" in page
    assert "a &lt;b&gt; &amp; \\u202e\\udcff.txt: " in page
    assert not [char for char in page if not char.isprintable() and char != "\n"]


def test_a_policy_allows_only_the_blocks_of_the_page(charrnn, trained):
    """The policy allows the blocks by their hashes, and a worker; nothing inline or remote."""
    page = charrnn("page", trained, "-o", "-").stdout
    parser = PageParser(page)
    digests = {
        name: base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        for name, block in parser.blocks.items()
    }
    assert parser.policy == (
        f"default-src 'none'; style-src 'sha256-{digests['style']}'; worker-src blob:; "
        f"script-src 'sha256-{digests['engine']}' 'sha256-{digests['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )
    for _, attributes in parser.tags:
        assert not {"style", "src", "href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML|WebAssembly", page)


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
    """A page has a limited number of ranked units, and no more bytes than weights and text take."""
    path = charrnn("train", config(PROSE, "stream", model={"hidden": 100}), "-q").stdout.strip()
    (tmp_path / "t.txt").write_text(PROSE * 40, encoding="utf-8", newline="")
    page = charrnn("page", path, tmp_path / "t.txt", "-o", "-", "-q").stdout
    data = page_data(page)
    counts = collections.Counter(unit["feature"] for unit in data["units"])
    assert set(counts.values()) == {pages.UNITS_PER_FEATURE}
    packed = (data["weights"].nbytes + data["startStates"].nbytes) * 4 / 3
    assert len(page) < packed + len(PROSE) * 40 * 1.1 + 80_000


def test_the_sources_of_the_page_are_short():
    """Python, JavaScript, CSS and HTML have 1,500 lines of 100 characters at most."""
    folder = Path(pages.__file__).parent
    lines = [
        line
        for path in folder.iterdir()
        if path.is_file()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) <= 1500
    assert max(map(len, lines)) <= 100
