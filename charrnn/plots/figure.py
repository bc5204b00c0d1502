"""Loss curves as a picture by matplotlib: the same bytes for the same checkpoints."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from charrnn.plots.history import Run, format_x, shorten, y_range
from charrnn.units import LN2, bits

# The colours of Okabe and Ito, which colour-blind people can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
STYLES = cycler(linestyle=("-", "--", "-.", ":")) * cycler(color=COLOURS)  # of validation
GREY = "#555555"
MAX_NAME_CHARS = 40
MAX_INSIDE_RUNS = 6  # with more runs the legend is outside the axes
MARKED = 20  # validations of a run, up to which each has a mark
INCHES = (7.0, 4.2)  # width and height
VALIDATION: dict[str, Any] = {"linewidth": 1.8, "zorder": 3}
TRAINING: dict[str, Any] = {"linestyle": "-", "linewidth": 0.9, "alpha": 0.55}
BEST: dict[str, Any] = {"marker": "o", "linestyle": "", "markerfacecolor": "white", "zorder": 4}
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(["axes.edgecolor", "axes.labelcolor", "axes.titlecolor"], GREY),
    **dict.fromkeys(["legend.labelcolor", "xtick.color", "ytick.color"], GREY),
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9,
    "grid.color": "#e6e6e6",
    "legend.edgecolor": "none",
    "pdf.fonttype": 42,  # embedded as TrueType: text that can be searched and copied
    "savefig.dpi": 150,
    "svg.hashsalt": "charrnn",  # ids of elements, otherwise random
}
WITHOUT_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def picture(runs: Sequence[Run], by: str, kind: str) -> bytes:
    """Return an image file with the losses of all runs; `kind` is png, svg or pdf."""
    stream = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters that the font lacks
        matplotlib.rcdefaults()  # without the user's matplotlibrc
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=INCHES, layout="constrained")
        _draw(figure, runs, by)
        figure.savefig(stream, format=kind, metadata=WITHOUT_DATE.get(kind))
    return stream.getvalue()


def _draw(figure: Figure, runs: Sequence[Run], by: str) -> None:
    """Draw validation as a strong line, and training as a thin one of the same colour."""
    axes = figure.subplots()
    axes.set_prop_cycle(STYLES)
    entries = []  # of the legend: a line and its label
    for run in runs:
        marked = {**VALIDATION, "marker": "." if len(run.validation) <= MARKED else ""}
        (line,) = axes.plot(*np.reshape(run.validation, (-1, 2)).T, **marked)
        style = {**TRAINING, "marker": "." if len(run.training) == 1 else ""}
        axes.plot(*np.reshape(run.training, (-1, 2)).T, color=line.get_color(), **style)
        best = ""
        if run.best:
            axes.plot([run.best.x], [run.best.nats], color=line.get_color(), **BEST)
            best = f"   {run.best.nats:.4f} nats {format_x(run.best.x, by)}"
        entries.append((line, shorten(run.name, MAX_NAME_CHARS) + best))
    colour = GREY
    if len(runs) == 1:
        axes.set_title(shorten(runs[0].name, MAX_NAME_CHARS), parse_math=False)
        colour, entries = COLOURS[0], []
    else:
        best = ""
    kinds = {"training": TRAINING}
    if any(run.validation for run in runs):
        kinds |= {"validation": VALIDATION, f"best validation{best}": BEST}
    entries += [(Line2D([], [], color=colour, **kind), label) for label, kind in kinds.items()]
    _add_legend(figure, entries, inside=len(runs) <= MAX_INSIDE_RUNS)
    low, high = y_range(runs)
    margin = (high - low) / 20
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", integer=by == "steps")
    axes.set_xlabel("steps" if by == "steps" else "seconds of training")
    axes.set_ylabel("nats per character")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
    conversions: Any = (bits, lambda bits: bits * LN2)
    axes.secondary_yaxis("right", functions=conversions).set_ylabel("bits per character")


def _add_legend(figure: Figure, entries: list[tuple[Line2D, str]], inside: bool) -> None:
    """Add a legend of lines and labels, inside the axes or to the right of them."""
    # The labels are set as texts, because older versions of matplotlib leave out a label that
    # begins with _, and $ would start a formula.
    lines, placeholders = [line for line, _ in entries], ["x"] * len(entries)
    if inside:
        legend = figure.axes[0].legend(lines, placeholders)
    else:
        figure.set_size_inches(INCHES[0] + 3, max(INCHES[1], 0.21 * len(entries)))
        legend = figure.legend(lines, placeholders, loc="outside right upper")
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
