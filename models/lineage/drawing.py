"""Pictures for the report."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.letterbox import Image

TRUTH, FOUND, FAINT = (45, 212, 191), (251, 146, 60), (160, 160, 170)  # RGB
SCALE = 2  # px of a drawing for a px of its picture

Color = tuple[int, int, int]


def enlarged(image: Image, scale: int = SCALE) -> Image:
    """A picture (H,W,3) uint8 RGB ``scale`` times as large, every px a square of one colour."""
    return np.ascontiguousarray(image.repeat(scale, 0).repeat(scale, 1))


def draw_boxes(
    drawing: Image, boxes: Tensor, color: Color, *, thickness: int = 1, scale: float = SCALE
) -> None:
    """Outline ``boxes`` (N,4) xyxy px of the picture, in place."""
    for left, top, right, bottom in (boxes * scale).round().int().tolist():
        cv2.rectangle(drawing, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)


def draw_heat(image: Image, heat: Tensor, scale: int = SCALE) -> Image:
    """A map (h,w) in 0..1 over a picture (H,W,3): nothing is dark, everything is yellow."""
    height, width = image.shape[0] * scale, image.shape[1] * scale
    levels = (heat.clamp(0, 1) * 255).byte().numpy()
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    over = cv2.resize(
        np.ascontiguousarray(colors), (width, height), interpolation=cv2.INTER_NEAREST
    )
    return cv2.addWeighted(enlarged(image, scale), 0.35, over, 0.65, 0).astype(np.uint8)


def tiles(pictures: list[Image], gap: int = 8) -> Image:
    """Pictures of one height beside each other, light between them."""
    height = max(picture.shape[0] for picture in pictures)
    space = np.full((height, gap, 3), 235, np.uint8)
    row: list[npt.NDArray[np.uint8]] = []
    for picture in pictures:
        row += [picture, space]
    return np.concatenate(row[:-1], 1)


def data_uri(drawing: Image) -> str:
    """A picture (H,W,3) uint8 RGB as a JPEG inside of a page."""
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(drawing[..., ::-1]), [1, 88])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode('ascii')}"


def quantised(boxes: Tensor, stride: int) -> Tensor:
    """Boxes (N,4) px as RoI Pool takes them: edges rounded to places of a map, the last included.

    torchvision's ``roi_pool`` rounds both edges and counts the place of the second one.
    """
    places = torch.round(boxes / stride)
    far = torch.maximum(places[:, 2:] + 1, places[:, :2] + 1)
    return torch.cat([places[:, :2], far], 1) * stride
