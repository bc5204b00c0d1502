"""Losses as a curve in the terminal and as a picture: what is drawn, where, and what cannot be."""

import dataclasses
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
from processes import CHARRNN

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.config.schema import Config, CorpusConfig, ModelConfig, OutputConfig
from charrnn.data.vocabulary import Vocab
from charrnn.nn.model import Model
from charrnn.nn.parameters import Params
from charrnn.plots import history as losses
from charrnn.plots import terminal as curve
from charrnn.plots.history import Point, Run
from charrnn.plots.terminal import BRAILLE, Style
from charrnn.units import LN2

needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="matplotlib, the extra [plot], is not installed"
)
# step, seconds, smooth_nats, train_nats, validation_nats
HISTORY = [
    [100, 1.0, 3.2, 3.0, 2.8],
    [200, 2.5, 3.0, 2.6, 2.5],
    [300, 4.0, 2.8, 2.4, 2.0],
    [400, 5.5, 2.6, 2.2, 2.2],
]
PLAIN = Style(columns=80, lines=24, braille=False, colour=False)
BRAILLES = dataclasses.replace(PLAIN, braille=True)
COLOUR = re.compile(r"\x1b\[38;5;\d+m")


@pytest.fixture
def saved(tmp_path):
    """Writes checkpoints with a history, of an untrained model; returns their paths."""
    output = OutputConfig(validate_every=10)
    config = Config(CorpusConfig(path=("text.txt",)), ModelConfig(hidden=2), output=output)
    model = Model(config.model, 2)
    params = Params(model.shapes(), model.dtype)
    slots = {"squares": np.zeros_like(params.flat)}

    def write(name="run.npz", history=HISTORY, step=400):
        path = str(tmp_path / name)
        rows = np.array(history, dtype=np.float64).reshape(-1, 5)
        state, progress = model.zero_state(1), {"step": step}
        parts = (config, Vocab("\na"), params, slots, state, rows, "0" * 64, progress)
        checkpoint.save(Checkpoint(*parts), path)
        return path

    return write


