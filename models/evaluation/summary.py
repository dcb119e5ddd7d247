"""An evaluation as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from models.evaluation.evaluate import Evaluation
from models.evaluation.mistakes import Mistake
from models.evaluation.score import RECALLS, Scores
from models.runtimes.base import Runtime

Settings = Mapping[str, str | int | float | None]

_LIBRARIES = ("torch", "torchvision", "pycocotools")
_DECIMALS = 3  # of milliseconds and pixels; scores are given in full


def describe_run(
    runtime: Runtime, *, data: str, part: str, min_score: float, date: str, weights: str | None
) -> dict[str, str | int | float | None]:
    """What an evaluation was made with, for the file and for the report.

    Args:
        runtime: the detector.
        data: name of the data.
        part: of the data: ``train``, ``val`` or ``all``.
        min_score: the detector's own least score.
        date: of the evaluation.
        weights: name of the weights' file; None for the model's own.
    """
    if runtime.device.startswith("cuda"):
        hardware = torch.cuda.get_device_name(runtime.device)
    else:
        hardware = f"{platform.machine()}, PyTorch threads: {torch.get_num_threads()}"
    return {
        "model": runtime.model_name,
        "weights": weights,
        "runtime": runtime.name,
        "device": runtime.device,
        "hardware": hardware,
        "precision": runtime.precision,
        "data": data,
        "part": part,
        "min_score": min_score,
        "date": date,
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def summarize(evaluation: Evaluation, settings: Settings) -> dict[str, Any]:
    """The figures, ready for ``json.dumps``.

    Returns:
        ``settings``: as given. ``pictures``, ``objects``, ``crowds``: counts; ``canvas_size_px``:
        [width, height] of the largest canvas.

        ``classes``: names of those scored; ``model_only_classes``, ``data_only_classes``: of those
        left out; ``notes``: sentences on what else was left out.

        ``scores``: by kind (``box``, ``mask``, ``keypoints``) COCO's figures 0..1 (``ap``,
        ``ap50``, …; null where there were no such objects), ``classes`` with ``objects``, ``ap``
        and ``ap50`` of each, and ``precision_recall`` with lists of 101 values: ``recall`` and the
        precision ``iou50`` and ``iou75``.

        ``latency``: ``total``, ``preprocess``, ``infer`` and ``postprocess`` of one picture, each
        with ``mean_ms``, ``p50_ms``, ``p95_ms`` and ``p99_ms``; ``fps``: pictures a second.

        ``mistakes``: ``score``, ``hits``, ``misses``, ``false_alarms``, ``precision``, ``recall``
        of boxes at IoU 0.5 and that least score, and the worst: ``largest_misses`` and
        ``surest_false_alarms``, each with ``picture``, ``class``, ``box_px`` (xyxy), ``area_px``,
        ``score`` and ``overlap``, the other side's object it overlaps most.
    """
    mistakes = evaluation.mistakes
    return {
        "settings": dict(settings),
        "pictures": len(evaluation.picture_names),
        "objects": evaluation.objects,
        "crowds": evaluation.crowds,
        "canvas_size_px": list(evaluation.canvas_size),
        "classes": list(evaluation.class_names),
        "model_only_classes": list(evaluation.model_only),
        "data_only_classes": list(evaluation.data_only),
        "notes": list(evaluation.notes),
        "scores": {kind: _scores(scores) for kind, scores in evaluation.scores.items()},
        "latency": {
            stage: {name: round(value, _DECIMALS) for name, value in asdict(latency).items()}
            for stage, latency in evaluation.latency.items()
        },
        "fps": round(evaluation.latency["total"].fps, _DECIMALS),
        "mistakes": {
            "score": mistakes.score,
            "hits": mistakes.hits,
            "misses": mistakes.miss_count,
            "false_alarms": mistakes.false_alarm_count,
            "precision": mistakes.precision,
            "recall": mistakes.recall,
            "largest_misses": _mistakes(mistakes.misses, evaluation),
            "surest_false_alarms": _mistakes(mistakes.false_alarms, evaluation),
        },
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        **scores.table,
        "classes": {name: asdict(score) for name, score in scores.classes.items()},
        "precision_recall": {
            "recall": list(RECALLS),
            "iou50": list(scores.precision50),
            "iou75": list(scores.precision75),
        },
    }


def _mistakes(mistakes: Sequence[Mistake], evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "picture": evaluation.picture_names[mistake.picture],
            "class": mistake.class_name,
            "box_px": [round(side, _DECIMALS) for side in mistake.box],
            "area_px": round(mistake.area_px, _DECIMALS),
            "score": mistake.score,
            "overlap": None if mistake.overlap is None else asdict(mistake.overlap),
        }
        for mistake in mistakes
    ]
