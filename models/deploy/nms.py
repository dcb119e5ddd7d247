"""Non-maximum suppression without data-dependent shapes."""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 16  # greedy NMS is reached once no chain of suppressions is longer


def overlaps(boxes: Tensor) -> Tensor:
    """Intersection over union of every pair, (…,K,K), of boxes (…,K,4) xyxy.

    Computed as ``torchvision.ops.nms`` computes it, rounding included; NaN for two empty boxes.
    """
    left_top = torch.maximum(boxes[..., :, None, :2], boxes[..., None, :, :2])
    right_bottom = torch.minimum(boxes[..., :, None, 2:], boxes[..., None, :, 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return shared / (areas[..., :, None] + areas[..., None, :] - shared)


def static_nms(
    boxes: Tensor,
    valid: Tensor,
    *,
    max_iou: float,
    labels: Tensor | None = None,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Which of K boxes greedy non-maximum suppression keeps.

    A box goes if one that stays comes before it and overlaps it more than ``max_iou``. Starting
    from "all stay", every iteration applies that rule to all boxes at once. After ``n`` of them
    the answer is right for every box whose longest chain (this one suppresses that one suppresses
    ...) is shorter than ``n``; in pictures chains are up to 11 long.

    Args:
        boxes: (…,K,4) float xyxy, best first.
        valid: (…,K) bool; the others are never kept and suppress nothing.
        max_iou: boxes that overlap more exclude each other.
        labels: (…,K); boxes with different ones never exclude each other.
        iterations: how many, fixed.

    Returns:
        (…,K) bool.
    """
    count = boxes.shape[-2]
    excludes = overlaps(boxes) > max_iou
    before = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    excludes = excludes & before
    if labels is not None:
        excludes = excludes & (labels[..., :, None] == labels[..., None, :])
    # row: who suppresses this one; as numbers, which compilers reduce faster than truth values
    suppressors = excludes.transpose(-1, -2).to(boxes.dtype)
    keep = valid
    for _ in range(iterations):
        suppressed = (suppressors * keep[..., None, :].to(boxes.dtype)).amax(-1) > 0
        keep = valid & ~suppressed
    return keep
