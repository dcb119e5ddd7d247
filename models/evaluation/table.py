"""An evaluation in the terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from models.evaluation.evaluate import Evaluation
from models.evaluation.score import MEASURES
from models.evaluation.summary import Settings

_MEASURE_NAMES = {
    "ap": "AP@[.50:.95]",
    "ap50": "AP@0.5",
    "ap75": "AP@0.75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ar_1": "AR, 1 a picture",
    "ar_10": "AR, 10 a picture",
    "ar_100": "AR, 100 a picture",
    "ar_small": "AR small",
    "ar_medium": "AR medium",
    "ar_large": "AR large",
    "ar": "AR@[.50:.95]",
    "ar50": "AR@0.5",
    "ar75": "AR@0.75",
}


def measure_rows(evaluation: Evaluation) -> list[tuple[str, list[float | None]]]:
    """COCO's table: the name of each measure, and a figure for each kind in ``scores``.

    Keypoints have two measures the others lack and lack four of theirs: None there.
    """
    order = dict.fromkeys(name for kind in evaluation.scores for name in MEASURES[kind])
    return [
        (_MEASURE_NAMES[name], [scores.table.get(name) for scores in evaluation.scores.values()])
        for name in order
    ]


def figure(value: float | None) -> str:
    """A score with three decimals, a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def print_table(evaluation: Evaluation, settings: Settings, console: Console) -> None:
    """Headline, COCO's table, latency and mistakes."""
    parts: list[RenderableType] = [
        _title(evaluation, settings),
        _headline(evaluation),
        "",
        _coco_table(evaluation),
        "",
        _latency_table(evaluation),
        "",
        *_sentences(evaluation),
    ]
    console.print(Group(*parts), highlight=False)


def _title(evaluation: Evaluation, settings: Settings) -> str:
    where = f"{settings['runtime']} {settings['precision']} on {settings['device']}"
    return escape(
        f"{settings['model']} ({where}): {len(evaluation.picture_names)} pictures of "
        f"{settings['data']} ({settings['part']}), {evaluation.objects} objects"
    )


def _headline(evaluation: Evaluation) -> str:
    figures = [
        f"{kind} [bold]{figure(scores.table['ap50'])}[/]"
        for kind, scores in evaluation.scores.items()
    ]
    return f"[bold]AP@0.5[/]  {'  '.join(figures)}"


def _coco_table(evaluation: Evaluation) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("COCO")
    for kind in evaluation.scores:
        table.add_column(kind, justify="right")
    for name, values in measure_rows(evaluation):
        table.add_row(escape(name), *map(figure, values))
    return table


def _latency_table(evaluation: Evaluation) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("one picture, ms")
    for heading in ("mean", "p50", "p95", "p99"):
        table.add_column(heading, justify="right")
    for stage, latency in evaluation.latency.items():
        values = (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms)
        table.add_row(stage, *(f"{value:.1f}" for value in values))
    return table


def _sentences(evaluation: Evaluation) -> list[str]:
    mistakes, (width, height) = evaluation.mistakes, evaluation.canvas_size
    lines = [
        f"[bold]{evaluation.latency['total'].fps:.1f} FPS[/] (canvas {width}x{height} px)",
        f"At score {mistakes.score:g}: {mistakes.hits} found, {mistakes.miss_count} missed, "
        f"{mistakes.false_alarm_count} false alarms.",
    ]
    return lines + [escape(sentence) for sentence in left_out(evaluation)]


def left_out(evaluation: Evaluation) -> list[str]:
    """What was not scored, a sentence each."""
    sentences = list(evaluation.notes)
    for classes, why in (
        (evaluation.data_only, "the model does not know"),
        (evaluation.model_only, "the data does not label"),
    ):
        if len(classes) == 1:
            sentences.append(f"Not scored, as {why} it: {classes[0]}.")
        elif classes:
            sentences.append(f"Not scored, as {why} them: {len(classes)} classes.")
    return sentences
