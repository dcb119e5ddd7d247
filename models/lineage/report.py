"""The lineage measured, as one HTML file that needs nothing else, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from rich.table import Table

from models.lineage.base import STEPS
from models.lineage.exhibits import Exhibit
from models.lineage.measure import LECTURE, Measured

HEADINGS = (
    "system",
    "proposals",
    "recall",
    *(f"{step} ms" for step in STEPS),
    "total ms",
    "AP@0.5",
    "mask AP",
    "lecture, one picture",
    "",
)
_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def rows(measured: Sequence[Measured]) -> list[list[str]]:
    """A row of text under ``HEADINGS`` for each system."""
    return [
        [
            one.name,
            "-" if one.proposals is None else f"{one.proposals:.0f}",
            _share(one.recall),
            *(_milliseconds(one.milliseconds[step]) for step in STEPS),
            _milliseconds(one.total_ms),
            _share(one.ap50),
            _share(one.mask_ap),
            LECTURE.get(one.name, ""),
            one.note,
        ]
        for one in measured
    ]


def table(measured: Sequence[Measured]) -> Table:
    """The same for a terminal."""
    built = Table(box=None, header_style="bold", pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        is_number = 0 < number < len(HEADINGS) - 2
        built.add_column(heading, justify="right" if is_number else "left", no_wrap=number == 0)
    for row in rows(measured):
        built.add_row(*row)
    return built


def render_report(
    measured: Sequence[Measured],
    shown: Sequence[Exhibit],
    told: Sequence[str],
    settings: Mapping[str, str],
) -> str:
    """The whole page.

    Args:
        measured: of ``measure``.
        shown: of ``exhibits``.
        told: of ``story``.
        settings: what was measured on, by name; all of it is shown.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        headings=HEADINGS,
        rows=rows(measured),
        bars=_bars(measured),
        exhibits=shown,
        story=told,
        settings=settings,
        steps=STEPS,
    )


def _bars(measured: Sequence[Measured]) -> list[tuple[str, str, list[tuple[str, float]]]]:
    """Of each system its name, its time, and each step's part of the slowest one's, in percent."""
    slowest = max((one.total_ms for one in measured), default=0.0) or 1.0
    return [
        (
            one.name,
            f"{_milliseconds(one.total_ms)} ms",
            [(step, 100 * one.milliseconds[step] / slowest) for step in STEPS],
        )
        for one in measured
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _milliseconds(value: float) -> str:
    """Three digits are as many as a time deserves; a dash for a step that takes none."""
    if value == 0:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
