"""Losses as a picture, by matplotlib: the same bytes for the same checkpoints."""

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

from charrnn.plots.history import Run, shortened, when
from charrnn.units import LN2, bits

# Okabe and Ito's colours, which colour-blind people can tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
STYLES = cycler(linestyle=("-", "--", "-.", ":")) * cycler(color=COLOURS)  # of validation
GREY = "#555555"
LONGEST = 40  # characters of a name
INSIDE = 6  # runs up to which the legend finds room beside the curves
INCHES = (7.0, 4.2)
VALIDATION: dict[str, Any] = {"linewidth": 1.8, "zorder": 3}
TRAINING: dict[str, Any] = {"linestyle": "-", "linewidth": 0.9, "alpha": 0.55}
BEST: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 6, "markerfacecolor": "white"}
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
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters that can be searched and copied
    "savefig.dpi": 150,
    "svg.hashsalt": "charrnn",  # names of parts, otherwise random
}
WITHOUT_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def picture(runs: Sequence[Run], by: str, kind: str) -> bytes:
    """A file with the losses of all runs; `kind` is png, svg or pdf."""
    stream = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters of names that the font lacks
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=INCHES, layout="constrained")
        _draw(figure, runs, by)
        figure.savefig(stream, format=kind, metadata=WITHOUT_DATE.get(kind))
    return stream.getvalue()


def _draw(figure: Figure, runs: Sequence[Run], by: str) -> None:
    """Validation as a strong line, training as a thin one of the same colour."""
    axes = figure.subplots()
    axes.set_prop_cycle(STYLES)
    entries = []  # of the legend: a line and its label
    for run in runs:
        (line,) = axes.plot(*np.reshape(run.validation, (-1, 2)).T, **VALIDATION)
        thin = {**TRAINING, "marker": "." if len(run.training) == 1 else ""}
        axes.plot(*np.reshape(run.training, (-1, 2)).T, color=line.get_color(), **thin)
        reached = ""
        if run.best:
            axes.plot([run.best.x], [run.best.nats], color=line.get_color(), **BEST)
            reached = f"   {run.best.nats:.4f} nats {when(run.best.x, by)}"
        entries.append((line, shortened(run.name, LONGEST) + reached))
    colour = GREY
    if len(runs) == 1:
        axes.set_title(shortened(runs[0].name, LONGEST), parse_math=False)
        colour, entries = COLOURS[0], []
    else:
        reached = ""
    kinds = {"training": TRAINING}
    if any(run.validation for run in runs):
        kinds |= {"validation": VALIDATION, f"best validation{reached}": BEST}
    entries += [(Line2D([], [], color=colour, **kind), label) for label, kind in kinds.items()]
    _add_legend(figure, entries, inside=len(runs) <= INSIDE)
    axes.set_xlim(left=0)
    axes.set_xlabel("steps" if by == "steps" else "seconds of training")
    axes.set_ylabel("nats per character")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
    units: Any = (bits, lambda bits: bits * LN2)
    axes.secondary_yaxis("right", functions=units).set_ylabel("bits per character")


def _add_legend(figure: Figure, entries: list[tuple[Line2D, str]], inside: bool) -> None:
    # Set as texts: older versions leave out a label that begins with _, and $ is mathematics.
    lines, empty = [line for line, _ in entries], ["x"] * len(entries)
    if inside:
        legend = figure.axes[0].legend(lines, empty)
    else:
        figure.set_size_inches(INCHES[0] + 3, max(INCHES[1], 0.21 * len(entries)))
        legend = figure.legend(lines, empty, loc="outside right upper")
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
