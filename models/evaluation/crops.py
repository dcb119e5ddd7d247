"""Pictures of mistakes: cut out with what is around them, labelled and found boxes drawn."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from torchvision.utils import draw_bounding_boxes

from models.evaluation.mistakes import Box, Mistake

TRUTH_COLOR, FOUND_COLOR, CROWD_COLOR = "#2dd4bf", "#fb923c", "#a1a1aa"

_CONTEXT = 0.6  # of the box's longer side, on each of its four sides
_LEAST_SIDE_PX = 96  # of the cut, in the source
_SIDE_PX = 320  # of the picture's longer side
_JPEG_QUALITY = 80
_THIN, _THICK = 2, 5  # px; the mistake itself is thick


def draw_mistake(picture: Tensor, mistake: Mistake) -> str:
    """A data URI with the mistake as a JPEG.

    Args:
        picture: (3,H,W) uint8 RGB, the whole picture.
        mistake: one of its mistakes.
    """
    x0, y0, x1, y1 = _cut(mistake.box, (picture.shape[2], picture.shape[1]))
    scale = _SIDE_PX / max(x1 - x0, y1 - y0)
    size = [max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))]
    view = transforms.resize(picture[:, y0:y1, x0:x1].as_subclass(Tensor), size, antialias=True)
    color = TRUTH_COLOR if mistake.score is None else FOUND_COLOR
    for boxes, its_color, width in (
        (mistake.crowds, CROWD_COLOR, _THIN),
        (mistake.truths, TRUTH_COLOR, _THIN),
        (mistake.found, FOUND_COLOR, _THIN),
        ((mistake.box,), color, _THICK),
    ):
        view = _draw(view, boxes, (x0, y0), scale, its_color, width)
    return _data_uri(view)


def _data_uri(picture: Tensor) -> str:
    pixels = np.ascontiguousarray(picture.flip(0).permute(1, 2, 0).numpy())  # OpenCV's BGR
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode('ascii')}"


def _cut(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A part of a picture of (width, height) px around a box, xyxy px, square if it can be."""
    longer = max(box[2] - box[0], box[3] - box[1])
    side = max(round(longer * (1 + 2 * _CONTEXT)), _LEAST_SIDE_PX)
    width, height = min(side, size[0]), min(side, size[1])
    x0 = min(max(0, round((box[0] + box[2] - width) / 2)), size[0] - width)
    y0 = min(max(0, round((box[1] + box[3] - height) / 2)), size[1] - height)
    return x0, y0, x0 + width, y0 + height


def _draw(
    view: Tensor,
    boxes: tuple[Box, ...],
    origin: tuple[int, int],
    scale: float,
    color: str,
    width: int,
) -> Tensor:
    """Draw boxes of the whole picture on the resized cut; those outside leave no trace."""
    if not boxes:
        return view
    shifted = (torch.tensor(boxes) - torch.tensor(origin * 2)) * scale
    height_px, width_px = view.shape[-2:]
    visible = (shifted[:, :2] < torch.tensor((width_px, height_px))).all(dim=1)
    visible &= (shifted[:, 2:] > 0).all(dim=1) & (shifted[:, :2] <= shifted[:, 2:]).all(dim=1)
    if not visible.any():
        return view
    drawn: Tensor = draw_bounding_boxes(view, shifted[visible], colors=color, width=width)
    return drawn
