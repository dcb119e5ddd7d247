"""How much two lists of detections of the same pictures differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.detections import Detections, Floats
from models.evaluation.rows import Row, result_rows
from models.evaluation.score import COCO_KEYPOINTS, read_scores, run_coco
from models.roi_masks import paste_whole

MIN_IOU = 0.5  # the same object, certainly
CONFIDENT = 0.5  # without labels, the original's objects of this score are the truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Differences over some pictures; None where there was nothing to compare.

    Attributes:
        floor: score above which objects are asked for.
        expected: objects of the original above it.
        matched: those found again.
        missing: the others, but for those too close to the floor to tell.
        surplus: objects that the original does not have, likewise.
        box_px_max: greatest difference of a coordinate, canvas px.
        box_px_mean: mean over matched boxes of the greatest of each.
        score_max: greatest difference of a score.
        score_mean: mean difference.
        mask_iou_min: least overlap of two masks, pasted over the canvas.
        mask_iou_mean: mean overlap.
        keypoint_px_max: greatest distance of two keypoints, canvas px.
        keypoint_px_mean: mean distance.
    """

    floor: float
    expected: int
    matched: int
    missing: int
    surplus: int
    box_px_max: float | None
    box_px_mean: float | None
    score_max: float | None
    score_mean: float | None
    mask_iou_min: float | None
    mask_iou_mean: float | None
    keypoint_px_max: float | None
    keypoint_px_mean: float | None


def agreement(
    originals: Sequence[Detections],
    exporteds: Sequence[Detections],
    *,
    floor: float,
    margin: float,
    most: int,
    canvas_size: tuple[int, int],
) -> Agreement:
    """Compare picture by picture, in canvas px.

    Args:
        originals: of the eager model.
        exporteds: of the export.
        floor: objects of the original up to this score are not asked for.
        margin: an object less than this above the floor may be there or not.
        most: objects of a picture; where there are as many, the last one's score is the floor.
        canvas_size: (width, height) px, for the masks.
    """
    expected = missing = surplus = 0
    boxes: list[float] = []
    scores: list[float] = []
    ious: list[float] = []
    distances: list[float] = []
    for original, exported in zip(originals, exporteds, strict=True):
        limit = max(floor, *(_last_score(found, most) for found in (original, exported)))
        pairs = match(original, exported)
        expected += int((original.scores > floor).sum())
        missing += _unmatched(original, {pair[0] for pair in pairs}, limit + margin)
        surplus += _unmatched(exported, {pair[1] for pair in pairs}, limit + margin)
        for at, there in pairs:
            if original.scores[at] <= floor:
                continue
            boxes.append(float(np.abs(original.boxes[at] - exported.boxes[there]).max()))
            scores.append(float(abs(original.scores[at] - exported.scores[there])))
            if original.masks is not None and exported.masks is not None:
                ious.append(_mask_iou((original, at), (exported, there), canvas_size))
            if original.keypoints is not None and exported.keypoints is not None:
                gaps = original.keypoints[at, :, :2] - exported.keypoints[there, :, :2]
                distances += np.linalg.norm(gaps, axis=1).tolist()
    return Agreement(
        floor=floor,
        expected=expected,
        matched=len(boxes),
        missing=missing,
        surplus=surplus,
        box_px_max=max(boxes, default=None),
        box_px_mean=_mean(boxes),
        score_max=max(scores, default=None),
        score_mean=_mean(scores),
        mask_iou_min=min(ious, default=None),
        mask_iou_mean=_mean(ious),
        keypoint_px_max=max(distances, default=None),
        keypoint_px_mean=_mean(distances),
    )


def match(original: Detections, exported: Detections) -> list[tuple[int, int]]:
    """Pairs of the same object, best overlap first; none is in two pairs."""
    ious = np.nan_to_num(_ious(original.boxes, exported.boxes))
    ious[original.labels[:, None] != exported.labels[None]] = 0
    pairs: list[tuple[int, int]] = []
    while ious.size and ious.max() >= MIN_IOU:
        at, there = np.unravel_index(ious.argmax(), ious.shape)
        pairs.append((int(at), int(there)))
        ious[at], ious[:, there] = 0, 0
    return pairs


def ap50(
    originals: Sequence[Detections],
    exporteds: Sequence[Detections],
    *,
    canvas_size: tuple[int, int],
) -> dict[str, tuple[float, float]]:
    """AP@0.5 of both, where the original's confident objects are the truth.

    What the original is unsure of is marked as COCO marks crowds: finding it is neither right nor
    wrong. Otherwise a score that moves from 0.49 to 0.51 would count as a false alarm.

    Returns:
        by kind (``box``, ``mask``, ``keypoints``): the original's and the export's; nothing if the
        original is not confident of anything.
    """
    names = originals[0].class_names[1:] if originals else ()
    category = {label: label for label in range(1, len(names) + 1)}
    images = [
        {"id": number, "width": canvas_size[0], "height": canvas_size[1]}
        for number in range(1, len(originals) + 1)
    ]

    def rows(every: Sequence[Detections]) -> dict[str, list[Row]]:
        joined: dict[str, list[Row]] = {}
        for number, found in enumerate(every, 1):
            for kind, some in result_rows(found, number, category, canvas_size).items():
                joined.setdefault(kind, []).extend(some)
        return joined

    first, second = rows(originals), rows(exporteds)
    truths = _as_truths(first)
    if all(row["iscrowd"] for row in truths.get("box", [])):
        return {}
    result = {}
    for kind in truths.keys() & first.keys() & second.keys():
        if kind == "keypoints" and originals[0].keypoints.shape[1] != COCO_KEYPOINTS:  # type: ignore[union-attr]
            continue
        both = [
            read_scores(kind, run_coco(kind, images, names, truths[kind], some[kind]), names)
            for some in (first, second)
        ]
        one, other = (scores.table["ap50"] or 0.0 for scores in both)
        result[kind] = (one, other)
    return dict(sorted(result.items()))


def _as_truths(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    truths = {}
    for kind, some in rows.items():
        truths[kind] = [
            {
                "bbox": box["bbox"],
                "area": box["bbox"][2] * box["bbox"][3],
                **row,
                "id": number,
                "iscrowd": int(row["score"] < CONFIDENT),
            }
            for number, (row, box) in enumerate(zip(some, rows["box"], strict=True), 1)
        ]
        for row in truths[kind]:
            if kind == "keypoints":
                row["num_keypoints"] = len(row["keypoints"]) // 3
                row["keypoints"] = list(row["keypoints"])
                row["keypoints"][2::3] = [2] * row["num_keypoints"]  # labelled and visible
    return truths


def _last_score(found: Detections, most: int) -> float:
    return float(found.scores.min()) if len(found) >= most else 0.0


def _unmatched(found: Detections, matched: set[int], limit: float) -> int:
    return sum(score > limit for at, score in enumerate(found.scores.tolist()) if at not in matched)


def _ious(first: Floats, second: Floats) -> Floats:
    left_top = np.maximum(first[:, None, :2], second[None, :, :2])
    right_bottom = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (right_bottom - left_top).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    whole = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(whole, 1e-6), np.float32)


def _mask_iou(
    original: tuple[Detections, int], exported: tuple[Detections, int], size: tuple[int, int]
) -> float:
    one, other = (
        paste_whole(found.masks[at], found.boxes[at], size).astype(bool)  # type: ignore[index]
        for found, at in (original, exported)
    )
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
