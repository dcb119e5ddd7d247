"""What Faster R-CNN and Mask R-CNN have in common: proposals that are learned, on a shared map."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from models.data.samples import LabelledPictures
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Budget, Lineage, Stopwatch
from models.lineage.examples import normalised
from models.lineage.train import Batch, Turn, read_samples, teach
from models.lineage.trunk import begin_with_windows

PROPOSALS = 100  # of a picture that the heads look at
POOL_SIDE = 5  # places of a proposal's own map, each way
WIDTH = 64  # of the two fully connected layers
NMS_IOU = 0.4

Sizes = list[tuple[int, int]]
Maps = OrderedDict[str, Tensor]


class TwoStage(nn.Module):
    """Map, proposals, heads: torchvision's parts in the paper's order.

    Args:
        backbone: gives maps of pixels (P,3,H,W), with its ``trunk`` inside.
        rpn: where something may be.
        roi_heads: what it is.
    """

    def __init__(
        self, backbone: nn.Module, rpn: RegionProposalNetwork, roi_heads: RoIHeads
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads

    def loss(self, batch: Batch) -> Tensor:
        """All losses together: of objectness and box of the proposals, and of every head."""
        maps = self.backbone(batch.pixels)
        images = ImageList(batch.pixels, batch.sizes)
        proposals, losses = self.rpn(images, maps, batch.targets)
        _, more = self.roi_heads(maps, proposals, batch.sizes, batch.targets)
        return torch.stack([*losses.values(), *more.values()]).sum()

    def propose(self, pixels: Tensor, maps: Maps) -> Tensor:
        """Boxes (N,4) xyxy px in one picture, the likeliest first."""
        proposals, _ = self.rpn(ImageList(pixels, [_size(pixels)]), maps)
        return cast("Tensor", proposals[0])

    def classify(self, pixels: Tensor, maps: Maps, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N,classes) before softmax and box differences (N,classes*4) of proposals."""
        heads = self.roi_heads
        pooled = heads.box_roi_pool(maps, [proposals], [_size(pixels)])
        return cast("tuple[Tensor, Tensor]", heads.box_predictor(heads.box_head(pooled)))


class TwoStageSystem(Lineage):
    """A system around a ``TwoStage``; a subclass says which, and what comes of the kept boxes."""

    module: TwoStage
    pictures, passes = 500, 16  # to learn from

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        self.module = self.network()
        begin_with_windows(cast("nn.Module", self.module.backbone.trunk))
        self.fit_to(pictures)
        samples = read_samples(pictures, self.pictures)
        teach(
            self.name,
            self.module,
            samples,
            self.module.loss,
            passes=self.passes,
            budget=budget,
            turn=Turn(pictures),
        )

    @abstractmethod
    def network(self) -> TwoStage:
        """With random weights."""

    def fit_to(self, pictures: LabelledPictures) -> None:
        """Leave out of ``module``'s training what these pictures do not teach.

        Raises:
            UsageError: if that is what the system is for.
        """

    def propose(self, image: Image) -> Tensor:
        """Where something may be in a picture: (N,4) xyxy px, the likeliest first."""
        pixels = normalised(image)
        return self.module.propose(pixels, self.module.backbone(pixels))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        network, pixels = self.module, normalised(image)
        with clock.step("features"):
            maps = network.backbone(pixels)
        with clock.step("proposals"):
            proposals = network.propose(pixels, maps)
        with clock.step("heads"):
            logits, differences = network.classify(pixels, maps, proposals)
        with clock.step("nms"):
            (boxes,), (scores,), (labels,) = network.roi_heads.postprocess_detections(
                logits, differences, [proposals], [image.shape[:2]]
            )
            kept = scores >= self.min_score
            boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        with clock.step("heads"):
            more = self.inside(maps, boxes, labels, image.shape[:2])
        return self.detections(boxes, labels, scores, **more)

    def inside(
        self, maps: Maps, boxes: Tensor, labels: Tensor, size: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """What else is told of boxes (N,4): ``masks``, ``keypoints``; nothing by itself."""
        return {}


def region_proposals(channels: int, anchors: AnchorGenerator) -> RegionProposalNetwork:
    """The RPN on maps of ``channels``."""
    return RegionProposalNetwork(
        anchors,
        RPNHead(channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.6,
        bg_iou_thresh=0.3,
        batch_size_per_image=128,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 500, "testing": 300},
        post_nms_top_n={"training": 200, "testing": PROPOSALS},
        nms_thresh=0.7,
    )


def box_heads(channels: int, class_count: int, pool: nn.Module) -> RoIHeads:
    """Class and box of each proposal, pooled from maps of ``channels``."""
    return RoIHeads(
        pool,
        TwoMLPHead(channels * POOL_SIDE**2, WIDTH),
        FastRCNNPredictor(WIDTH, class_count),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=48,
        positive_fraction=0.3,
        bbox_reg_weights=None,
        score_thresh=LEAST_SCORE,
        nms_thresh=NMS_IOU,
        detections_per_img=50,
    )


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[2], pixels.shape[3]
