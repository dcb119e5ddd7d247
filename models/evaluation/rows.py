"""Objects, labelled and found, as the rows that COCO's protocol is defined on (Lin et al., 2014).

A row is a dict in COCO's JSON form: ``bbox`` is x, y, width, height in px, ``segmentation`` a
run-length mask, ``keypoints`` a flat list of x px, y px and visibility or score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor

from models.detections import Detections
from models.roi_masks import to_rle

Row = dict[str, Any]


def truth_rows(
    target: dict[str, Tensor], image_id: int, category_of: Mapping[int, int]
) -> list[Row]:
    """The labelled objects of one picture, still without ``id``.

    Args:
        target: as ``LabelledPictures`` gives it.
        image_id: COCO's number of the picture.
        category_of: COCO category of each label that is scored; the others are left out.
    """
    rows: list[Row] = []
    for number, (box, label) in enumerate(
        zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
    ):
        if label not in category_of:
            continue
        row: Row = {
            "image_id": image_id,
            "category_id": category_of[label],
            "bbox": xywh(box),
            "area": (box[2] - box[0]) * (box[3] - box[1]),
            "iscrowd": int(target["iscrowd"][number]),
        }
        if "masks" in target:
            mask = np.asfortranarray(target["masks"][number].numpy())
            row["segmentation"] = coco_mask.encode(mask)
            row["area"] = float(coco_mask.area(row["segmentation"]))
        if "keypoints" in target:
            row |= _truth_keypoints(target["keypoints"][number], target["visibility"][number])
        rows.append(row)
    return rows


def _truth_keypoints(points: Tensor, visibility: Tensor) -> Row:
    flat = np.column_stack([points.numpy(), visibility.numpy()]).astype(float)
    return {
        "keypoints": flat.ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(flat[:, 2])),
    }


def result_rows(
    found: Detections, image_id: int, category_of: Mapping[int, int], size: tuple[int, int]
) -> dict[str, list[Row]]:
    """What was found in one picture, by kind: ``box``, and ``mask`` and ``keypoints`` if there.

    Each kind has rows of its own without the other kinds' keys: COCO takes an object's area, by
    which it sorts objects into small, medium and large, from the box wherever a row has one.

    Args:
        found: the detections.
        image_id: COCO's number of the picture.
        category_of: COCO category of each label that is scored; the others are left out.
        size: (width, height) px of the picture.
    """
    rows: dict[str, list[Row]] = {"box": []}
    if found.masks is not None:
        rows["mask"] = []
    if found.keypoints is not None:
        rows["keypoints"] = []
    for number, label in enumerate(found.labels.tolist()):
        if label not in category_of:
            continue
        shared = {
            "image_id": image_id,
            "category_id": category_of[label],
            "score": float(found.scores[number]),
        }
        box = found.boxes[number]
        rows["box"].append({**shared, "bbox": xywh(box.tolist())})
        if found.masks is not None:
            encoded = to_rle(found.masks[number], box, size)
            rows["mask"].append({**shared, "segmentation": encoded})
        if found.keypoints is not None:
            flat = found.keypoints[number].ravel().tolist()
            rows["keypoints"].append({**shared, "keypoints": flat})
    return rows


def xywh(box: list[float]) -> list[float]:
    """A box of x0, y0, x1, y1 px in COCO's form."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def xyxy(box: list[float]) -> tuple[float, float, float, float]:
    """A box in COCO's form as x0, y0, x1, y1 px."""
    return box[0], box[1], box[0] + box[2], box[1] + box[3]
