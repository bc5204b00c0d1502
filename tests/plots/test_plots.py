"""Loss curves in the terminal and as a picture."""

import doctest
import math
import os
import pty
import re
import struct
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from processes import CHARRNN, start

from charrnn import checkpoint
from charrnn.checkpoint import HISTORY_COLUMNS, Checkpoint
from charrnn.cli.plot import CLEAR
from charrnn.config.schema import Config, CorpusConfig, ModelConfig, OutputConfig
from charrnn.data.vocabulary import Vocab
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.plots import history as histories
from charrnn.plots import terminal
from charrnn.plots.history import Point, Run
from charrnn.plots.terminal import BRAILLE, Style
from charrnn.units import LN2

needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="matplotlib, the extra [plot], is not installed"
)
# The columns of HISTORY_COLUMNS; three of the six points have a validation.
HISTORY = [
    [50, 0.5, 3.2, math.nan],
    [100, 1.0, 3.0, 2.8],
    [200, 2.5, 2.6, math.nan],
    [300, 4.0, 2.4, 2.0],
    [350, 4.5, 2.3, math.nan],
    [400, 5.5, 2.2, 2.2],
]
PLAIN_STYLE = Style(columns=80, lines=24, braille=False, colour=False)
BRAILLE_STYLE = PLAIN_STYLE._replace(braille=True)
COLOUR = re.compile(r"\x1b\[38;5;\d+m")


@pytest.fixture
def saved(tmp_path):
    """A function that writes a checkpoint with a history, and returns its path."""
    output = OutputConfig(validate_every=10)
    config = Config(CorpusConfig(path=("text.txt",)), ModelConfig(hidden=2), output=output)
    model = Model(config.model, 2)
    params = Params(model.shapes(), model.dtype)
    slots = {"squares": np.zeros_like(params.flat)}

    def write(name="run.npz", history=HISTORY, step=400, finished=False):
        path = str(tmp_path / name)
        rows = np.array(history, dtype=np.float64).reshape(-1, len(HISTORY_COLUMNS))
        state, training_state = model.zero_state(1), {"step": step, "finished": finished}
        fields = (config, Vocab("\na"), params, slots, state, rows, "0" * 64, training_state)
        checkpoint.save(Checkpoint(*fields), path)
        return path

    return write


@pytest.fixture(autouse=True)
def _size(monkeypatch):
    """A terminal of 80 columns and 24 lines, whatever the size of the real one."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def run(training=(), validation=(), name="run"):
    """Return a run with these points."""
    return Run(name, [Point(*p) for p in training], [Point(*p) for p in validation])


def field(plot):
    """Return the left label, the characters between the axes and the right label of each row."""
    rows = [re.fullmatch(r" *([\d.,]*) [|+│┤](.*)[|+│├] *([\d.,]*)", s) for s in plot.split("\n")]
    return [row.groups() for row in rows if row and "--" not in row[2]]


def test_the_examples_in_docstrings_are_correct():
    """The examples in the docstrings of the plots are correct."""
    for module, count in ((histories, 5), (terminal, 2)):
        failures, examples = doctest.testmod(module)
        assert failures == 0
        assert examples >= count


def test_a_curve_fits_the_terminal(saved, charrnn, monkeypatch):
    """A plot is as wide as the terminal and one line shorter, but has a minimum number of rows."""
    paths = [saved(), saved("other.npz"), saved("a-name-that-is-longer-than-" * 5 + "all.npz")]
    for columns, lines in ((80, 24), (120, 40), (72, 17)):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        plot = charrnn("plot", *paths).stdout.split("\n")
        assert len(plot) == lines  # the last one is left for the prompt
        assert max(map(len, plot)) == columns
    for columns in (40, 60):  # with a short legend
        monkeypatch.setenv("COLUMNS", str(columns))
        plot = charrnn("plot", *paths).stdout
        assert max(map(len, plot.split("\n"))) == columns
        assert plot.count("  best 2.0000 nats\n") == 3
        assert re.match(r" nats +⠒⠒ training  ⠂ ⠂ validation +bits\n", plot)
    monkeypatch.setenv("COLUMNS", "5")
    monkeypatch.setenv("LINES", "2")
    assert len(field(charrnn("plot", *paths).stdout)) == terminal.MIN_ROWS


def test_a_curve_in_a_pipe_is_80_by_24(saved):
    """A plot in a pipe has 80 columns and 24 lines, whatever the terminal."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment["PYTHONIOENCODING"] = "utf-8"
    result = subprocess.run([*CHARRNN, "plot", saved()], capture_output=True, env=environment)
    plot = result.stdout.decode().split("\n")
    assert (result.returncode, result.stderr) == (0, b"")
    assert (len(plot), max(map(len, plot))) == (24, 80)
    assert any(BRAILLE < ord(char) < BRAILLE + 256 for char in result.stdout.decode())


