"""Losses as a picture, by matplotlib: the same bytes for the same checkpoints."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from charrnn.plots.history import Point, Run, shortened, when
from charrnn.units import LN2

# Okabe and Ito's colours, which colour-blind people can tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
DASHES = ("-", "--", "-.", ":")  # of validation, once the colours are used up
GREY = "#555555"
LONGEST = 40  # characters of a name
INSIDE = 6  # runs up to which the legend finds room beside the curves
INCHES = (7.0, 4.2)
VALIDATION: dict[str, Any] = {"linewidth": 1.8}
TRAINING: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.55}
BEST: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 6, "markerfacecolor": "white"}
SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": "#888888",
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.titlecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "pdf.fonttype": 42,  # letters that can be searched and copied
    "savefig.dpi": 150,
    "svg.hashsalt": "charrnn",  # names of parts, otherwise random
    "xtick.color": GREY,
    "ytick.color": GREY,
}
# The defaults hold dates and versions.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "charrnn"},
    "svg": {"Creator": "charrnn", "Date": None},
    "pdf": {"Creator": "charrnn", "Producer": None, "CreationDate": None},
}


def picture(runs: Sequence[Run], by: str, kind: str) -> bytes:
    """A file with the losses of all runs; `kind` is png, svg or pdf."""
    stream = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters of names that the font lacks
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=INCHES, layout="constrained")
        _draw(figure, runs, by)
        figure.savefig(stream, format=kind, metadata=METADATA[kind])
    return stream.getvalue()


def _draw(figure: Figure, runs: Sequence[Run], by: str) -> None:
    """Validation as a strong line, training as a thin one of the same colour."""
    axes = figure.subplots()
    entries = []  # of the legend
    for k, run in enumerate(runs):
        colour = COLOURS[k % len(COLOURS)]
        full: dict[str, Any] = {
            "color": colour,
            "linestyle": DASHES[k // len(COLOURS) % len(DASHES)],
            **VALIDATION,
        }
        axes.plot(*_columns(run.training), color=colour, marker=_dot(run.training), **TRAINING)
        axes.plot(*_columns(run.validation), **full)
        reached, best = "", run.best
        if best is not None:
            axes.plot([best.x], [best.nats], color=colour, **BEST)
            reached = f"   {best.nats:.4f} nats {when(best.x, by)}"
        entries.append((full, shortened(run.name, LONGEST) + reached))
    if len(runs) == 1:
        axes.set_title(shortened(runs[0].name, LONGEST), parse_math=False)
        grey, entries = COLOURS[0], []
    else:
        grey, reached = GREY, ""
    entries.append(({"color": grey, **TRAINING}, "training"))
    if any(run.validation for run in runs):
        entries.append(({"color": grey, **VALIDATION}, "validation"))
        entries.append(({"color": grey, **BEST}, f"best validation{reached}"))
    _add_legend(figure, entries, inside=len(runs) <= INSIDE)
    axes.set_xlim(left=0)
    axes.set_xlabel("steps" if by == "steps" else "seconds of training")
    axes.set_ylabel("nats per character")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel("bits per character")


def _add_legend(figure: Figure, entries: list[tuple[dict[str, Any], str]], inside: bool) -> None:
    handles = [Line2D([], [], **look) for look, _ in entries]
    # Set as texts: older versions leave out a label that begins with _, and $ is mathematics.
    empty = ["x"] * len(entries)
    if inside:
        legend = figure.axes[0].legend(handles, empty)
    else:
        figure.set_size_inches(INCHES[0] + 3, max(INCHES[1], 0.21 * len(entries)))
        legend = figure.legend(handles, empty, loc="outside right upper")
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def _bits(nats: Any) -> Any:
    return nats / LN2


def _nats(bits: Any) -> Any:
    return bits * LN2


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.x for point in points], [point.nats for point in points]


def _dot(points: Sequence[Point]) -> str:
    """A line of one point shows nothing."""
    return "." if len(points) == 1 else ""