@pytest.fixture(autouse=True)
def _size(monkeypatch):
    """Of the terminal, whatever the one that the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def run(training=(), validation=(), name="run"):
    return Run(name, [Point(*p) for p in training], [Point(*p) for p in validation])


def field(drawn):
    """The cells between the two axes, row by row, and the labels left and right of them."""
    rows = [re.fullmatch(r" *([\d.,]*) [|+│┤](.*)[|+│├] *([\d.,]*)", s) for s in drawn.split("\n")]
    return [row.groups() for row in rows if row and "--" not in row[2]]


def test_the_examples_in_the_documentation_are_true():
    """Names, places, ticks, and the mean of the last steps."""
    for module, count in ((losses, 4), (curve, 1)):
        failed, tried = doctest.testmod(module)
        assert failed == 0
        assert tried >= count


def test_a_curve_fits_the_terminal(saved, charrnn, monkeypatch):
    """No line is wider, and one line is left for the prompt; a tiny one gets the least there is."""
    paths = [saved(), saved("other.npz"), saved("a-name-that-is-longer-than-" * 5 + "all.npz")]
    for columns, lines in ((80, 24), (120, 40), (72, 17)):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        drawn = charrnn("plot", *paths).stdout.split("\n")
        assert len(drawn) == lines  # the last one is the prompt's
        assert max(map(len, drawn)) == columns
    monkeypatch.setenv("COLUMNS", "5")
    monkeypatch.setenv("LINES", "2")
    assert len(field(charrnn("plot", *paths).stdout)) == curve.LEAST_ROWS


def test_a_curve_in_a_pipe_is_80_by_24(saved):
    """Whatever the terminal behind it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment["PYTHONIOENCODING"] = "utf-8"
    done = subprocess.run([*CHARRNN, "plot", saved()], capture_output=True, env=environment)
    drawn = done.stdout.decode().split("\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (len(drawn), max(map(len, drawn))) == (24, 80)
    assert any(BRAILLE < ord(char) < BRAILLE + 256 for char in done.stdout.decode())


def test_every_loss_stands_where_it_should():
    """Its column is its step, its row is its nats by the left labels and its bits by the right."""
    points = [(p[0], p[4]) for p in HISTORY]
    rows = field(curve.draw([run(validation=points)], "steps", PLAIN))
    columns = len(rows[0][1])
    for x, nats in points:
        row = round((2.8 - nats) / 0.8 * (len(rows) - 1))
        assert rows[row][1][round(x / 400 * (columns - 1))] in "*o"
    height = 0.8 / (len(rows) - 1)
    for k, (left, _, right) in enumerate(rows):
        if left:
            assert float(left) == pytest.approx(2.8 - k * height, abs=height / 1.9)
        if right:
            assert float(right) * LN2 == pytest.approx(2.8 - k * height, abs=height / 1.9)
    assert sum(bool(left) for left, _, _ in rows) >= 3
    assert sum(bool(right) for _, _, right in rows) >= 3


def test_braille_is_the_same_curve_in_finer_dots():
    """A line of constant loss is level; one from corner to corner has a dot in every column."""
    rows = field(curve.draw([run(validation=[(0, 1.0), (100, 3.0)])], "steps", BRAILLES))
    cells = [row for _, row, _ in rows]
    assert cells[-1][0] == "o"
    assert (ord(cells[0][-1]) - BRAILLE) & 0x08  # the dot in the upper right corner
    for column in zip(*cells, strict=True):
        dots = [char for char in column if char not in " "]
        masks = [ord(char) - BRAILLE for char in dots if char != "o"]
        assert dots
        assert all(sum(bool(m & side) for m in masks) for side in (0x47, 0xB8)) or "o" in dots
    level = field(curve.draw([run(validation=[(0, 2.0), (100, 2.0)])], "steps", BRAILLES))
    assert sum(bool(cells.strip()) for _, cells, _ in level) == 1


def test_training_is_dotted_and_validation_full():
    """So that they can be told apart without colour."""
    line = [(k, 2.0 + 0.5 * (k == 0)) for k in range(101)]

    def dots(drawn):
        return sum((ord(c) - BRAILLE).bit_count() for c in drawn if c >= chr(BRAILLE))

    key = dots(curve.draw([run(validation=[(9, 2.0)])], "steps", BRAILLES))  # of the first line
    full = dots(curve.draw([run(validation=line)], "steps", BRAILLES)) - key
    dotted = dots(curve.draw([run(training=line)], "steps", BRAILLES)) - key
    assert full > 100
    assert dotted == pytest.approx(full / curve.DOTTED, rel=0.1)
    noisy = [(k, 2.0 + k % 2) for k in range(5000)]
    assert dots(curve.draw([run(training=noisy)], "steps", BRAILLES)) - key < full


def test_several_runs_have_letters_and_a_capital_at_their_best(saved, charrnn):
    """And a line each that says whose letter it is and how good that was."""
    worse = [[*row[:4], row[4] + 0.5] for row in HISTORY]
    drawn = charrnn("plot", saved("one.npz"), saved("two.npz", worse)).stdout
    inside = "".join(cells for _, cells, _ in field(drawn))
    assert (inside.count("A"), inside.count("B")) == (1, 1)
    assert inside.count("a") >= 2
    assert inside.count("b") >= 2
    assert "\n a A one  best validation 2.0000 nats (2.8854 bits) at step 300\n" in drawn
    assert "\n b B two  best validation 2.5000 nats (3.6067 bits) at step 300\n" in drawn
    assert "\x1b" not in drawn


def test_one_run_has_a_mark_at_its_best(saved, charrnn):
    """Against steps or seconds."""
    path = saved()
    assert "\n o run  best validation 2.0000 nats (2.8854 bits) at step 300\n" in charrnn(
        "plot", path).stdout  # fmt: skip
    drawn = charrnn("plot", path, "--by", "seconds").stdout
    assert "\n o run  best validation 2.0000 nats (2.8854 bits) after 4.0 s\n" in drawn
    assert "".join(cells for _, cells, _ in field(drawn)).count("o") == 1
    assert re.search(r"^ +0 .* 5\n +seconds\n", drawn, re.MULTILINE)


def on_a_terminal(*words, **environment):
    """What a real process writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [*CHARRNN, *words]
    with subprocess.Popen(
        command, stdout=theirs, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            seen += piece
    os.close(ours)
    assert process.returncode == 0
    return seen.decode()


def test_a_terminal_gets_colours_unless_somebody_declines(saved):
    """With NO_COLOR it gets the curve of a pipe, and on a bare console one without braille."""
    paths = [saved("one.npz"), saved("two.npz")]
    settings = {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", "NO_COLOR": ""}
    coloured = on_a_terminal("plot", *paths, **settings)
    assert {"\x1b[38;5;33m", "\x1b[38;5;208m"} == set(COLOUR.findall(coloured))
    plain = on_a_terminal("plot", *paths, **{**settings, "NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert plain == COLOUR.sub("", coloured).replace("\x1b[0m", "")
    console = on_a_terminal("plot", *paths, **{**settings, "TERM": "linux"})
    assert COLOUR.sub("", console).replace("\x1b[0m", "").isascii()


def test_the_environment_may_name_several_checkpoints(saved, charrnn, monkeypatch):
    """Separated as in PATH."""
    paths = [saved("one.npz"), saved("two.npz")]
    monkeypatch.setenv("CHARRNN_CHECKPOINT", os.pathsep.join(paths))
    assert charrnn("plot").stdout == charrnn("plot", *paths).stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_an_encoding_without_braille_gets_plain_characters(saved, encoding):
    """All of them ASCII, and nothing escaped."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*CHARRNN, "plot", saved()], capture_output=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"\\" not in done.stdout
    assert done.stdout.count(b"*") > 20


def test_a_name_cannot_command_the_terminal(saved, charrnn):
    """Control characters are shown as escapes."""
    assert "\n o x\\x1b[2Jy  best" in charrnn("plot", saved("x\x1b[2Jy.npz")).stdout
    assert losses.names(["\u202eabc.npz", "a\nb.npz", "\udcff.npz", "日本é.npz"]) == [
        "\\u202eabc", "a\\nb", "\\udcff", "日本é"]  # fmt: skip


def test_names_alike_are_told_apart():
    """By as many folders as it takes, and no more; the same file twice by a number."""
    same = ["a/x/run.npz", "b/x/run.npz", "b/y/run.npz", "b/y/other.npz", "b/y/run.npz"]
    assert losses.names(same) == ["a/x/run", "b/x/run", "y/run", "other", "y/run (2)"]
    assert losses.names(["run.npz", "old/run.npz", "run.txt"]) == ["run", "old/run", "run.txt"]


def test_the_checkpoint_may_come_from_stdin(saved, charrnn):
    """One of them; two are refused."""
    path = saved()
    with open(path, "rb") as stream:
        raw = stream.read()
    drawn = charrnn("plot", "-", stdin=raw).stdout
    assert drawn == charrnn("plot", path).stdout.replace(" run ", " standard input ")
    twice = charrnn("plot", "-", "-", stdin=raw)
    assert (twice.exit_code, twice.stdout) == (2, "")
    assert "only one checkpoint can come from standard input" in twice.stderr


def test_training_is_the_mean_of_the_last_steps(saved):
    """Of `validate_every` (10 here) or a fiftieth of the run; --smooth is min-char-rnn's."""
    path = saved(history=[*HISTORY, [402, 6.0, 2.5, 9.0, 2.3]])
    (mean,), (smooth,) = losses.read([path], "steps", False), losses.read([path], "seconds", True)
    last = (2 * 9.0 + 100 * 2.2) / 102
    assert [p.nats for p in mean.training] == pytest.approx([3.0, 2.6, 2.4, 2.2, last], rel=1e-12)
    assert [p.x for p in mean.training] == [100, 200, 300, 400, 402]
    assert smooth.training == [(r[1], r[2]) for r in HISTORY] + [(6.0, 2.5)]
    long = saved(history=[[k, k, 1.0, 2.0 + (k % 20 < 10), 2.0] for k in range(1, 1001)], step=1000)
    (run,) = losses.read([long], "steps", False)
    assert [p.nats for p in run.training[20:]] == pytest.approx([2.5] * 980)


def test_a_run_without_a_validation_part_has_its_training_drawn(saved, charrnn):
    """And nothing is noted as its best."""
    path = saved(history=[[*row[:4], math.nan] for row in HISTORY])
    drawn = charrnn("plot", path)
    assert drawn.exit_code == 0
    assert "no validation part" in drawn.stdout
    inside = "".join(cells for _, cells, _ in field(drawn.stdout))
    assert "o" not in inside
    assert inside.strip()


def test_a_checkpoint_without_validations_is_told(saved, charrnn):
    """With the step of the first, and what to type; also among others."""
    path, good = saved("none.npz", [], step=3), saved()
    for words in (
        [path],
        [good, path],
        [path, "-o", "x.svg"] if find_spec("matplotlib") else [path],
    ):
        result = charrnn("plot", *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{path} is at step 3 and holds no validation yet" in result.stderr
        assert "The first comes at step 10. To resume its training: " in result.stderr
        assert f"charrnn train {path} --resume" in result.stderr


@pytest.mark.parametrize(
    "history",
    [
        [[1, 1, 2.0, 2.0, 2.0]],
        [[0, 0, 0.0, 0.0, 0.0]],
        [[5, 1, 2, 2, 2.0], [5, 1, 2, 2, 2.0], [3, 0, 2, 2, 3.0]],
        [[1, 1, 1e-300, 1e-300, 1e-300], [2, 2, 2e-300, 2e-300, 2e-300]],
        [[1, 1, 2, math.inf, 2.0], [2, 2, 2, 1e308, 1e6], [9e18, 1e-9, 2, math.nan, -1.0]],
        [[k, k / 7, 2, 2 + k % 3, 2 + k % 5] for k in range(1, 1000)],
    ],
    ids=["one", "zeros", "repeated", "tiny", "absurd", "many"],
)
@pytest.mark.parametrize("by", ["steps", "seconds"])
def test_any_history_can_be_drawn(saved, charrnn, history, by, tmp_path):
    """One validation, none that differ, more than dots, or numbers that no run has."""
    path = saved(history=history)
    for encoding in (True, False):
        style = dataclasses.replace(PLAIN, braille=encoding)
        drawn = curve.draw(losses.read([path], by, False), by, style)
        assert "o run  best validation" in drawn
        assert max(map(len, drawn.split("\n"))) <= 80
    if find_spec("matplotlib") and by == "seconds":
        assert charrnn("plot", path, "--by", by, "-o", tmp_path / "x.png").exit_code == 0


@pytest.mark.parametrize("name", ["loss", "loss.npz", "loss.gif", ".png", "png", "folder/"])
def test_a_name_that_tells_no_kind_of_picture_is_refused(saved, charrnn, tmp_path, name):
    """Before anything is read; the message has the endings that work."""
    result = charrnn("plot", tmp_path / "none.npz", "-o", f"{tmp_path}/{name}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "let --out end in .png, .svg or .pdf" in result.stderr


@pytest.mark.parametrize("missing", ["matplotlib", "matplotlib.figure"])
def test_a_picture_without_matplotlib_is_one_message(
    saved, charrnn, tmp_path, monkeypatch, missing
):
    """It names the extra and the curve, which does without; nothing is written."""
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
def test_a_picture_is_of_the_kind_that_its_name_says(saved, charrnn, tmp_path):
    """Its path is printed, and nothing is left beside it."""
    path, before = saved(), sorted(tmp_path.iterdir())
    for name, beginning in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF-")):
        out = tmp_path / name
        result = charrnn("plot", path, "-o", out)
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{out}\n", "")
        assert out.read_bytes().startswith(beginning)
        out.unlink()
    assert sorted(tmp_path.iterdir()) == before


@needs_matplotlib
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_checkpoints_give_the_same_bytes(saved, monkeypatch, kind):
    """At another time, and whatever style the user likes, which stays as it was."""
    import matplotlib

    from charrnn.plots import figure as plot

    runs = losses.read([saved(), saved("other.npz")], "steps", False)
    first = plot.picture(runs, "steps", kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "9")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20}):
        assert plot.picture(runs, "steps", kind) == first
        assert matplotlib.rcParams["font.size"] == 20


@needs_matplotlib
def test_a_picture_may_go_to_stdout(saved, charrnn):
    """As a PNG, and nothing with it."""
    drawn = charrnn("plot", saved(), "-o", "-").stdout_bytes
    assert drawn.startswith(b"\x89PNG")
    assert drawn.endswith(b"IEND\xaeB`\x82")


@needs_matplotlib
def test_a_picture_has_every_curve_in_nats_and_bits(saved):
    """What its lines, axes and legend hold, as matplotlib tells."""
    from matplotlib.figure import Figure

    from charrnn.plots import figure as plot

    runs = losses.read([saved("_one$x$.npz"), saved("two.npz")], "steps", False)
    figure = Figure()
    plot._draw(figure, runs, "steps")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    for run in runs:
        assert [list(point) for point in run.training] in drawn
        assert [list(point) for point in run.validation] in drawn
        assert [list(run.best)] in drawn
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
def test_a_picture_takes_any_name_and_up_to_26_runs(saved, charrnn, tmp_path):
    """27 are refused, in the terminal too."""
    paths = [saved(f"日本 $\\frac{k}$.npz") for k in range(26)]
    out = tmp_path / "a.png"
    assert charrnn("plot", *paths, "-o", out).exit_code == 0
    width, height = struct.unpack(">II", out.read_bytes()[16:24])
    assert width > 1050
    assert height > 630
    assert charrnn("plot", *paths).exit_code == 0
    for words in ([], ["-o", out]):
        assert charrnn("plot", *paths, paths[0], *words).exit_code == 2


@needs_matplotlib
def test_a_picture_that_cannot_be_written_leaves_the_old_one(saved, charrnn, tmp_path):
    """A message, and no part of a file."""
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
    """So it is there at once."""
    code = (
        "import sys\nfrom charrnn.cli.app import main\n"
        "main(['plot', '-h'], standalone_mode=False)\n"
        "print({'numpy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
