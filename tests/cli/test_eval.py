"""`charrnn eval` and `charrnn score`: what they print, and how."""

import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from run_helpers import LINES, PROSE

from charrnn.parallel.pool import WorkerPool

CHARRNN = [sys.executable, "-m", "charrnn"]


def texts_of(result):
    """The last column of rows that are separated by tabs."""
    return [row.split("\t", 4)[4] for row in result.stdout.splitlines()]


def rows_of(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(row) for row in result.stdout.splitlines()]


@pytest.fixture
def stream(config, charrnn):
    """A checkpoint of a small model of running text, in float64."""
    path = config(PROSE, "stream", "stream", model={"hidden": 8, "dtype": "float64"})
    return charrnn("train", path, "-q").stdout.strip()


@pytest.mark.parametrize("kind", ["trained", "stream"])
def test_rows_add_up_to_the_total(charrnn, request, kind):
    """Also without a text, where the validation part is read."""
    path = request.getfixturevalue(kind)
    for words in ([path], [path, "-"]):
        (whole,) = rows_of(charrnn("eval", *words, "--json", stdin=LINES))
        for per in ("line", "char"):
            rows = rows_of(charrnn("score", *words, "--per", per, "--json", stdin=LINES))
            bits = whole["bits_per_char"] * whole["chars"]
            assert sum(row["bits"] for row in rows) == pytest.approx(bits, abs=1e-9)


def test_rows_are_the_same_in_tabs_and_json(charrnn, trained):
    """Lines stand at the end of their row, characters are escaped as in JSON."""
    words = ["score", trained, "-", "--unknown", "skip"]
    line = charrnn(*words, "--per", "line", stdin="an\tna\n").stdout
    (facts,) = rows_of(charrnn(*words, "--per", "line", "--json", stdin="an\tna\n"))
    figures = f"{facts['bits_per_char']:.4f}\t{facts['bits']:.4f}"
    assert line == f"{figures}\t5\t1\tan\tna\n"
    assert list(facts) == ["bits_per_char", "bits", "chars", "unknown", "line"]
    chars = charrnn(*words, "--per", "char", stdin="an\n").stdout.splitlines()
    rows = rows_of(charrnn(*words, "--per", "char", "--json", stdin="an\n"))
    assert list(rows[0]) == ["char", "bits", "rank", "entropy_bits", "likeliest"]
    for row, facts in zip(chars, rows, strict=True):
        expected = [f"{facts['bits']:.4f}", str(facts["rank"]), f"{facts['entropy_bits']:.4f}"]
        assert row.split("\t")[1:4] == expected
        assert json.loads(row.split("\t")[0]) == facts["char"]
    assert chars[-1].startswith('"\\n"\t')


def test_a_line_of_unknown_characters_has_no_bits_per_character(charrnn, trained):
    """`inf` in a row, null in JSON, and it is above every threshold."""
    words = ["score", trained, "-", "--unknown", "skip"]
    text = "anna\nxyz\n"
    assert charrnn(*words, "--per", "line", stdin=text).stdout.endswith(
        "\ninf\t0.0000\t0\t3\txyz\n"
    )
    rows = rows_of(charrnn(*words, "--per", "line", "--json", stdin=text))
    assert [row["bits_per_char"] is None for row in rows] == [False, True]
    assert charrnn(*words, "--above", 1000, stdin=text).stdout.endswith("\txyz\n")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_the_filter_prints_matching_rows(charrnn, trained, stream, mode):
    """Those above, below, or between; exit code 1 and silence if there are none."""
    path, text = (trained, LINES) if mode == "lines" else (stream, PROSE)
    rows = rows_of(charrnn("score", path, "-", "--json", stdin=text))
    bits = sorted({round(row["bits_per_char"], 4) for row in rows})
    low, high = (bits[0] + bits[1]) / 2, (bits[-1] + bits[-2]) / 2
    for options, least, most in (
        (["--above", high], high, 99),
        (["--below", low], 0, low),
        (["--above", low, "--below", high], low, high),
    ):
        expected = [row["line"] for row in rows if least < row["bits_per_char"] < most]
        result = charrnn("score", path, "-", *options, stdin=text)
        assert (result.exit_code, texts_of(result)) == (0, expected)
        both = charrnn("score", path, "-", *options, "--json", stdin=text)
        assert [row["line"] for row in rows_of(both)] == expected
    none = charrnn("score", path, "-", "--above", 99, stdin=text)
    assert (none.exit_code, none.stdout, none.stderr) == (1, "", "")