def test_every_loss_is_in_its_row_and_column():
    """A loss is in the column of its step, and in the row of its nats and bits by the labels."""
    points = [(100, 2.8), (200, 2.5), (300, 2.0), (400, 2.2)]
    rows = field(terminal.draw([run(points, points)], "steps", PLAIN_STYLE))
    columns = len(rows[0][1])
    for x, nats in points:
        row = round((2.8 - nats) / 0.8 * (len(rows) - 1))
        assert rows[row][1][round(x / 400 * (columns - 1))] in ".*o"
    height = 0.8 / (len(rows) - 1)
    for k, (left, _, right) in enumerate(rows):
        if left:
            assert float(left) == pytest.approx(2.8 - k * height, abs=height / 1.9)
        if right:
            assert float(right) * LN2 == pytest.approx(2.8 - k * height, abs=height / 1.9)
    assert sum(bool(left) for left, _, _ in rows) >= 3
    assert sum(bool(right) for _, _, right in rows) >= 3


def test_braille_is_the_same_curve_in_finer_dots():
    """In braille a constant loss is one level row, and a diagonal has a dot in every column."""
    rows = field(terminal.draw([run([(0, 1.0), (100, 3.0)], [(0, 1.0)])], "steps", BRAILLE_STYLE))
    cells = [row for _, row, _ in rows]
    assert cells[-1][0] == "o"
    assert (ord(cells[0][-1]) - BRAILLE) & 0x08  # the dot in the upper right corner
    for column in zip(*cells, strict=True):
        dots = [char for char in column if char not in " "]
        masks = [ord(char) - BRAILLE for char in dots if char != "o"]
        assert dots
        assert all(sum(bool(m & side) for m in masks) for side in (0x47, 0xB8)) or "o" in dots
    level = field(terminal.draw([run([(0, 2.0), (100, 2.0)])], "steps", BRAILLE_STYLE))
    assert sum(bool(cells.strip()) for _, cells, _ in level) == 1


def count_dots(**points):
    """Return the number of dots of braille in the field of a run."""
    rows = field(terminal.draw([run(**points)], "steps", BRAILLE_STYLE))
    chars = "".join(cells for _, cells, _ in rows)
    return sum((ord(char) - BRAILLE).bit_count() for char in chars if char >= chr(BRAILLE))


def test_training_is_a_line_and_validation_dotted():
    """Validation has a quarter of the dots of training, so that they differ without colour too."""
    points = [(k, 2.0 + 0.5 * (k == 0)) for k in range(101)]
    solid, dotted = count_dots(training=points), count_dots(validation=points)
    assert solid > 100
    assert dotted == pytest.approx(solid / terminal.DOT_SPACING, rel=0.1)


def test_many_points_do_not_fill_the_field():
    """A column of the terminal has the mean of its training points; 5,000 noisy ones are level."""
    noisy = [(k, 2.0 + k % 2) for k in range(1, 5001)]
    assert count_dots(training=noisy, validation=[(1, 2.0)]) < 400


@pytest.mark.parametrize("by", ["steps", "seconds"])
def test_one_or_two_validations_are_shown(saved, charrnn, by):
    """One validation is a mark at its loss; two are joined by dots, which differ from the line."""
    rows = field(terminal.draw([run([(1, 3.0), (4, 2.0)], [(2, 2.5)])], by, PLAIN_STYLE))
    height, width = len(rows) - 1, len(rows[0][1]) - 1
    assert "".join(cells for _, cells, _ in rows).count("o") == 1
    assert rows[round(height / 2)][1][round(width / 2)] == "o"
    rows = field(terminal.draw([run([(1, 3.0), (4, 3.0)], [(2, 2.0), (4, 2.0)])], by, PLAIN_STYLE))
    assert rows[0][1].strip() == "." * len(rows[0][1].strip())
    assert re.fullmatch(r" *o( \*)+ ?", rows[-1][1])


