"""The page's network, random numbers and scores equal those of Python, in a real browser."""

import base64
import itertools

import numpy as np
import pytest
from run_helpers import LINES, PROSE

from charrnn import api, checkpoint, rng
from charrnn.evaluation.evaluator import PREDICTION
from charrnn.nn.cells import CELLS
from charrnn.nn.workspace import Workspace
from charrnn.web import inspection

LOGITS = """(ids) => {
    const network = new Network(model, model.weights);
    return ids.map((id) => { network.read(id); return Array.from(network.predict()); });
}"""
WRITE = """(options) => new Writer(new Network(model, model.weights), model, options).write(1e9)"""
SCORE = """(text) => {
    const scorer = new Scorer(new Network(model, model.weights), 64);
    const { lines, window } = model;
    scorer.open(encode(Array.from(text)), { lines, newline: NEWLINE, window, primed: false });
    return scorer.score(0, scorer.ids.length, 1e9).scored.map(({ bits, rank, top, state }) =>
        [Number.isNaN(bits) ? null : bits, rank, top, Array.from(state)]);
}"""


@pytest.fixture(scope="module")
def models(train, run_command):
    """The checkpoints and the pages, with float32 weights, of a stream and of a list."""
    paths = {}
    for mode, text in (("stream", PROSE * 3), ("lines", LINES * 20)):
        path = train(mode, text, mode, cell="gru", layers=2, hidden=16)
        page = path.with_suffix(".html")
        run_command("page", path, "-o", page, "--dtype", "float32")
        paths[mode] = path, page
    return paths


@pytest.mark.parametrize(
    ("cell", "layers", "output_layers"),
    [*itertools.product(["rnn", "gru", "lstm"], [1, 2], ["top"]), ("gru", 2, "all")],
)
def test_logits_equal_numpys(train, run_command, visit, cell, layers, output_layers):
    """Over 500 characters, the logits are within 1e-4 of NumPy's. The seed is random."""
    seed = rng.random_seed()
    sizes = {"cell": cell, "layers": layers, "hidden": 21, "output_layers": output_layers}
    path = train(cell, PROSE, seed=seed, **sizes)
    page_path = path.with_suffix(".html")
    run_command("page", path, "-o", page_path, "--dtype", "float32")
    loaded = checkpoint.load(str(path))
    ids = np.random.default_rng(seed).integers(0, len(loaded.vocab), (500, 1))
    work = Workspace(loaded.model, 500, 1)
    loaded.model.run(loaded.params, ids, loaded.model.zero_state(1), work)
    logits = visit(page_path).evaluate(LOGITS, ids[:, 0].tolist())
    assert np.ptp(work.logits, axis=0).max() > 0.1
    np.testing.assert_allclose(logits, work.logits, atol=1e-4, err_msg=f"seed {seed}")


def test_each_float16_is_read_as_numpy_reads_it(models, visit):
    """All 65,536 numbers of 16 bits have the value that NumPy gives them."""
    expected = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype("<f4")
    script = """(packed) => unpack(packed, "float32").every((x, i) => Object.is(x, HALVES[i]))"""
    packed = base64.b64encode(expected.tobytes()).decode()
    assert visit(models["lines"][1]).evaluate(script, packed)


def test_every_cell_has_a_step(models, visit):
    """The page has a step for every cell of `nn.cells`, with the same gates and states."""
    cells = visit(models["lines"][1]).evaluate("CELLS")
    assert {name: (len(cell["gates"]), tuple(cell["states"])) for name, cell in cells.items()} == {
        name: (cell.gates, cell.state_names) for name, cell in CELLS.items()
    }


def test_random_numbers_equal_pythons(models, visit):
    """The random numbers of a seed, a text and a position are those of `rng`, bit for bit."""
    page = visit(models["lines"][1])
    for seed, number in ((0, 0), (1, 7), (2**32 - 1, 1), (2**70 + 3, 2)):
        keys = rng.text_keys(seed, np.array([number]))
        expected = rng.uniforms(keys, np.array([-2, -1, 0, 1, 1000])).tolist()
        script = "([seed, n]) => [-2, -1, 0, 1, 1000].map((i) => uniform(textKey(seed, n), i))"
        assert page.evaluate(script, [str(seed), number]) == expected


OPTIONS = (
    {},
    {"temperature": 0.7},
    {"temperature": 1.6, "topK": 4},
    {"temperature": 0},
    {"prime": "the"},
    {"prime": "an", "temperature": 0.9, "topK": 6},
)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_seed_writes_the_text_of_sample(models, visit, run_command, mode):
    """The page writes the very text, of 200 characters or more, that `charrnn sample` writes."""
    path, page_path = models[mode]
    page = visit(page_path)
    for seed, changes in zip((1, 2, 3, 4, 2**32 - 1, 2**40 + 5), OPTIONS, strict=True):
        options = {"prime": "", "temperature": 1, "topK": 0, **changes}
        extent = ["--n", 200, "--raw"] if mode == "stream" else ["--lines", 40]
        extent += ["--temperature", options["temperature"], "--prime", options["prime"], "-q"]
        extent += ["--top-k", options["topK"]] if options["topK"] else []
        expected = run_command("sample", path, "--seed", seed, *extent)
        assert len(expected) >= 150
        options |= {"chars": 200} if mode == "stream" else {"lines": 40}
        options |= {"prime": list(options["prime"]), "seed": str(seed)}
        assert page.evaluate(WRITE, options) == {"text": expected, "ended": True}, changes


