"""Detections in the forms that other programs take: supervision, COCO's results, pandas.

The packages are imported when they are asked for; ``Detections`` has a method for each function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from models.detections import ROI_MASK_SIDE, UNTRACKED, Detections, Floats
from models.errors import UsageError
from models.roi_masks import to_rle

if TYPE_CHECKING:
    import pandas
    import supervision


def to_supervision(found: Detections, frame_size: tuple[int, int] | None) -> supervision.Detections:
    """See ``Detections.to_supervision``."""
    try:
        import supervision
    except ImportError as error:
        raise UsageError(
            "to_supervision() needs supervision, which is missing: pip install supervision"
        ) from error
    masks = None
    if found.masks is not None and frame_size is not None:
        width, height = frame_size
        boxes = zip(found.masks, found.boxes, strict=True)
        rles = [to_rle(mask, box, frame_size) for mask, box in boxes]
        # a mask reaches up to a pixel out of its box, and supervision cuts it off at the crop
        crops = np.concatenate(
            [np.floor(found.boxes[:, :2]) - 1, np.ceil(found.boxes[:, 2:]) + 1], 1
        )
        masks = supervision.CompactMask.from_coco_rle(rles, crops, (height, width))
    return supervision.Detections(
        xyxy=found.boxes.copy(),
        mask=masks,
        confidence=found.scores.copy(),
        class_id=found.labels.astype(int),
        tracker_id=None if found.track_ids is None else found.track_ids.astype(int),
        data={"class_name": np.array(found.names(), dtype=str)},
    )


def from_supervision(
    found: supervision.Detections, class_names: tuple[str, ...] | None
) -> Detections:
    """See ``Detections.from_supervision``."""
    count = len(found)
    if found.class_id is None and count:
        raise ValueError("Objects without class_id cannot be taken over: give each one a class.")
    labels = np.zeros(0, np.int64) if found.class_id is None else found.class_id.astype(np.int64)
    names = _names_of(found, labels) if class_names is None else class_names
    if count and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"class_id has to be below {len(names)}, the number of class names.")
    scores = np.ones(count) if found.confidence is None else found.confidence
    boxes = np.asarray(found.xyxy, np.float32).reshape(count, 4)
    masks = None
    if found.mask is not None:
        masks = np.zeros((count, ROI_MASK_SIDE, ROI_MASK_SIDE), np.float32)
        for i, (mask, box) in enumerate(zip(found.mask, boxes, strict=True)):
            masks[i] = _mask_over(mask, box)
    order = np.argsort(-np.asarray(scores), kind="stable")
    return Detections(
        boxes=boxes[order],
        labels=labels[order],
        scores=np.asarray(scores, np.float32)[order],
        class_names=names,
        masks=None if masks is None else masks[order],
        track_ids=None if found.tracker_id is None else found.tracker_id.astype(np.int64)[order],
    )


def _names_of(found: supervision.Detections, labels: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """The name of each class up to the highest that occurs; ``class N`` where none is given."""
    names = [f"class {label}" for label in range(int(labels.max(initial=-1)) + 1)]
    given = found.data.get("class_name")
    if given is not None:
        for label, name in zip(labels.tolist(), given, strict=True):
            names[label] = str(name)
    return tuple(names)


def _mask_over(mask: npt.NDArray[np.bool_], box: Floats) -> Floats:
    """A mask over the whole frame as (28,28) shares of what each cell of its box is covered."""
    width, height = box[2] - box[0], box[3] - box[1]
    fine = max(1, math.ceil(max(width, height) / ROI_MASK_SIDE))  # samples of a cell's side
    side = ROI_MASK_SIDE * fine
    step_x, step_y = width / side, height / side
    # a sample's centre, less half a pixel: OpenCV counts from the centre of the first
    to_frame = np.array(
        [[step_x, 0, box[0] + step_x / 2 - 0.5], [0, step_y, box[1] + step_y / 2 - 0.5]]
    )
    samples = cv2.warpAffine(
        mask.astype(np.float32),
        to_frame,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    cells = cv2.resize(samples, (ROI_MASK_SIDE, ROI_MASK_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32)


def to_coco(
    found: Detections,
    image_id: int,
    frame_size: tuple[int, int],
    category_ids: Mapping[str, int] | None,
) -> list[dict[str, Any]]:
    """See ``Detections.to_coco``."""
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(found.names()):
        if category_ids is not None and name not in category_ids:
            continue
        x1, y1, x2, y2 = found.boxes[i].tolist()
        row: dict[str, Any] = {
            "image_id": image_id,
            "category_id": int(found.labels[i]) if category_ids is None else category_ids[name],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(found.scores[i]),
        }
        if found.masks is not None:
            row["segmentation"] = to_rle(found.masks[i], found.boxes[i], frame_size)
        if found.keypoints is not None:
            row["keypoints"] = found.keypoints[i].ravel().tolist()
        if found.track_ids is not None and found.track_ids[i] != UNTRACKED:
            row["track_id"] = int(found.track_ids[i])
        rows.append(row)
    return rows


def to_pandas(found: Detections) -> pandas.DataFrame:
    """See ``Detections.to_pandas``."""
    try:
        import pandas
    except ImportError as error:
        raise UsageError(
            "to_pandas() needs pandas, which is missing: pip install pandas"
        ) from error
    tracks = np.full(len(found), UNTRACKED) if found.track_ids is None else found.track_ids
    return pandas.DataFrame(
        {
            "label": found.names(),
            "score": found.scores,
            **{name: found.boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
            "track_id": tracks,
        }
    )
