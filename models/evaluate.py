"""Average precision of a detector, by the COCO protocol (Lin et al., 2014)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from models.data.penn_fudan import Sample
from models.detections import Detections
from models.letterbox import Image
from models.roi_masks import to_rle


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """How well one kind of output fits.

    Attributes:
        ap: mean over IoU thresholds 0.50 to 0.95.
        ap50: at IoU threshold 0.5.
        ap75: at IoU threshold 0.75.
    """

    ap: float
    ap50: float
    ap75: float


def evaluate(
    detect: Callable[[Image], Detections], samples: Iterable[Sample]
) -> dict[str, AveragePrecision]:
    """Run a detector over labelled pictures.

    Args:
        detect: frame (H,W,3) uint8 RGB to detections; its score threshold should be low (0.05).
        samples: pictures (3,H,W) uint8 RGB with targets as ``PennFudan`` gives them.

    Returns:
        ``box``, and ``mask`` if the detector has masks.
    """
    images: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    has_masks = False
    for image_id, (picture, target) in enumerate(samples, start=1):
        height, width = picture.shape[-2:]
        images.append({"id": image_id, "width": width, "height": height})
        truths += _truths(target, image_id)
        found = detect(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
        has_masks |= found.masks is not None
        results += _results(found, image_id, (width, height))

    categories = sorted({row["category_id"] for row in truths})
    ground_truth = {
        "images": images,
        "annotations": [{"id": number, **row} for number, row in enumerate(truths, start=1)],
        "categories": [{"id": category, "name": str(category)} for category in categories],
    }
    kinds = {"box": "bbox"}
    if has_masks:
        kinds["mask"] = "segm"
    return {name: _score(ground_truth, results, kind) for name, kind in kinds.items()}


def _truths(target: dict[str, Tensor], image_id: int) -> list[dict[str, Any]]:
    rows = []
    for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
        encoded = coco_mask.encode(np.asfortranarray(mask.numpy()))
        rows.append(
            {
                "image_id": image_id,
                "category_id": int(label),
                "bbox": _xywh(box.tolist()),
                "area": float(coco_mask.area(encoded)),
                "segmentation": encoded,
                "iscrowd": 0,
            }
        )
    return rows


def _results(found: Detections, image_id: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row, (box, label, score) in enumerate(
        zip(found.boxes, found.labels, found.scores, strict=True)
    ):
        rows.append(
            {
                "image_id": image_id,
                "category_id": int(label),
                "bbox": _xywh(box.tolist()),
                "score": float(score),
            }
        )
        if found.masks is not None:
            rows[-1]["segmentation"] = to_rle(found.masks[row], box, size)
    return rows


def _xywh(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _score(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], kind: str
) -> AveragePrecision:
    if not results:
        return AveragePrecision(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        scorer = COCOeval(truth, truth.loadRes(results), kind)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return AveragePrecision(*(float(value) for value in scorer.stats[:3]))
