"""Faster R-CNN (Ren et al., 2015): the map itself proposes, at nine anchors a place.

One map, as in the paper; torchvision's parts. Selective search took seconds on its own: here a
small network on the map that is there anyway takes its place.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import RoIPool

from models.lineage.train import convolution
from models.lineage.trunk import CHANNELS, STRIDE, trunk
from models.lineage.two_stage import (
    POOL_SIDE,
    Maps,
    Sizes,
    TwoStage,
    TwoStageSystem,
    box_heads,
    region_proposals,
)

ANCHOR_SIDES, ANCHOR_RATIOS = (26, 44, 72), (0.5, 1.0, 2.0)  # px; height / width
_CHANNELS = 64


class SingleMap(nn.Module):
    """One map of pixels (P,3,H,W), a place every ``STRIDE`` px that sees 107 px around it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = trunk()
        self.wider = nn.Sequential(
            convolution(CHANNELS[-1], _CHANNELS, dilation=2),
            convolution(_CHANNELS, _CHANNELS, dilation=3),
        )

    def forward(self, pixels: Tensor) -> Maps:
        """See the class."""
        return OrderedDict(map=self.wider(self.trunk(pixels)))


class SingleRoIPool(nn.Module):
    """RoI Pool on the one map that there is, called as torchvision calls its pools."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = RoIPool(POOL_SIDE, 1 / STRIDE)

    def forward(self, maps: Maps, boxes: list[Tensor], sizes: Sizes) -> Tensor:
        """(N,C,side,side) of all boxes of all pictures."""
        pooled: Tensor = self.pool(maps["map"], boxes)
        return pooled


class FasterRCNN(TwoStageSystem):
    """One map, nine anchors a place, RoI Pool, class and box.

    Args:
        class_names: background first.
    """

    name = "faster_rcnn_shapes"

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = self.network()

    def network(self) -> TwoStage:
        anchors = AnchorGenerator((ANCHOR_SIDES,), (ANCHOR_RATIOS,))
        return TwoStage(
            SingleMap(),
            region_proposals(_CHANNELS, anchors),
            box_heads(_CHANNELS, len(self.class_names), SingleRoIPool()),
        )
