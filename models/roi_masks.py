"""From a 28x28 mask over a box to pixels of the frame, inside that box only.

The geometry is torchvision's ``paste_masks_in_image`` (after detectron2's first form), which
resizes the padded mask over the box grown by the same share. Only evaluation and formats that
ask for it make a full-frame mask (``paste_whole``); 28 masks at 1080p would be 55 MB.
"""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from models.detections import Floats

Binary = npt.NDArray[np.uint8]

THRESHOLD = 0.5  # a pixel belongs to the object above this probability


class Rle(TypedDict):
    """COCO's compressed run-length form of a mask: ``size`` is [height, width]."""

    size: list[int]
    counts: str


def paste(mask: Floats, box: Floats, frame_size: tuple[int, int]) -> tuple[int, int, Binary]:
    """One mask at source resolution.

    Args:
        mask: (28,28) float32 probabilities over the box.
        box: (4,) xyxy px.
        frame_size: (width, height) px; what lies outside is cut off.

    Returns:
        x px and y px of the crop's top left corner in the frame, and the crop (h,w) of 0 and 1,
        empty if the box lies outside of the frame.
    """
    side = mask.shape[0]
    grown = (side + 2) / side  # one cell of padding all round, as torchvision pads
    center_x, center_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_w, half_h = (box[2] - box[0]) / 2 * grown, (box[3] - box[1]) / 2 * grown
    left, top = int(center_x - half_w), int(center_y - half_h)
    width = max(int(center_x + half_w) - left + 1, 1)
    height = max(int(center_y + half_h) - top + 1, 1)

    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, frame_size[0]), min(top + height, frame_size[1])
    if x1 <= x0 or y1 <= y0:
        return x0, y0, np.zeros((0, 0), np.uint8)
    soft = cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR)
    inside = soft[y0 - top : y1 - top, x0 - left : x1 - left] > THRESHOLD
    return x0, y0, inside.view(np.uint8)


def paste_whole(mask: Floats, box: Floats, frame_size: tuple[int, int]) -> Binary:
    """One mask over the whole frame, (H,W) of 0 and 1. Arguments as ``paste``."""
    width, height = frame_size
    full = np.zeros((height, width), np.uint8, order="F")
    x, y, crop = paste(mask, box, frame_size)
    full[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return full


def to_rle(mask: Floats, box: Floats, frame_size: tuple[int, int]) -> Rle:
    """One mask in COCO's run-length form over the whole frame. Arguments as ``paste``."""
    encoded = coco_mask.encode(paste_whole(mask, box, frame_size))
    return Rle(size=[frame_size[1], frame_size[0]], counts=encoded["counts"].decode("ascii"))
