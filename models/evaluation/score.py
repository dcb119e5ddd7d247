"""Average precision and recall by pycocotools, COCO's own program."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.evaluation.rows import Row

COCO_NAMES = {"box": "bbox", "mask": "segm", "keypoints": "keypoints"}
COCO_KEYPOINTS = 17  # its tolerance of each keypoint was measured for a person's 17 alone

_IOU_50, _IOU_75 = 0, 5  # of the ten thresholds 0.50, 0.55, ... 0.95
_BOX_MEASURES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
_KEYPOINT_MEASURES = (
    *("ap", "ap50", "ap75", "ap_medium", "ap_large"),
    *("ar", "ar50", "ar75", "ar_medium", "ar_large"),
)
MEASURES = {"box": _BOX_MEASURES, "mask": _BOX_MEASURES, "keypoints": _KEYPOINT_MEASURES}

RECALLS: tuple[float, ...] = tuple(round(step / 100, 2) for step in range(101))


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well objects of one class are found.

    Attributes:
        objects: how many are labelled, crowds left out.
        ap: mean over IoU thresholds 0.50 to 0.95; None without objects.
        ap50: at IoU threshold 0.5.
    """

    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """How well one kind of output fits, 0..1; None where there was nothing to fit.

    Attributes:
        table: COCO's figures by name, in COCO's order (see ``MEASURES``). AP is the mean over IoU
            thresholds 0.50 to 0.95, AR the greatest recall with at most 1, 10 or 100 objects a
            picture; small is below 32x32 px, large above 96x96 px. For keypoints OKS replaces IoU.
        classes: by name, every class that was scored.
        precision50: precision at each of the 101 ``RECALLS`` at IoU threshold 0.5, the mean of
            all classes with objects; empty without any.
        precision75: at 0.75.
    """

    table: dict[str, float | None]
    classes: dict[str, ClassScore]
    precision50: tuple[float, ...] = field(repr=False)
    precision75: tuple[float, ...] = field(repr=False)


def run_coco(
    kind: str,
    images: Sequence[Row],
    class_names: Sequence[str],
    truths: Sequence[Row],
    results: Sequence[Row],
) -> COCOeval:
    """Match what was found with what is there.

    Args:
        kind: ``box``, ``mask`` or ``keypoints``.
        images: ``id``, ``width`` and ``height`` in px of each.
        class_names: category 1 is the first.
        truths: of ``truth_rows``, with ``id`` from 1.
        results: of ``result_rows`` for this kind.

    Returns:
        an accumulated and summarised ``COCOeval``.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _index(images, categories, [dict(row) for row in truths])
        rows = [dict(row) for row in results]
        # loadRes fails on an empty list; nothing found is AP 0
        found = truth.loadRes(rows) if rows else _index(images, categories, [])
        scorer = COCOeval(truth, found, COCO_NAMES[kind])
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


def _index(images: Sequence[Row], categories: Sequence[Row], annotations: list[Row]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": list(images),
        "categories": list(categories),
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def read_scores(kind: str, scorer: COCOeval, class_names: Sequence[str]) -> Scores:
    """The figures of a ``COCOeval`` that ``run_coco`` returned."""
    # (thresholds, recalls, classes) over all areas and as many objects as count; -1 is nothing
    precision = scorer.eval["precision"][:, :, :, 0, -1]
    return Scores(
        table={
            name: _figure(value)
            for name, value in zip(MEASURES[kind], scorer.stats.tolist(), strict=True)
        },
        classes={
            name: ClassScore(
                objects=_object_count(scorer, number),
                ap=_mean(precision[:, :, number - 1]),
                ap50=_mean(precision[_IOU_50, :, number - 1]),
            )
            for number, name in enumerate(class_names, 1)
        },
        precision50=_curve(precision[_IOU_50]),
        precision75=_curve(precision[_IOU_75]),
    )


def _object_count(scorer: COCOeval, category: int) -> int:
    rows = scorer.cocoGt.loadAnns(scorer.cocoGt.getAnnIds(catIds=[category], iscrowd=False))
    if scorer.params.iouType == COCO_NAMES["keypoints"]:
        return sum(row["num_keypoints"] > 0 for row in rows)
    return len(rows)


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if (values > -1).all() else None


def _figure(value: float) -> float | None:
    return value if value > -1 else None


def _curve(precision: npt.NDArray[Any]) -> tuple[float, ...]:
    with_objects = precision[:, (precision > -1).all(axis=0)]
    if with_objects.shape[1] == 0:
        return ()
    return tuple(float(value) for value in np.mean(with_objects, axis=1))
