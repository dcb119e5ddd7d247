"""What proposals and final boxes have in common."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder


def decode(coder: BoxCoder, deltas: Tensor, references: Tensor) -> Tensor:
    """Boxes from what a network says of reference boxes (Ren et al., 2015, equation 2).

    Args:
        coder: with the detector's weights and limit.
        deltas: (…,4): dx, dy, log of the width's and the height's factor.
        references: (…,4) xyxy px.

    Returns:
        (…,4) xyxy px.
    """
    x0, y0, x1, y1 = references.unbind(-1)
    width, height = x1 - x0, y1 - y0
    dx, dy, dw, dh = (part / w for part, w in zip(deltas.unbind(-1), coder.weights, strict=True))
    center_x = dx * width + (x0 + 0.5 * width)
    center_y = dy * height + (y0 + 0.5 * height)
    half_width = 0.5 * (torch.exp(dw.clamp(max=coder.bbox_xform_clip)) * width)
    half_height = 0.5 * (torch.exp(dh.clamp(max=coder.bbox_xform_clip)) * height)
    return torch.stack(
        (
            center_x - half_width,
            center_y - half_height,
            center_x + half_width,
            center_y + half_height,
        ),
        dim=-1,
    )


def clip(boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Boxes (…,4) xyxy cut at the edges of a canvas (height, width)."""
    height, width = canvas
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def is_larger(boxes: Tensor, side: float) -> Tensor:
    """(…,) bool: whether width and height of boxes (…,4) reach ``side`` px."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    return (sizes >= side).all(-1)


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Rows (N,k,…) of ``values`` (N,K,…) at ``index`` (N,k)."""
    shape = (*index.shape, *values.shape[2:])
    return values.gather(1, index.reshape(*index.shape, *[1] * (values.ndim - 2)).expand(shape))
