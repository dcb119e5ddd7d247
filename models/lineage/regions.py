"""Regions that R-CNN and Fast R-CNN learn from: some with an object, more without."""

from __future__ import annotations

import torch
from torch import Tensor

from models.deploy.box_math import clip
from models.lineage.examples import Example, jittered, match

OBJECT_IOU = 0.5  # of a proposal with an object that it is taken for
_COPIES = 4  # of each object, moved a little: proposals alone have few objects


def sample_regions(
    example: Example,
    proposals: Tensor,
    *,
    count: int,
    object_share: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Regions of one picture to learn from.

    Args:
        example: the picture.
        proposals: (N,4) xyxy px.
        count: regions, at most.
        object_share: of them that have an object, at most.
        generator: chooses.

    Returns:
        regions (M,4), the label of each (M,), 0 for none, and the object's own box (M,4).
    """
    near = jittered(example.boxes, _COPIES, 0.2, 0.4, generator)
    regions = clip(torch.cat([proposals, example.boxes, near]), example.image.shape[:2])
    regions = regions[(regions[:, 2:] - regions[:, :2]).amin(1) >= 2]
    overlap, which = match(regions, example.boxes)
    with_object = _some(overlap >= OBJECT_IOU, round(count * object_share), generator)
    rest = count - len(with_object)
    # every second one touches an object: those are the harder ones
    close = _some((overlap >= 0.1) & (overlap < OBJECT_IOU), rest // 2, generator)
    far = _some(overlap < 0.1, rest - len(close), generator)
    chosen = torch.cat([with_object, close, far])
    labels = torch.zeros(len(chosen), dtype=torch.int64)
    boxes = regions[chosen].clone()
    labels[: len(with_object)] = example.labels[which[with_object]]
    boxes[: len(with_object)] = example.boxes[which[with_object]]
    return regions[chosen], labels, boxes


def _some(chosen: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most ``count`` of the indices at which ``chosen`` is true."""
    indices = chosen.nonzero().flatten()
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
