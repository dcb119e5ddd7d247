"""Mask R-CNN (He et al., 2017): RoI Align, a mask and keypoints of each box, on a pyramid of maps.

With RoI Pool instead of RoI Align, too: what is not rounded is what makes masks fit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import keypointrcnn_inference, maskrcnn_inference
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, roi_pool
from torchvision.ops.poolers import LevelMapper

from models.data.samples import LabelledPictures
from models.errors import UsageError
from models.lineage.train import convolution
from models.lineage.trunk import CHANNELS, trunk
from models.lineage.two_stage import (
    POOL_SIDE,
    Maps,
    Sizes,
    TwoStage,
    TwoStageSystem,
    box_heads,
    region_proposals,
)
from models.shapes.outlines import KEYPOINT_NAMES

STRIDES = {"4": 4, "8": 8, "16": 16}  # px of a place of each map
ANCHOR_SIDES, ANCHOR_RATIOS = (26, 44, 72), (0.5, 1.0, 2.0)  # px, one for each map
_CHANNELS = 48
_MASK_SIDE = 14  # places of a box's own map, each way; its mask has twice as many
_FINE_LAYERS = 12  # of the trunk: four convolutions with their BatchNorm and ReLU
_CANONICAL = (44, 3)  # a box of so many px belongs to the map of stride 2**3


class Pyramid(nn.Module):
    """Three maps of pixels (P,3,H,W), the coarser added to the finer (FPN: Lin et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        layers = trunk()
        self.fine, self.middle = layers[:_FINE_LAYERS], layers[_FINE_LAYERS:]
        self.coarse = nn.Sequential(
            convolution(CHANNELS[-1], _CHANNELS, stride=2), convolution(_CHANNELS, _CHANNELS)
        )
        self.pyramid = FeaturePyramidNetwork([CHANNELS[-2], CHANNELS[-1], _CHANNELS], _CHANNELS)

    @property
    def trunk(self) -> nn.Sequential:
        """The convolutions of the two finer maps."""
        return nn.Sequential(*self.fine, *self.middle)

    def forward(self, pixels: Tensor) -> Maps:
        """See the class."""
        fine = self.fine(pixels)
        middle = self.middle(fine)
        maps = OrderedDict(zip(STRIDES, (fine, middle, self.coarse(middle)), strict=True))
        return cast("Maps", self.pyramid(maps))


class PyramidRoIPool(nn.Module):
    """As ``MultiScaleRoIAlign``, but with RoI Pool: edges rounded to places, the greatest of each.

    Args:
        side: places of a box's own map, each way.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        size, level = _CANONICAL
        self.mapper = LevelMapper(2, 4, canonical_scale=size, canonical_level=level)

    def forward(self, maps: Maps, boxes: list[Tensor], sizes: Sizes) -> Tensor:
        """(N,C,side,side) of all boxes of all pictures."""
        numbers = torch.cat(
            [torch.full((len(some), 1), float(index)) for index, some in enumerate(boxes)]
        )
        regions = torch.cat([numbers, torch.cat(boxes)], 1)
        levels = self.mapper(boxes)
        pooled = regions.new_zeros(len(regions), _CHANNELS, self.side, self.side)
        for number, (name, stride) in enumerate(STRIDES.items()):
            here = levels == number
            pooled[here] = roi_pool(maps[name], regions[here], self.side, 1 / stride)
        return pooled


class MaskRCNN(TwoStageSystem):
    """Three maps, RoI Align, class, box and mask.

    Args:
        class_names: background first.
    """

    name = "mask_rcnn_shapes"
    tells_keypoints = False

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = self.network()

    def network(self) -> TwoStage:
        anchors = AnchorGenerator(
            tuple((side,) for side in ANCHOR_SIDES), (ANCHOR_RATIOS,) * len(ANCHOR_SIDES)
        )
        heads = box_heads(_CHANNELS, len(self.class_names), self.pool(POOL_SIDE))
        heads.mask_roi_pool = self.pool(_MASK_SIDE)
        heads.mask_head = MaskRCNNHeads(_CHANNELS, (_CHANNELS, _CHANNELS), 1)
        heads.mask_predictor = MaskRCNNPredictor(_CHANNELS, _CHANNELS, len(self.class_names))
        heads.keypoint_roi_pool = self.pool(_MASK_SIDE)
        heads.keypoint_head = KeypointRCNNHeads(_CHANNELS, (_CHANNELS, _CHANNELS))
        heads.keypoint_predictor = KeypointRCNNPredictor(_CHANNELS, len(KEYPOINT_NAMES))
        return TwoStage(Pyramid(), region_proposals(_CHANNELS, anchors), heads)

    def pool(self, side: int) -> nn.Module:
        """Each box's own map, ``side`` places each way."""
        size, level = _CANONICAL
        aligned: nn.Module = MultiScaleRoIAlign(
            list(STRIDES), side, 2, canonical_scale=size, canonical_level=level
        )
        return aligned

    def fit_to(self, pictures: LabelledPictures) -> None:
        if not pictures.has_masks:
            raise UsageError(
                f"{self.name} learns from masks, which these pictures have not: give a set with "
                "masks, such as shapes."
            )
        if len(pictures.keypoint_names) == len(KEYPOINT_NAMES):
            return
        if self.tells_keypoints:
            raise UsageError(
                f"{self.name} learns {len(KEYPOINT_NAMES)} keypoints, and these pictures have "
                f"{len(pictures.keypoint_names)}: give a set that fits, such as shapes."
            )
        self.module.roi_heads.keypoint_roi_pool = None

    def inside(
        self, maps: Maps, boxes: Tensor, labels: Tensor, size: tuple[int, ...]
    ) -> dict[str, Tensor]:
        if len(boxes) == 0:
            empty = {"masks": torch.zeros(0, 2 * _MASK_SIDE, 2 * _MASK_SIDE)}
            if self.tells_keypoints:
                empty["keypoints"] = torch.zeros(0, len(KEYPOINT_NAMES), 3)
            return empty
        heads, sizes = self.module.roi_heads, [(size[0], size[1])]
        pooled = heads.mask_roi_pool(maps, [boxes], sizes)
        logits = heads.mask_predictor(heads.mask_head(pooled))
        (masks,) = maskrcnn_inference(logits, [labels])
        told = {"masks": masks[:, 0]}
        if self.tells_keypoints:
            pooled = heads.keypoint_roi_pool(maps, [boxes], sizes)
            heatmaps = heads.keypoint_predictor(heads.keypoint_head(pooled))
            (points,), (scores,) = keypointrcnn_inference(heatmaps, [boxes])
            told["keypoints"] = torch.cat([points[..., :2], scores[..., None]], 2)
        return told


class KeypointRCNN(MaskRCNN):
    """The same network, asked for the keypoints of each box as well: one of its heads."""

    name = "keypoint_rcnn_shapes"
    tells_keypoints = True


class MaskRCNNPool(MaskRCNN):
    """The same network with RoI Pool."""

    name = "mask_rcnn_pool_shapes"

    def pool(self, side: int) -> nn.Module:
        return PyramidRoIPool(side)