def test_drawn_characters_follow_the_probabilities(models, visit):
    """20,000 drawn ids pass a chi-squared test, and none is beyond the top k."""
    logits, page = np.random.default_rng(3).normal(0, 1.5, 9), visit(models["lines"][1])
    script = """([logits, options]) => Array.from({ length: 20000 }, (_, i) =>
        draw(logits, options, uniform(textKey(5, 1), i), new Float64Array(logits.length)))"""
    for temperature, top_k in ((1, 0), (0.6, 0), (1.5, 4)):
        options = {"temperature": temperature, "topK": top_k}
        drawn = page.evaluate(script, [logits.tolist(), options])
        p = np.exp(logits / temperature)
        p[np.argsort(-p)[top_k or len(p) :]] = 0
        p /= p.sum()
        counts = np.bincount(drawn, minlength=len(p))
        assert counts[p == 0].sum() == 0
        expected = 20_000 * p[p > 0]
        chi_squared = ((counts[p > 0] - expected) ** 2 / expected).sum()
        assert chi_squared < 26.1  # the 0.1 % point for 8 degrees of freedom, or fewer


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_scores_and_states_equal_pythons(models, visit, tmp_path, mode):
    """Bits, ranks, the likeliest characters and the states equal those of `evaluation`."""
    path, page_path = models[mode]
    text = "the dog sat\n\nanna\n#b#ob\n" + LINES[:60]
    model = api.load(str(path))
    pieces = list(model._score_pieces(text, PREDICTION, skip_unknown=True))
    values = np.concatenate([piece.values for piece in pieces], axis=1)[:, : len(text)]
    rows = visit(page_path).evaluate(SCORE, text)
    bits = np.array([np.nan if row[0] is None else row[0] for row in rows])
    np.testing.assert_allclose(bits, values[0] / np.log(2), atol=1e-4)
    scored = ~np.isnan(bits)
    assert [row[1] for row in rows] == np.where(scored, values[1], 0).tolist()
    assert [row[2][0][0] for row in rows if row[1]] == values[3][scored].tolist()
    for _, rank, top, _ in rows:
        probabilities = [p for _, p in top]
        assert len(top) == (5 if rank else 0)
        assert probabilities == sorted(probabilities, reverse=True)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    with inspection.ScoringTask(
        checkpoint.load(str(path)), str(tmp_path / "text.txt"), True
    ) as task:
        expected = inspection.activations(task, text)
    states = np.array([row[3] for row in rows]).T
    is_read = ~np.isnan(expected[0])
    np.testing.assert_allclose(states[:, is_read], expected[:, is_read], atol=1e-4)


def test_parts_of_a_text_are_scored_in_any_order(models, visit):
    """A part far ahead is scored at once, inexactly in a stream, and exactly after reading on."""
    script = """(text) => {
        const scorer = new Scorer(new Network(model, model.weights), 64);
        const { lines, window } = model;
        const ids = encode(Array.from(text));
        scorer.open(ids, { lines, newline: NEWLINE, window, primed: false });
        const bits = (start, stop) => {
            const { isExact, scored } = scorer.score(start, stop, 1e9);
            return [isExact, scored.map((numbers) => numbers.bits)];
        };
        const early = [bits(3000, 3050), bits(3050, 3100), bits(100, 200)];
        while (scorer.scan(5) < ids.length);
        const late = [bits(3000, 3050), bits(3050, 3100), bits(100, 200)];
        scorer.open(ids, { lines, newline: NEWLINE, window, primed: false });
        const [, all] = bits(0, ids.length);
        return [early, late, [all.slice(3000, 3050), all.slice(3050, 3100), all.slice(100, 200)]];
    }"""
    for mode, text in (("stream", PROSE * 10), ("lines", LINES * 80)):
        early, late, expected = visit(models[mode][1]).evaluate(script, text)
        assert [part[0] for part in early] == [mode == "lines", mode == "lines", True]
        assert [part[0] for part in late] == [True, True, True]
        for (_, bits), exact in zip([*late, early[2]], [*expected, expected[2]], strict=True):
            np.testing.assert_allclose(bits, exact, atol=1e-5)
        for (_, bits), exact in zip(early, expected, strict=True):
            np.testing.assert_allclose(bits, exact, atol=0.5)


def test_a_window_starts_from_the_zero_state(models, visit, run_command, tmp_path):
    """With --window the page scores a stream in windows, as `charrnn score` does."""
    path, page = models["stream"][0], tmp_path / "page.html"
    text = PROSE[:300]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    arguments = (path, tmp_path / "text.txt", "--window", 50)
    run_command("page", *arguments, "-o", page, "--dtype", "float32")
    expected = run_command("score", *arguments, "--per", "char", "-q").splitlines()
    rows = visit(page).evaluate(SCORE, text)
    bits = [row[0] for row in rows if row[0] is not None]
    np.testing.assert_allclose(bits, [float(row.split("\t")[1]) for row in expected], atol=2e-4)
