"""What `charrnn train` prints: lines that fit a terminal, and a bar that fits a narrow one."""

import os
import re
import struct
import subprocess
import sys

import pytest
from processes import CHARRNN
from run_helpers import PROSE


def test_the_lines_of_a_run_fit_80_columns(config, charrnn, tmp_path, monkeypatch):
    """The first lines name the network and the text, the last one what to type next."""
    monkeypatch.chdir(tmp_path)
    path = config(PROSE, "stream", model={"cell": "lstm", "hidden": 16, "layers": 2})
    lines = charrnn("train", path).stderr.splitlines()
    assert re.fullmatch(
        r"lstm, 2 layers of 16 units, [\d,]+ parameters; 1 worker; about \d+ seconds", lines[0]
    )
    assert re.fullmatch(r"[\d,]+ characters to learn from, [\d,]+ held out", lines[1])
    assert lines[2].startswith("initial loss ")
    number = r"\d\.\d{4}"
    step = rf"step (10|20)/20  train {number}  validation {number} nats  [\d,]+k chars/s"
    assert [bool(re.fullmatch(step, line)) for line in lines[3:5]] == [True, True]
    last = rf"best validation {number} nats at step \d+; try: charrnn sample small.npz"
    assert re.fullmatch(last, lines[-1])
    assert max(map(len, lines)) <= 80


def test_a_line_comes_every_ten_seconds_without_a_terminal(config, charrnn, monkeypatch):
    """Between validations, a line with the training loss shows that the run goes ahead."""
    monkeypatch.setattr("charrnn.cli.progress.LINE_S", 0.0)
    result = charrnn("train", config(output={"validate_every": 10, "log_every": 5}))
    assert re.search(r"(?m)^step  5/20  train \d\.\d{4} nats$", result.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_bar_fits_the_terminal(config, tmp_path, columns):
    """The bar shows the losses and leaves two columns for ^C; so do the lines of validations."""
    import fcntl
    import pty
    import termios

    output = {"validate_every": 1000}
    path = config(PROSE, "stream", train={"steps": 4000, "seed": 7}, output=output)
    terminal, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([*CHARRNN, "train", path], stderr=child, stdout=subprocess.DEVNULL)
    os.close(child)
    text = b""
    try:
        while chunk := os.read(terminal, 4096):
            text += chunk
    except OSError:  # the process has ended
        pass
    os.close(terminal)
    assert process.wait(60) == 0
    rows = re.split("[\r\n]+", text.decode())
    bars = [row for row in rows if "%" in row]
    assert max(map(len, bars)) <= columns - 2
    validations = [row for row in rows if re.match(r"(step )? *[\d,]+/4,000  ", row)]
    assert len(validations) == 4
    assert max(map(len, validations)) <= columns
    assert "\x1b[K" in rows[-1] or "\x1b[K" in rows[-2]  # a ^C after the bar is cleared
    word = "val" if columns < 60 else "validation"
    assert re.search(rf"train \d\.\d{{3}}  {word} \d\.\d{{3}}", bars[-1])


def test_ctrl_c_that_saved_is_no_error(config, charrnn, monkeypatch):
    """A stopped run prints where it stopped and how to resume it, without the word Error."""
    monkeypatch.setattr("charrnn.cli.progress.ProgressReporter.stop_requested", lambda _: True)
    result = charrnn("train", config())
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("stopped at step 1 of 20 and saved. To resume")
    assert "Error" not in result.stderr
