"""Samples and detections as pictures, for people who want to see what is being learnt."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_keypoints, draw_segmentation_masks

from models.detections import Detections
from models.roi_masks import paste_whole

COLORS = ("#2dd4bf", "#fb923c", "#a78bfa", "#f472b6", "#facc15", "#60a5fa")  # in turn, by object
POINT_COLOR = "#facc15"
MASK_OPACITY = 0.45


def draw_sample(picture: Tensor, target: dict[str, Tensor]) -> Tensor:
    """A training sample: picture (3,H,W) float32 in 0..1 to (3,H,W) uint8 with its labels on it."""
    pixels = (picture.as_subclass(Tensor) * 255).to(torch.uint8)
    masks = target.get("masks")
    points = target.get("keypoints")
    return _draw(pixels, target["boxes"], None if masks is None else masks.bool(), points)


def draw_found(picture: Tensor, found: Detections, *, min_score: float) -> Tensor:
    """What a detector found in a picture (3,H,W) uint8, drawn on it."""
    found = found.select(found.scores >= min_score)
    height, width = picture.shape[-2:]
    masks = None
    if found.masks is not None:
        whole = [
            paste_whole(mask, box, (width, height))
            for mask, box in zip(found.masks, found.boxes, strict=True)
        ]
        masks = torch.from_numpy(np.array(whole, bool).reshape(-1, height, width))
    points = None if found.keypoints is None else torch.from_numpy(found.keypoints)
    return _draw(picture.as_subclass(Tensor), torch.from_numpy(found.boxes), masks, points)


def _draw(pixels: Tensor, boxes: Tensor, masks: Tensor | None, points: Tensor | None) -> Tensor:
    if len(boxes) == 0:
        return pixels
    colors = [COLORS[row % len(COLORS)] for row in range(len(boxes))]
    if masks is not None:
        pixels = draw_segmentation_masks(pixels, masks, alpha=MASK_OPACITY, colors=colors)
    pixels = draw_bounding_boxes(pixels, boxes.as_subclass(Tensor), colors=colors, width=2)
    if points is not None:
        visible = points[..., 2] > 0
        pixels = draw_keypoints(pixels, points[..., :2], visibility=visible, colors=POINT_COLOR)
    return pixels
