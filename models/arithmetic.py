"""Count what an R-CNN computes, part by part: one multiply-add is two operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList


@dataclass(frozen=True, slots=True)
class Gflops:
    """Billions of operations in convolutions and matrix products for one picture.

    Attributes:
        backbone: body and feature pyramid.
        rpn: the region proposal network.
        box_head: for every proposal it may get.
        mask: for each object; 0 without a mask head.
    """

    backbone: float
    rpn: float
    box_head: float
    mask: float

    @property
    def total(self) -> float:
        """All but the masks, whose number depends on the picture."""
        return self.backbone + self.rpn + self.box_head


@torch.inference_mode()
def count_gflops(model: FasterRCNN, canvas_size: tuple[int, int]) -> Gflops:
    """Count by running the model once.

    Args:
        model: in evaluation mode, on the CPU.
        canvas_size: (width, height) px; padded to a multiple of 32, as torchvision does.
    """
    width, height = (-(-side // 32) * 32 for side in canvas_size)
    images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
    heads = model.roi_heads
    proposals = torch.tensor([[0.0, 0, width, height]]).repeat(model.rpn.post_nms_top_n(), 1)
    features, backbone = _counted(lambda: model.backbone(images.tensors))
    _, rpn = _counted(lambda: model.rpn(images, features))
    _, box_head = _counted(
        lambda: heads.box_predictor(
            heads.box_head(heads.box_roi_pool(features, [proposals], images.image_sizes))
        )
    )
    mask = 0.0
    if heads.has_mask():
        _, mask = _counted(
            lambda: heads.mask_predictor(
                heads.mask_head(heads.mask_roi_pool(features, [proposals[:1]], images.image_sizes))
            )
        )
    return Gflops(backbone, rpn, box_head, mask)


def _counted(run: Callable[[], Any]) -> tuple[Any, float]:
    with FlopCounterMode(display=False) as counter:
        result = run()
    return result, counter.get_total_flops() / 1e9