@pytest.mark.parametrize("last", [0, 1, 2, 3, 7, 243, 5000, 0.004])
def test_the_x_axis_starts_at_0_and_counts_whole_steps(last):
    """The labels of the x axis start at 0, are apart, and are whole steps even after few steps."""
    by = "steps" if isinstance(last, int) else "seconds"
    for columns in (40, 60, 80):
        style = BRAILLE_STYLE._replace(columns=columns)
        plot = terminal.draw([run([(last, 3.0)])], by, style).split("\n")
        edge, labels = plot[-5], plot[-4].split()
        assert edge.lstrip().startswith("└┬")
        assert edge.count("┬") == len(labels) == len(set(labels)) >= 2
        assert float(labels[0]) == 0
        assert by == "seconds" or all(label.replace(",", "").isdigit() for label in labels)


def test_a_very_high_first_loss_does_not_flatten_the_curve():
    """The first of many training losses is at the upper edge, that of few is in the picture."""
    points = [(1, 90.0), *((k, 3.0 - k / 50) for k in range(2, 51))]
    assert histories.y_range([run(points)]) == (2.0, 2.96)
    assert histories.y_range([run(points, [(50, 3.5)])]) == (2.0, 3.5)
    assert histories.y_range([run(points[:5])]) == (points[4][1], 90.0)
    rows = field(terminal.draw([run(points)], "steps", PLAIN_STYLE))
    assert rows[0][1].startswith(" .")  # above its step
    assert all(cells.count(".") <= 5 for _, cells, _ in rows)


def test_several_runs_have_letters_and_a_capital_at_their_best(saved, charrnn):
    """Each of several runs has a letter, a capital at its best, and a line in the legend."""
    worse = [[*row[:3], row[3] + 0.5] for row in HISTORY]
    plot = charrnn("plot", saved("one.npz"), saved("two.npz", worse)).stdout
    inside = "".join(cells for _, cells, _ in field(plot))
    assert (inside.count("A"), inside.count("B")) == (1, 1)
    assert inside.count("a") >= 2
    assert inside.count("b") >= 2
    assert "\n a A one  best validation 2.0000 nats (2.8854 bits) at step 300\n" in plot
    assert "\n b B two  best validation 2.5000 nats (3.6067 bits) at step 300\n" in plot
    assert "\x1b" not in plot


def test_one_run_has_a_mark_at_its_best(saved, charrnn):
    """A single run has a mark at its best validation, against steps or seconds."""
    path = saved()
    plot = charrnn("plot", path).stdout
    assert "\n o run  best validation 2.0000 nats (2.8854 bits) at step 300\n" in plot
    plot = charrnn("plot", path, "--by", "seconds").stdout
    assert "\n o run  best validation 2.0000 nats (2.8854 bits) after 4.0 s\n" in plot
    assert "".join(cells for _, cells, _ in field(plot)).count("o") == 1
    assert re.search(r"^ +0 .* 5\n +seconds\n", plot, re.MULTILINE)


def on_a_terminal(*arguments, exit_code=0, **environment):
    """Return what a real process writes to a terminal."""
    terminal_end, process_end = pty.openpty()
    command = [*CHARRNN, *arguments]
    with subprocess.Popen(
        command,
        stdout=process_end,
        stderr=subprocess.DEVNULL if exit_code else None,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ) as process:
        os.close(process_end)
        output = b""
        while True:
            try:
                piece = os.read(terminal_end, 4096)
            except OSError:  # the process has closed its end
                break
            if not piece:
                break
            output += piece
    os.close(terminal_end)
    assert process.returncode == exit_code
    return output.decode()


