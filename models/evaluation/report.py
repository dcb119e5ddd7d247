"""An evaluation as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from models.data.samples import LabelledPictures
from models.evaluation import crops
from models.evaluation.charts import latency_histogram, precision_recall
from models.evaluation.evaluate import Evaluation
from models.evaluation.mistakes import Mistake
from models.evaluation.summary import Settings
from models.evaluation.table import figure, left_out, measure_rows

SHOWN = 12  # mistakes of each sort

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True, slots=True)
class _Exhibit:
    """One mistake on the page: its picture as a data URI, and what to say of it."""

    uri: str
    picture_name: str
    title: str
    detail: str


def render_report(evaluation: Evaluation, pictures: LabelledPictures, settings: Settings) -> str:
    """The whole page.

    Args:
        evaluation: what to report.
        pictures: those it was made on; the mistakes' are read again.
        settings: of ``describe_run``. Everything in it is shown.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": figure, "milliseconds": _milliseconds}
    mistakes, latency = evaluation.mistakes, evaluation.latency
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        evaluation=evaluation,
        settings=_readable(settings, evaluation),
        fps=latency["total"].fps,
        measures=measure_rows(evaluation),
        left_out=left_out(evaluation),
        curves=Markup(precision_recall(evaluation.scores)),
        histogram=Markup(latency_histogram(evaluation.milliseconds, latency["total"])),
        misses=list(_exhibits(mistakes.misses, evaluation, pictures)),
        false_alarms=list(_exhibits(mistakes.false_alarms, evaluation, pictures)),
        truth_color=crops.TRUTH_COLOR,
        found_color=crops.FOUND_COLOR,
        crowd_color=crops.CROWD_COLOR,
    )


def _exhibits(
    mistakes: Sequence[Mistake], evaluation: Evaluation, pictures: LabelledPictures
) -> Iterator[_Exhibit]:
    for mistake in mistakes[:SHOWN]:
        x0, y0, x1, y1 = mistake.box
        size = f"{x1 - x0:.0f}x{y1 - y0:.0f} px"
        sure = "" if mistake.score is None else f" {mistake.score:.2f}"
        yield _Exhibit(
            uri=crops.draw_mistake(pictures[mistake.picture][0], mistake),
            picture_name=evaluation.picture_names[mistake.picture],
            title=f"{mistake.class_name}{sure}, {size}",
            detail=_detail(mistake),
        )


def _detail(mistake: Mistake) -> str:
    """What it overlaps most, which often is the explanation."""
    overlap, is_miss = mistake.overlap, mistake.score is None
    if overlap is None:
        return "nothing found near it" if is_miss else "nothing labelled near it"
    how = "labelled" if overlap.score is None else f"found at {overlap.score:.2f}"
    return f"overlaps most: {overlap.class_name} {how}, IoU {overlap.iou:.2f}"


def _milliseconds(value: float) -> str:
    """Three digits are as many as a latency deserves."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _readable(settings: Settings, evaluation: Evaluation) -> dict[str, str]:
    width, height = evaluation.canvas_size
    rows = {name.replace("_", " "): value for name, value in settings.items() if value is not None}
    rows |= {
        "canvas": f"{width}x{height} px",
        "pictures": len(evaluation.picture_names),
        "labelled objects": evaluation.objects,
        "crowds": evaluation.crowds,
    }
    return {name: str(value) for name, value in rows.items()}