def test_a_percentile_is_that_of_the_validation_lines(charrnn, config):
    """The threshold is told, unless -q."""
    path = charrnn("train", config(LINES * 9), "-q").stdout.strip()
    rows = rows_of(charrnn("score", path, "--json"))
    bits = sorted(row["bits_per_char"] for row in rows)
    result = charrnn("score", path, "--above", 50, "--percentile")
    median = (bits[(len(bits) - 1) // 2] + bits[len(bits) // 2]) / 2
    assert f"above {median:.4f} bits per character: percentile 50 of " in result.stderr
    expected = [row["line"] for row in rows if row["bits_per_char"] > median]
    assert texts_of(result) == expected
    quiet = charrnn("score", path, "--above", 50, "--percentile", "-q")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")


def test_lines_keep_the_case_that_a_model_of_lower_case_folds(charrnn, config):
    """What is scored is folded, what is printed is not."""
    path = charrnn("train", config(corpus=LINES), "--set", "corpus.lowercase=true", "-q")
    words = ["score", path.stdout.strip(), "-"]
    rows = rows_of(charrnn(*words, "--json", stdin="Anna\n\nBOB"))
    folded = rows_of(charrnn(*words, "--json", stdin="anna\n\nbob"))
    assert [row.pop("line") for row in rows] == ["Anna", "BOB"]
    assert [row.pop("line") for row in folded] == ["anna", "bob"]
    assert rows == folded
    assert texts_of(charrnn(*words, stdin="Anna\n\nBOB")) == ["Anna", "BOB"]


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("options", [["--per", "line"], ["--above", "0"]])
def test_a_line_is_answered_before_the_pipe_closes(trained, stream, mode, options):
    """A program can ask about one line after the other, for as long as it likes."""
    path = trained if mode == "lines" else stream
    words = [*CHARRNN, "score", path, "-", "--unknown", "skip", *options]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in (b"anna\n", b"the cat\n", b"bob\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(line)
        process.stdout.close()  # as `head` does
        process.stdin.write(b"anna\n" * 3)
        process.stdin.close()
        assert process.wait(60) == 0


def test_colour_is_shown_on_a_terminal_and_where_it_is_asked_for(charrnn, trained):
    """Never in JSON; the rows are the same, and a legend stands before them."""
    words = ["score", trained, "-"]
    plain = charrnn(*words, stdin="anna\nbob").stdout
    assert charrnn(*words, "--color", "never", stdin="anna\nbob").stdout == plain
    legend, *rows = charrnn(*words, "--color", "always", stdin="anna\nbob").stdout.splitlines()
    assert legend.startswith("bits of ")
    assert [re.sub("\x1b[^m]*m", "", row) for row in rows] == plain.splitlines()
    assert all("\x1b[38;5;16;48;5;" in row for row in rows)
    per_char = charrnn(*words, "--color", "always", "--per", "char", stdin="anna\nbob").stdout
    assert "\x1b[38;5;16;48;5;" in per_char
    assert "\x1b" not in charrnn(*words, "--color", "always", "--json", stdin="anna").stdout
    assert "\x1b[38;5;16;48;5;" in on_terminal(trained, {"TERM": "xterm"})
    assert "\x1b" not in on_terminal(trained, {"TERM": "dumb"})
    assert "\x1b" not in on_terminal(trained, {"TERM": "xterm", "NO_COLOR": "1"})


def test_the_shades_of_a_line_are_those_of_its_characters():
    """Also of one that comes in pieces, and none where folding changes its length."""
    from charrnn.evaluation.line_scores import line_scores
    from charrnn.evaluation.text_scoring import ScoredPiece
    from charrnn.units import LN2

    nats = np.arange(9.0) * LN2
    cuts = ("ab", "c\nde\n", "f")
    pieces, at = [], 0
    for text in cuts:
        unknown = np.zeros(len(text), bool)
        pieces.append(ScoredPiece(text, nats[None, at : at + len(text)], unknown))
        at += len(text)
    found = [line for some in line_scores(pieces) for line in some]
    assert [(line.text, line.char_bits.round(9).tolist()) for line in found] == [
        ("abc", [0, 1, 2]), ("de", [4, 5]), ("f", [7]),
    ]  # fmt: skip
    text = "\u0130b".lower()  # three characters
    piece = ScoredPiece(text, nats[None, : len(text)], np.zeros(len(text), bool))
    (line,) = [line for some in line_scores([piece], iter(["\u0130b"])) for line in some]
    assert (line.text, np.isnan(line.char_bits).all()) == ("\u0130b", True)


def on_terminal(path, environment):
    """What `score` writes to a terminal."""
    ours, theirs = pty.openpty()
    words = [*CHARRNN, "score", path, "-"]
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=theirs, env={**kept, **environment}
    ) as process:
        process.stdin.write(b"anna\nbob\n")
        process.stdin.close()
        assert process.wait(60) == 0
    os.close(theirs)
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    return text


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_dynamic_prints_both_figures_and_changes_no_file(charrnn, trained, stream, mode):
    """The static one first, as without --dynamic; a strange word becomes less strange."""
    path, text = (trained, "bobanna\n" * 99) if mode == "lines" else (stream, "ogdeht\n" * 99)
    with open(path, "rb") as file:
        before = file.read()
    plain = json.loads(charrnn("eval", path, "-", "--json", stdin=text).stdout)
    found = json.loads(charrnn("eval", path, "-", "--dynamic", "--json", stdin=text).stdout)
    assert found["static"].pop("bits_per_char") == pytest.approx(plain["bits_per_char"], abs=1e-6)
    assert found["rate"] == 0.03
    assert found["dynamic"]["bits_per_char"] < 0.95 * plain["bits_per_char"]
    table = charrnn("eval", path, "-", "--dynamic-rate", 0.1, stdin=text).stdout.splitlines()
    assert table[1].split() == ["static", "dynamic"]
    static, dynamic = map(float, table[3].split()[3:])
    assert static == pytest.approx(plain["bits_per_char"], abs=1e-4)
    assert dynamic < static
    with open(path, "rb") as file:
        assert file.read() == before


def test_compare_tells_the_difference_and_its_interval(charrnn, config):
    """A trained model against an untrained one, and against itself."""
    config(LINES * 20)
    untrained = charrnn("train", config(LINES * 20, name="untrained"), "--set", "train.steps=1")
    long = charrnn("train", config(LINES * 20, name="long"), "--set", "train.steps=400")
    this, other = long.stdout.strip(), untrained.stdout.strip()
    found = json.loads(charrnn("eval", this, "-", "--compare", other, "--json", stdin=LINES).stdout)
    low, high = found["interval_95"]
    assert low <= found["difference_bits_per_char"] <= high < 0
    table = charrnn("eval", this, "-", "--compare", other, stdin=LINES).stdout
    assert f"95 % interval       {low:+.4f} to {high:+.4f}, from {found['blocks']} lines" in table
    itself = charrnn("eval", this, "--compare", this)
    assert "95 % interval       +0.0000 to +0.0000" in itself.stdout
    assert itself.stderr == ""
    single = charrnn("eval", this, "-", "--compare", other, stdin="anna")
    assert "95 % interval       none: it takes more than one" in single.stdout


def test_compare_shares_the_lines_of_both_models(charrnn, trained, monkeypatch):
    """As eval does without it."""
    sizes = []
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(
        "charrnn.evaluation.comparison.WorkerPool",
        lambda size=1: sizes.append(size) or WorkerPool(size),
    )
    words = ("eval", trained, "-", "--compare", trained, "--workers", 3, "--json")
    shared = json.loads(charrnn(*words, stdin=LINES).stdout)
    assert sizes == [3]
    alone = json.loads(charrnn(*words, "--workers", 1, stdin=LINES).stdout)
    assert sizes[1:] == [1]
    assert shared["this"]["nats_per_char"] == pytest.approx(alone["this"]["nats_per_char"])


def test_compare_says_when_the_other_may_know_the_text(charrnn, trained, config):
    """Its validation part is another one."""
    other = charrnn("train", config(name="other"), "--seed", 8, "-q").stdout.strip()
    assert "may have seen" in charrnn("eval", trained, "--compare", other).stderr
    assert charrnn("eval", trained, "--compare", other, "-q").stderr == ""
    apart = charrnn("train", config(name="apart"), "-q", "--set", "corpus.duplicates=independent")
    assert "may have seen" in charrnn("eval", trained, "--compare", apart.stdout.strip()).stderr


def test_a_rate_that_runs_away_ends_with_exit_code_3(charrnn, trained):
    """As a training that diverges does."""
    result = charrnn("eval", trained, "-", "--dynamic-rate", 1e6, stdin=LINES)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Try a smaller one, such as --dynamic-rate 100000" in result.stderr


@pytest.mark.parametrize(
    ("command", "message", "words"),
    [
        ("score", "--percentile needs --above or --below", ["--percentile"]),
        ("score", "a percentile is 0 to 100, not 101", ["--above", 101, "--percentile"]),
        ("score", "nothing is both above 3 and below 2", ["--above", 3, "--below", 2]),
        ("score", "'--above'", ["--above", "nan"]),
        ("eval", "it goes with neither --compare", ["--dynamic", "--compare", "other.npz"]),
        ("eval", "nor --window", ["--dynamic-rate", 0.1, "--window", 5]),
        ("eval", "'CKPT' and '--compare' cannot both come", ["--compare", "-"]),
        ("eval", "65537 is not in the range 1<=x<=65536", ["--window", 65537]),
        ("eval", "'--dynamic-rate'", ["--dynamic-rate", 0]),
        ("eval", "cannot both come from standard input", ["-"]),
        ("page", "Missing option '-o'", []),
    ],
)
def test_options_that_make_no_sense_together_are_named(charrnn, command, message, words):
    """With the usage line, and before anything is read."""
    result = charrnn(command, "-", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_characters_are_filtered_too(charrnn, trained):
    """By their own bits, and by percentiles of the validation part's characters."""
    rows = rows_of(charrnn("score", trained, "--per", "char", "--json"))
    limit = float(np.percentile([row["bits"] for row in rows], 75))
    words = ["score", trained, "--per", "char", "--above", 75, "--percentile", "--json"]
    result = charrnn(*words)
    assert [row["char"] for row in rows_of(result)] == [
        row["char"] for row in rows if row["bits"] > limit
    ]
    assert f"percentile 75 of {len(rows)} validation characters" in result.stderr


def test_two_models_are_compared_in_windows_too(charrnn, stream):
    """Each scored as eval scores it in such windows."""
    alone = json.loads(charrnn("eval", stream, "-", "--window", 9, "--json", stdin=PROSE).stdout)
    words = ["eval", stream, "-", "--window", 9, "--compare", stream, "--json"]
    both = json.loads(charrnn(*words, stdin=PROSE).stdout)
    assert both["this"]["nats_per_char"] == pytest.approx(alone["nats_per_char"], abs=1e-9)
