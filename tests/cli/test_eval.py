"""The output of `charrnn eval` and `charrnn score`."""

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


def last_columns(result):
    """Return the last column of each tab-separated row."""
    return [row.split("\t", 4)[4] for row in result.stdout.splitlines()]


def json_rows(result):
    """Return the JSON object of each row."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(row) for row in result.stdout.splitlines()]


@pytest.fixture
def stream(config, charrnn):
    """Return the path of a checkpoint of a small float64 model of running text."""
    path = config(PROSE, "stream", "stream", model={"hidden": 8, "dtype": "float64"})
    return charrnn("train", path, "-q").stdout.strip()


@pytest.mark.parametrize("kind", ["trained", "stream"])
def test_rows_add_up_to_the_total(charrnn, request, kind):
    """The bits of the rows add up to the score of the text, or of the validation part."""
    path = request.getfixturevalue(kind)
    for arguments in ([path], [path, "-"]):
        (total,) = json_rows(charrnn("eval", *arguments, "--json", stdin=LINES))
        for per in ("line", "char"):
            rows = json_rows(charrnn("score", *arguments, "--per", per, "--json", stdin=LINES))
            bits = total["bits_per_char"] * total["chars"]
            assert sum(row["bits"] for row in rows) == pytest.approx(bits, abs=1e-9)


def test_rows_are_the_same_in_tabs_and_json(charrnn, trained):
    """Tab-separated rows end with the line as it is, or begin with the character as in JSON."""
    arguments = ["score", trained, "-", "--unknown", "skip"]
    line = charrnn(*arguments, "--per", "line", stdin="an\tna\n").stdout
    (fields,) = json_rows(charrnn(*arguments, "--per", "line", "--json", stdin="an\tna\n"))
    scores = f"{fields['bits_per_char']:.4f}\t{fields['bits']:.4f}"
    assert line == f"{scores}\t5\t1\tan\tna\n"
    assert list(fields) == ["bits_per_char", "bits", "chars", "unknown", "line"]
    chars = charrnn(*arguments, "--per", "char", stdin="an\n").stdout.splitlines()
    rows = json_rows(charrnn(*arguments, "--per", "char", "--json", stdin="an\n"))
    assert list(rows[0]) == ["char", "bits", "rank", "entropy_bits", "likeliest"]
    for row, fields in zip(chars, rows, strict=True):
        expected = [f"{fields['bits']:.4f}", str(fields["rank"]), f"{fields['entropy_bits']:.4f}"]
        assert row.split("\t")[1:4] == expected
        assert json.loads(row.split("\t")[0]) == fields["char"]
    assert chars[-1].startswith('"\\n"\t')


def test_a_line_of_unknown_characters_has_no_bits_per_character(charrnn, trained):
    """The bits per character of such a line are `inf`, null in JSON, and above every threshold."""
    arguments = ["score", trained, "-", "--unknown", "skip"]
    text = "anna\nxyz\n"
    assert charrnn(*arguments, "--per", "line", stdin=text).stdout.endswith(
        "\ninf\t0.0000\t0\t3\txyz\n"
    )
    rows = json_rows(charrnn(*arguments, "--per", "line", "--json", stdin=text))
    assert [row["bits_per_char"] is None for row in rows] == [False, True]
    assert charrnn(*arguments, "--above", 1000, stdin=text).stdout.endswith("\txyz\n")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_the_filter_prints_matching_rows(charrnn, trained, stream, mode):
    """Rows above, below or between thresholds are printed; without any, the exit code is 1."""
    path, text = (trained, LINES) if mode == "lines" else (stream, PROSE)
    rows = json_rows(charrnn("score", path, "-", "--json", stdin=text))
    bits = sorted({round(row["bits_per_char"], 4) for row in rows})
    low, high = (bits[0] + bits[1]) / 2, (bits[-1] + bits[-2]) / 2
    for options, min_bits, max_bits in (
        (["--above", high], high, 99),
        (["--below", low], 0, low),
        (["--above", low, "--below", high], low, high),
    ):
        expected = [row["line"] for row in rows if min_bits < row["bits_per_char"] < max_bits]
        result = charrnn("score", path, "-", *options, stdin=text)
        assert (result.exit_code, last_columns(result)) == (0, expected)
        as_json = charrnn("score", path, "-", *options, "--json", stdin=text)
        assert [row["line"] for row in json_rows(as_json)] == expected
    result = charrnn("score", path, "-", "--above", 99, stdin=text)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "")


def test_a_percentile_is_that_of_the_validation_lines(charrnn, config):
    """The threshold of a percentile is computed from the validation part and logged, unless -q."""
    path = charrnn("train", config(LINES * 9), "-q").stdout.strip()
    rows = json_rows(charrnn("score", path, "--json"))
    bits = sorted(row["bits_per_char"] for row in rows)
    result = charrnn("score", path, "--above", 50, "--percentile")
    median = (bits[(len(bits) - 1) // 2] + bits[len(bits) // 2]) / 2
    assert f"above {median:.4f} bits per character: percentile 50 of " in result.stderr
    expected = [row["line"] for row in rows if row["bits_per_char"] > median]
    assert last_columns(result) == expected
    quiet = charrnn("score", path, "--above", 50, "--percentile", "-q")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")


def test_lines_keep_the_case_that_a_model_of_lower_case_folds(charrnn, config):
    """A line is scored in lower case and printed in its original case."""
    path = charrnn("train", config(corpus=LINES), "--set", "corpus.lowercase=true", "-q")
    arguments = ["score", path.stdout.strip(), "-"]
    rows = json_rows(charrnn(*arguments, "--json", stdin="Anna\n\nBOB"))
    folded = json_rows(charrnn(*arguments, "--json", stdin="anna\n\nbob"))
    assert [row.pop("line") for row in rows] == ["Anna", "BOB"]
    assert [row.pop("line") for row in folded] == ["anna", "bob"]
    assert rows == folded
    assert last_columns(charrnn(*arguments, stdin="Anna\n\nBOB")) == ["Anna", "BOB"]


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("options", [["--per", "line"], ["--above", "0"]])
def test_a_line_is_answered_before_the_pipe_closes(trained, stream, mode, options):
    """The row of a line is printed before the next line arrives."""
    path = trained if mode == "lines" else stream
    arguments = [*CHARRNN, "score", path, "-", "--unknown", "skip", *options]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in (b"anna\n", b"the cat\n", b"bob\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(line)
        process.stdout.close()  # as `head` does
        process.stdin.write(b"anna\n" * 3)
        process.stdin.close()
        assert process.wait(60) == 0


def test_colour_is_shown_on_a_terminal_and_where_it_is_asked_for(charrnn, trained):
    """Colours and a legend are added on a terminal or by --color always, but never to JSON."""
    arguments = ["score", trained, "-"]
    plain = charrnn(*arguments, stdin="anna\nbob").stdout
    assert charrnn(*arguments, "--color", "never", stdin="anna\nbob").stdout == plain
    legend, *rows = charrnn(*arguments, "--color", "always", stdin="anna\nbob").stdout.splitlines()
    assert legend.startswith("bits of ")
    assert [re.sub("\x1b[^m]*m", "", row) for row in rows] == [f"{x}↵" for x in plain.splitlines()]
    assert all("\x1b[38;5;16;48;5;" in row for row in rows)
    per_char = charrnn(*arguments, "--color", "always", "--per", "char", stdin="anna\nbob").stdout
    assert "\x1b[38;5;16;48;5;" in per_char
    assert "\x1b" not in charrnn(*arguments, "--color", "always", "--json", stdin="anna").stdout
    assert "\x1b[38;5;16;48;5;" in on_terminal(trained, {"TERM": "xterm"})
    assert "\x1b" not in on_terminal(trained, {"TERM": "dumb"})
    assert "\x1b" not in on_terminal(trained, {"TERM": "xterm", "NO_COLOR": "1"})


def test_a_colored_row_is_one_line_that_ends_in_its_newline_mark(charrnn, config):
    r"""Colors end within their row; a newline and a tab are shown as marks, not as \n and \t."""
    path = charrnn("train", config("ab\tcd\n\nef\n" * 30, "stream"), "-q").stdout.strip()
    text = "ab\tcd\n\nef"
    for per in ("line", "char"):
        output = charrnn("score", path, "-", "--per", per, "--color", "always", stdin=text).stdout
        for row in output.splitlines():
            codes = re.findall("\x1b\\[([^m]*)m", row)
            assert codes[1::2] == ["0"] * (len(codes) // 2)  # no color reaches the next row
            assert "0" not in codes[::2]
        assert "\\n" not in output
        assert "\\t" not in output
        rows = [re.sub("\x1b[^m]*m", "", row) for row in output.splitlines()[1:]]
        if per == "line":
            assert [row.split("\t", 4)[4] for row in rows] == ["ab→\tcd↵", "↵", "ef"]
        else:
            assert [row.split("\t")[0] for row in rows] == [f'"{x}"' for x in "b→cd↵↵ef"]


@pytest.mark.parametrize(
    ("mode", "text"),
    [("lines", ""), ("lines", "\n"), ("lines", "#\n"), ("stream", ""), ("stream", "#a#")],
)
def test_a_text_without_scores_fails_alike_everywhere(charrnn, request, mode, text):
    """`eval`, `score` and `page` end with the same message and code if nothing can be scored."""
    path = request.getfixturevalue("trained" if mode == "lines" else "stream")
    minimum = "one line with a character" if mode == "lines" else "two characters"
    commands = [["eval"], ["eval", "--dynamic"], ["eval", "--compare", path], ["page", "-o", "-"]]
    commands += [["score"], ["score", "--per", "char"], ["score", "--above", 9]]
    commands += [["score", "--color", "always", "--per", "char"]]
    for command, *options in commands:
        result = charrnn(command, path, "-", "--unknown", "skip", *options, stdin=text)
        assert result.exit_code == 1
        assert result.stderr == (
            "Error: standard input is too short to score: it takes at least "
            f"{minimum} that the model knows\n"
        )
        if command != "score" or "char" in options:
            assert result.stdout == ""


def test_the_shades_of_a_line_are_those_of_its_characters():
    """A line in several pieces has its bits; one whose length lower case changes has NaN."""
    from charrnn.evaluation.line_scores import line_scores
    from charrnn.evaluation.text_scoring import ScoredPiece
    from charrnn.units import LN2

    nats = np.arange(9.0) * LN2
    pieces, start = [], 0
    for text in ("ab", "c\nde\n", "f"):
        unknown = np.zeros(len(text), bool)
        pieces.append(ScoredPiece(text, nats[None, start : start + len(text)], unknown))
        start += len(text)
    lines = [line for batch in line_scores(pieces) for line in batch]
    assert [(line.text, line.char_bits.round(9).tolist()) for line in lines] == [
        ("abc", [0, 1, 2]), ("de", [4, 5]), ("f", [7]),
    ]  # fmt: skip
    assert [line.newline_bits for line in lines] == pytest.approx([3, 6, np.nan], nan_ok=True)
    text = "\u0130b".lower()  # three characters
    piece = ScoredPiece(text, nats[None, : len(text)], np.zeros(len(text), bool))
    (line,) = [line for batch in line_scores([piece], iter(["\u0130b"])) for line in batch]
    assert (line.text, np.isnan(line.char_bits).all()) == ("\u0130b", True)


def on_terminal(path, environment):
    """Return what `score` writes to a terminal."""
    reader, terminal = pty.openpty()
    arguments = [*CHARRNN, "score", path, "-"]
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=terminal, env={**inherited, **environment}
    ) as process:
        process.stdin.write(b"anna\nbob\n")
        process.stdin.close()
        assert process.wait(60) == 0
    os.close(terminal)
    text = os.read(reader, 10_000).decode()
    os.close(reader)
    return text


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_dynamic_prints_both_scores_and_changes_no_file(charrnn, trained, stream, mode):
    """--dynamic prints the usual score and a better one, and leaves the checkpoint unchanged."""
    path, text = (trained, "bobanna\n" * 99) if mode == "lines" else (stream, "ogdeht\n" * 99)
    with open(path, "rb") as file:
        before = file.read()
    plain = json.loads(charrnn("eval", path, "-", "--json", stdin=text).stdout)
    scores = json.loads(charrnn("eval", path, "-", "--dynamic", "--json", stdin=text).stdout)
    assert scores["static"].pop("bits_per_char") == pytest.approx(plain["bits_per_char"], abs=1e-6)
    assert scores["rate"] == 0.06
    assert scores["dynamic"]["bits_per_char"] < 0.95 * plain["bits_per_char"]
    table = charrnn("eval", path, "-", "--dynamic-rate", 0.1, stdin=text).stdout.splitlines()
    assert table[1].split() == ["static", "dynamic"]
    static, dynamic = map(float, table[3].split()[3:])
    assert static == pytest.approx(plain["bits_per_char"], abs=1e-4)
    assert dynamic < static
    with open(path, "rb") as file:
        assert file.read() == before


def test_compare_prints_the_difference_and_its_interval(charrnn, config):
    """A trained model is better than an untrained one, and equal to itself."""
    config(LINES * 20)
    untrained = charrnn("train", config(LINES * 20, name="untrained"), "--set", "train.steps=1")
    long = charrnn("train", config(LINES * 20, name="long"), "--set", "train.steps=400")
    this, other = long.stdout.strip(), untrained.stdout.strip()
    result = charrnn("eval", this, "-", "--compare", other, "--json", stdin=LINES)
    scores = json.loads(result.stdout)
    low, high = scores["interval_95"]
    assert low <= scores["difference_bits_per_char"] <= high < 0
    table = charrnn("eval", this, "-", "--compare", other, stdin=LINES).stdout
    assert f"95 % interval       {low:+.4f} to {high:+.4f}, from {scores['blocks']} lines" in table
    itself = charrnn("eval", this, "--compare", this)
    assert "95 % interval       +0.0000 to +0.0000" in itself.stdout
    assert itself.stderr == ""
    single = charrnn("eval", this, "-", "--compare", other, stdin="anna")
    assert "95 % interval       none: needs at least two lines" in single.stdout


def test_compare_uses_one_worker_pool(charrnn, trained, monkeypatch):
    """--compare scores with one pool of --workers processes, and prints the same scores."""
    sizes = []
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(
        "charrnn.evaluation.comparison.WorkerPool",
        lambda size=1: sizes.append(size) or WorkerPool(size),
    )
    arguments = ("eval", trained, "-", "--compare", trained, "--workers", 3, "--json")
    parallel = json.loads(charrnn(*arguments, stdin=LINES).stdout)
    assert sizes == [3]
    serial = json.loads(charrnn(*arguments, "--workers", 1, stdin=LINES).stdout)
    assert sizes[1:] == [1]
    assert parallel["this"]["nats_per_char"] == pytest.approx(serial["this"]["nats_per_char"])


def test_compare_warns_of_another_validation_part(charrnn, trained, config):
    """--compare warns if the other model may have been trained on this validation part."""
    other = charrnn("train", config(name="other"), "--seed", 8, "-q").stdout.strip()
    assert "may contain this" in charrnn("eval", trained, "--compare", other).stderr
    assert charrnn("eval", trained, "--compare", other, "-q").stderr == ""
    apart = charrnn("train", config(name="apart"), "-q", "--set", "corpus.duplicates=independent")
    assert "may contain this" in charrnn("eval", trained, "--compare", apart.stdout.strip()).stderr


def test_a_dynamic_rate_that_diverges_ends_with_exit_code_3(charrnn, trained):
    """A dynamic rate at which the weights diverge ends with exit code 3 and a hint."""
    result = charrnn("eval", trained, "-", "--dynamic-rate", 1e6, stdin=LINES)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Try a smaller one, such as --dynamic-rate 100000" in result.stderr


@pytest.mark.parametrize(
    ("command", "message", "arguments"),
    [
        ("score", "--percentile needs --above or --below", ["--percentile"]),
        ("score", "a percentile is from 0 to 100, not 101", ["--above", 101, "--percentile"]),
        ("score", "no row is both above 3 and below 2", ["--above", 3, "--below", 2]),
        ("score", "'--above'", ["--above", "nan"]),
        ("eval", "it cannot be used with --compare", ["--dynamic", "--compare", "other.npz"]),
        ("eval", "or --window", ["--dynamic-rate", 0.1, "--window", 5]),
        ("eval", "'CKPT' and '--compare' cannot both come", ["--compare", "-"]),
        ("eval", "65537 is not in the range 1<=x<=65536", ["--window", 65537]),
        ("eval", "'--dynamic-rate'", ["--dynamic-rate", 0]),
        ("eval", "cannot both come from standard input", ["-"]),
        ("page", "Missing option '-o'", []),
    ],
)
def test_wrong_options_are_named(charrnn, command, message, arguments):
    """Wrong options end a command with exit code 2 and a message, before input is read."""
    result = charrnn(command, "-", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_characters_are_filtered_too(charrnn, trained):
    """Rows of characters are selected by percentiles of the validation part's characters."""
    rows = json_rows(charrnn("score", trained, "--per", "char", "--json"))
    threshold = float(np.percentile([row["bits"] for row in rows], 75))
    arguments = ["score", trained, "--per", "char", "--above", 75, "--percentile", "--json"]
    result = charrnn(*arguments)
    assert [row["char"] for row in json_rows(result)] == [
        row["char"] for row in rows if row["bits"] > threshold
    ]
    assert f"percentile 75 of {len(rows)} validation characters" in result.stderr


def test_two_models_are_compared_in_windows_too(charrnn, stream):
    """--compare with --window scores each model as eval does with --window."""
    single = json.loads(charrnn("eval", stream, "-", "--window", 9, "--json", stdin=PROSE).stdout)
    arguments = ["eval", stream, "-", "--window", 9, "--compare", stream, "--json"]
    compared = json.loads(charrnn(*arguments, stdin=PROSE).stdout)
    assert compared["this"]["nats_per_char"] == pytest.approx(single["nats_per_char"], abs=1e-9)
