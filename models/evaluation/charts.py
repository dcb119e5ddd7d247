"""Curves and histogram as SVG, in colours that the page around them sets.

matplotlib writes fixed colours; the stand-ins below become CSS variables, so that the same drawing
suits a light and a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.evaluation.score import RECALLS, Scores
from models.evaluation.timing import Latency

_INK, _GRID = "#010203", "#010204"
_LINES = ("#010205", "#010206", "#010207")
_CSS = {
    _INK: "var(--ink)",
    _GRID: "var(--line)",
    **{stand_in: f"var(--series-{number})" for number, stand_in in enumerate(_LINES, 1)},
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_SIZE_INCHES = 5.6, 3.4
_MOST_BINS = 40


def precision_recall(scores: dict[str, Scores]) -> str:
    """Precision over recall of each kind, solid at IoU 0.5 and dashed at 0.75, as SVG."""
    with _styled("curves"):
        figure, axes = _axes(x="recall", y="precision")
        for color, (kind, score) in zip(_LINES, scores.items(), strict=False):
            for style, iou, precision in (
                ("-", 0.5, score.precision50),
                ("--", 0.75, score.precision75),
            ):
                if precision:
                    axes.plot(
                        RECALLS, precision, style, color=color, lw=2, label=f"{kind}, IoU {iou}"
                    )
        axes.set(xlim=(0, 1.01), ylim=(0, 1.03))
        if axes.lines:
            axes.legend(loc="lower left")
        return _svg(figure, "Precision over recall")


def latency_histogram(milliseconds: Sequence[float], latency: Latency) -> str:
    """How many pictures took how long, with the percentiles marked, as SVG."""
    with _styled("histogram"):
        figure, axes = _axes(x="milliseconds a picture", y="pictures")
        bins = min(_MOST_BINS, max(8, round(2 * len(milliseconds) ** 0.5)))
        edges = np.histogram_bin_edges(milliseconds, bins)
        axes.hist(milliseconds, bins=edges.tolist(), color=_LINES[0], rwidth=0.92)
        marks = {"p50": latency.p50_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}
        for style, (name, value) in zip(("-", "--", ":"), marks.items(), strict=True):
            axes.axvline(value, color=_LINES[1], ls=style, lw=1.6, label=f"{name} {value:.1f} ms")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(visible=False, axis="x")
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1),
            ncols=3,
            handlelength=1.4,
            columnspacing=1.2,
        )
        return _svg(figure, "Histogram of the latency")


@contextmanager
def _styled(name: str) -> Iterator[None]:
    """Colours, and ids that differ between two drawings on one page but not between two runs."""
    with mpl.rc_context(cast("Any", {**_STYLE, "svg.hashsalt": name, "svg.id": name})):
        yield


def _axes(*, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.tick_params(length=0)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """The drawing as an element for a page: no XML header, no metadata, no fixed size."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, variable in _CSS.items():
        text = text.replace(stand_in, variable)
    return re.sub(
        r'<svg([^>]*?) width="[^"]*"', rf'<svg role="img" aria-label="{title}"\1', text, count=1
    )