def test_a_terminal_gets_colours_unless_no_color_is_set(saved):
    """A terminal gets colours unless NO_COLOR is set, and a bare console gets ASCII."""
    paths = [saved("one.npz"), saved("two.npz")]
    settings = {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", "NO_COLOR": ""}
    coloured = on_a_terminal("plot", *paths, **settings)
    assert {"\x1b[38;5;33m", "\x1b[38;5;208m"} == set(COLOUR.findall(coloured))
    single = on_a_terminal("plot", paths[0], **settings)
    assert {"\x1b[38;5;33m", f"\x1b[38;5;{terminal.GREY}m"} == set(COLOUR.findall(single))
    plain = on_a_terminal("plot", *paths, **{**settings, "NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert plain == COLOUR.sub("", coloured).replace("\x1b[0m", "")
    console = on_a_terminal("plot", *paths, **{**settings, "TERM": "linux"})
    assert COLOUR.sub("", console).replace("\x1b[0m", "").isascii()


def read_chart(output):
    """Return the text that a terminal gets up to the end of the legend."""
    lines = []
    while not lines or "best validation" not in lines[-1]:
        lines.append(output.readline().decode())
    return "".join(lines)


def test_follow_redraws_at_a_save_until_the_run_is_finished(saved):
    """With --follow each save is drawn on a cleared screen, and a finished run ends the program."""
    path = saved(history=HISTORY[:2])
    terminal_end, process_end = pty.openpty()
    code = "from charrnn.cli import plot\nplot.FOLLOW_S = 0.01"
    with start("plot", "--follow", path, code=code, stdout=process_end) as process:
        os.close(process_end)
        with os.fdopen(terminal_end, "rb") as output:
            charts = [read_chart(output)]
            for rows, finished in ((4, False), (6, True)):
                saved(history=HISTORY[:rows], finished=finished)
                charts.append(read_chart(output))
        assert (process.wait(20), process.stderr.read()) == (0, b"")
    assert all(chart.startswith(CLEAR) for chart in charts)
    ends = [re.findall(r"best validation (.*) nats .* step (\d+)", chart) for chart in charts]
    assert ends == [[("2.8000", "100")], [("2.0000", "300")], [("2.0000", "300")]]
    assert "400" not in charts[1]
    assert "400" in charts[2]


def test_follow_needs_files_and_a_terminal(saved, charrnn):
    """In a pipe, with a picture or with stdin, --follow is a usage error."""
    path = saved()
    in_pipe = charrnn("plot", path, "--follow")
    assert (in_pipe.exit_code, in_pipe.stdout) == (2, "")
    assert "--follow draws files in a terminal: without --out, - or a pipe" in in_pipe.stderr
    for argument in ("--out=loss.png", "-"):
        assert on_a_terminal("plot", "--follow", path, argument, exit_code=2) == ""


def test_the_environment_may_name_several_checkpoints(saved, charrnn, monkeypatch):
    """CHARRNN_CHECKPOINT can contain several paths, separated as in PATH."""
    paths = [saved("one.npz"), saved("two.npz")]
    monkeypatch.setenv("CHARRNN_CHECKPOINT", os.pathsep.join(paths))
    assert charrnn("plot").stdout == charrnn("plot", *paths).stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_an_encoding_without_braille_gets_plain_characters(saved, encoding):
    """A plot in an encoding without braille is ASCII, without escapes."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run([*CHARRNN, "plot", saved()], capture_output=True, env=environment)
    assert result.returncode == 0
    assert result.stdout.isascii()
    assert b"\\" not in result.stdout
    assert b".. training  * * validation" in result.stdout
    assert result.stdout.count(b"*") > 20


def test_a_name_cannot_control_the_terminal(saved, charrnn):
    """Control characters in the name of a run are shown as escapes."""
    assert "\n o x\\x1b[2Jy  best" in charrnn("plot", saved("x\x1b[2Jy.npz")).stdout
    assert histories.names(["\u202eabc.npz", "a\nb.npz", "\udcff.npz", "日本é.npz"]) == [
        "\\u202eabc", "a\\nb", "\\udcff", "日本é"]  # fmt: skip


def test_names_are_unique():
    """Equal file names get as many folders as make them unique; a repeated file gets a number."""
    paths = ["a/x/run.npz", "b/x/run.npz", "b/y/run.npz", "b/y/other.npz", "b/y/run.npz"]
    assert histories.names(paths) == ["a/x/run", "b/x/run", "y/run", "other", "y/run (2)"]
    assert histories.names(["run.npz", "old/run.npz", "run.txt"]) == ["run", "old/run", "run.txt"]


def test_a_checkpoint_can_come_from_stdin(saved, charrnn):
    """One checkpoint can come from standard input; two are refused."""
    path = saved()
    with open(path, "rb") as stream:
        raw = stream.read()
    plot = charrnn("plot", "-", stdin=raw).stdout
    assert plot == charrnn("plot", path).stdout.replace(" run ", " standard input ")
    twice = charrnn("plot", "-", "-", stdin=raw)
    assert (twice.exit_code, twice.stdout) == (2, "")
    assert "only one checkpoint can come from standard input" in twice.stderr


def test_the_curves_are_the_columns_of_the_history(saved):
    """Training has every row of the history, and validation those that are not NaN."""
    unfinished, finished = saved(), saved("finished.npz", finished=True)
    (by_steps,), is_finished = histories.read([finished], "steps")
    assert is_finished
    assert by_steps.training == [(row[0], row[2]) for row in HISTORY]
    assert by_steps.validation == [(100, 2.8), (300, 2.0), (400, 2.2)]
    (by_seconds, _), are_finished = histories.read([unfinished, finished], "seconds")
    assert not are_finished
    assert by_seconds.training == [(row[1], row[2]) for row in HISTORY]
    assert by_seconds.validation == [(1.0, 2.8), (4.0, 2.0), (5.5, 2.2)]


def test_a_run_without_a_validation_has_a_training_curve(saved, charrnn):
    """A run without a validation has a training curve, and no mark at its best."""
    path = saved(history=[[*row[:3], math.nan] for row in HISTORY])
    plot = charrnn("plot", path)
    assert plot.exit_code == 0
    assert "\n o run  no validation\n" in plot.stdout
    inside = "".join(cells for _, cells, _ in field(plot.stdout))
    assert "o" not in inside
    assert inside.strip()


def test_a_checkpoint_without_a_loss_is_refused(saved, charrnn):
    """A checkpoint without a loss is refused; the message has its step and a command."""
    path, good = saved("none.npz", [], step=3), saved()
    for arguments in (
        [path],
        [good, path],
        [path, "-o", "x.svg"] if find_spec("matplotlib") else [path],
    ):
        result = charrnn("plot", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{path} is at step 3 and contains no loss to draw yet" in result.stderr
        assert f"To resume its training: charrnn train {path} --resume" in result.stderr


@pytest.mark.parametrize(
    "history",
    [
        [[1, 1, 2.0, 2.0]],
        [[0, 0, 0.0, 0.0]],
        [[5, 1, 2, 2.0], [5, 1, 2, 2.0], [3, 0, 2, 3.0]],
        [[1, 1, 1e-300, 1e-300], [2, 2, 2e-300, 2e-300]],
        [[1, 1, math.inf, 2.0], [2, 2, 1e308, 1e6], [9e18, 1e-9, math.nan, -1.0]],
        [[k, k / 7, 1e6 if k == 1 else 2 + k % 3, 2 + k % 5] for k in range(1, 1000)],
    ],
    ids=["one", "zeros", "repeated", "tiny", "absurd", "many"],
)
@pytest.mark.parametrize("by", ["steps", "seconds"])
def test_any_history_can_be_drawn(saved, charrnn, history, by, tmp_path):
    """A history of one, equal, many or absurd validations can be drawn."""
    path = saved(history=history)
    for style in (PLAIN_STYLE, BRAILLE_STYLE):
        plot = terminal.draw(histories.read([path], by)[0], by, style)
        assert "o run  best validation" in plot
        assert max(map(len, plot.split("\n"))) <= 80
    if find_spec("matplotlib") and by == "seconds":
        assert charrnn("plot", path, "--by", by, "-o", tmp_path / "x.png").exit_code == 0


@pytest.mark.parametrize("name", ["loss", "loss.npz", "loss.gif", ".png", "png", "folder/"])
def test_a_picture_with_another_ending_is_refused(saved, charrnn, tmp_path, name):
    """A picture without the ending .png, .svg or .pdf is refused before any file is read."""
    result = charrnn("plot", tmp_path / "none.npz", "-o", f"{tmp_path}/{name}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "let --out end in .png, .svg or .pdf" in result.stderr


@pytest.mark.parametrize("missing", ["matplotlib", "matplotlib.figure"])
def test_a_picture_without_matplotlib_is_one_message(
    saved, charrnn, tmp_path, monkeypatch, missing
):
    """Without matplotlib the message names the extra and the plot in the terminal."""
    monkeypatch.delitem(sys.modules, "charrnn.plots.figure", raising=False)
    monkeypatch.delattr("charrnn.plots.figure", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    path = saved()
    result = charrnn("plot", path, "-o", tmp_path / "loss.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "matplotlib, which is not installed" in result.stderr
    assert "pip install 'charrnn-numpy[plot]'" in result.stderr
    assert "a curve in the terminal" in result.stderr
    assert not (tmp_path / "loss.png").exists()
    assert charrnn("plot", path).exit_code == 0


@needs_matplotlib
def test_the_ending_of_a_picture_selects_its_format(saved, charrnn, tmp_path):
    """The ending of a picture selects its format; its path is printed and no other file is left."""
    path, before = saved(), sorted(tmp_path.iterdir())
    for name, signature in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF-")):
        out = tmp_path / name
        result = charrnn("plot", path, "-o", out)
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{out}\n", "")
        assert out.read_bytes().startswith(signature)
        out.unlink()
    assert sorted(tmp_path.iterdir()) == before


@needs_matplotlib
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_checkpoints_give_the_same_bytes(saved, monkeypatch, kind):
    """A picture has the same bytes at another time and with another style, which stays set."""
    import matplotlib

    from charrnn.plots import figure as figures

    runs, _ = histories.read([saved(), saved("other.npz")], "steps")
    first = figures.picture(runs, "steps", kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "9")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20}):
        assert figures.picture(runs, "steps", kind) == first
        assert matplotlib.rcParams["font.size"] == 20


@needs_matplotlib
def test_a_picture_can_go_to_stdout(saved, charrnn):
    """With `-o -` stdout has a PNG alone."""
    png = charrnn("plot", saved(), "-o", "-").stdout_bytes
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")


@needs_matplotlib
def test_a_picture_has_every_curve_in_nats_and_bits(saved):
    """A picture has the curves of every run, axes in nats and bits, and a legend."""
    from matplotlib.figure import Figure

    from charrnn.plots import figure as figures

    runs, _ = histories.read([saved("_one$x$.npz"), saved("two.npz")], "steps")
    figure = Figure()
    figures._draw(figure, runs, "steps")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    curves = [line.get_xydata().tolist() for line in axes.lines]
    for run in runs:
        assert [list(point) for point in run.training] in curves
        assert [list(point) for point in run.validation] in curves
        assert [list(run.best)] in curves
    (bits,) = axes.child_axes
    assert np.array(bits.get_ylim()) * LN2 == pytest.approx(axes.get_ylim())
    assert (axes.get_ylabel(), bits.get_ylabel()) == ("nats per character", "bits per character")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [
        "_one$x$   2.0000 nats at step 300",
        "two   2.0000 nats at step 300",
        "training",
        "validation",
        "best validation",
    ]


@needs_matplotlib
@pytest.mark.parametrize(("validations", "marker"), [(1, "."), (20, "."), (21, "")])
def test_a_picture_of_one_run_is_a_thin_and_a_strong_line(validations, marker):
    """Training is thin; validation is strong, with marks if it has few points. The x axis is whole.

    A very high first loss is above the picture.
    """
    from matplotlib.figure import Figure

    from charrnn.plots import figure as figures

    points = [(k, 90.0 if k == 1 else 3.0 - k / 50) for k in range(1, 51)]
    figure = Figure()
    figures._draw(figure, [run(points, points[-validations:])], "steps")
    (axes,) = figure.axes
    validation, training, best = axes.lines
    assert validation.get_linewidth() >= 2 * training.get_linewidth()
    assert (validation.get_marker(), training.get_marker(), best.get_marker()) == (marker, "", "o")
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim() == pytest.approx((2.0 - 0.96 / 20, 2.96 + 0.96 / 20))
    figures._draw(figure := Figure(), [run([(1, 3.0), (2, 2.9)])], "steps")
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())


@needs_matplotlib
def test_a_picture_has_up_to_26_runs_with_any_names(saved, charrnn, tmp_path):
    """A picture has up to 26 runs with any names; 27 are refused, in the terminal too."""
    paths = [saved(f"日本 $\\frac{k}$.npz") for k in range(26)]
    out = tmp_path / "a.png"
    assert charrnn("plot", *paths, "-o", out).exit_code == 0
    width, height = struct.unpack(">II", out.read_bytes()[16:24])
    assert width > 1050
    assert height > 630
    assert charrnn("plot", *paths).exit_code == 0
    for options in ([], ["-o", out]):
        assert charrnn("plot", *paths, paths[0], *options).exit_code == 2


@needs_matplotlib
def test_a_picture_that_cannot_be_written_leaves_the_old_one(saved, charrnn, tmp_path):
    """A picture that cannot be written gives one message and leaves the old file as it is."""
    path = saved()
    for out in (tmp_path / "none" / "a.png", tmp_path / "folder.png"):
        (tmp_path / "folder.png").mkdir(exist_ok=True)
        result = charrnn("plot", path, "-o", out)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{out} cannot be written: " in result.stderr
        assert "--out FILE" in result.stderr
    (tmp_path / "a.png").write_bytes(b"old")
    assert charrnn("plot", tmp_path / "lost.npz", "-o", tmp_path / "a.png").exit_code == 1
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*.part"))


def test_help_needs_neither_numpy_nor_matplotlib():
    """The help of `plot` imports neither NumPy nor matplotlib, so that it is fast."""
    code = (
        "import sys\nfrom charrnn.cli.app import main\n"
        "main(['plot', '-h'], standalone_mode=False)\n"
        "print({'numpy', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.endswith("set()\n")
