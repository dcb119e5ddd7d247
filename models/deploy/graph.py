"""The whole detector at one canvas: pixels in, padded tensors and a count out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

from models.deploy.boxes import Boxes
from models.deploy.manifest import Kind
from models.deploy.nms import ITERATIONS
from models.deploy.norm import ChannelwiseGroupNorm
from models.deploy.prepare import Prepare
from models.deploy.proposals import Proposals
from models.deploy.pyramid import Atlas, PyramidRoIAlign
from models.deploy.roi_heads import Keypoints, Masks
from models.errors import ModelError


class Detector(nn.Module):
    """Everything up to the final boxes; see ``static_graph``."""

    def __init__(
        self,
        prepare: Prepare,
        backbone: nn.Module,
        proposals: Proposals,
        atlas: Atlas,
        boxes: Boxes,
        pooled: list[int],
        detail_pool: PyramidRoIAlign | None = None,
    ) -> None:
        super().__init__()
        self.prepare, self.backbone = prepare, backbone
        self.proposals, self.atlas, self.boxes = proposals, atlas, boxes
        self.pooled, self.detail_pool = pooled, detail_pool

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Objects of each picture.

        Args:
            pixels: (N,H,W,3) uint8 RGB, H and W those of the canvas.

        Returns:
            boxes (N,D,4) xyxy px, scores (N,D), labels (N,D) int64, count (N,) int64: the first
            ``count`` of the D rows are objects, best first. With a second graph, also what it
            takes of each: (N,D,C,h,w).
        """
        levels = _levels(self.backbone(self.prepare(pixels)))
        proposals, valid = self.proposals(levels)
        atlas = self.atlas([levels[number] for number in self.pooled])
        boxes, scores, labels, count = self.boxes(atlas, proposals, valid)
        if self.detail_pool is None:
            return boxes, scores, labels, count
        under = self.detail_pool(atlas, boxes)
        return boxes, scores, labels, count, under


class WholeDetector(nn.Module):
    """Both graphs as one, for devices where a fixed D costs less than a second call.

    Args:
        detector: the first graph.
        details: the second one.
    """

    def __init__(self, detector: Detector, details: Masks | Keypoints) -> None:
        super().__init__()
        self.detector, self.details = detector, details

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """As ``Detector``, with the second graph's result (N,D,…) in place of what it takes."""
        boxes, scores, labels, count, under = self.detector(pixels)
        under = under.flatten(0, 1)
        if isinstance(self.details, Masks):
            found = self.details(under, labels.flatten())
        else:
            found = self.details(under)
        return boxes, scores, labels, count, found.unflatten(0, scores.shape)


@dataclass(frozen=True, slots=True, eq=False)
class StaticGraph:
    """A detector in one or two graphs.

    Attributes:
        detector: pixels to boxes.
        details: masks or keypoint heatmaps of R kept boxes; None for a Faster R-CNN.
        canvas: (height, width) px of the frames.
    """

    detector: Detector
    details: Masks | Keypoints | None
    canvas: tuple[int, int]

    @property
    def kind(self) -> Kind:
        """What the second graph gives."""
        if self.details is None:
            return "boxes"
        return "masks" if isinstance(self.details, Masks) else "keypoints"

    @property
    def whole(self) -> nn.Module:
        """Both graphs as one."""
        if self.details is None:
            return self.detector
        return WholeDetector(self.detector, self.details)

    @property
    def padding_rgb(self) -> tuple[int, int, int]:
        """The model's mean colour, 0..255: what is nearest to nothing around a frame."""
        red, green, blue = (
            round(255 * part) for part in self.detector.prepare.mean.flatten().tolist()
        )
        return red, green, blue


@torch.no_grad()
def static_graph(
    model: nn.Module, canvas: tuple[int, int], *, iterations: int = ITERATIONS
) -> StaticGraph:
    """A torchvision R-CNN as static graphs; it shares the model's weights.

    For a frame whose canvas is what torchvision's own resize gives it, the result is torchvision's
    own. Score threshold, counts and overlaps are taken from the model as they are now.

    Args:
        model: any torchvision Faster, Mask or Keypoint R-CNN, with a feature pyramid or without.
        canvas: (height, width) px.
        iterations: of each non-maximum suppression.

    Raises:
        ModelError: if it is another kind of model.
    """
    if not isinstance(model, GeneralizedRCNN):
        raise ModelError(
            f"{type(model).__name__} is no R-CNN: only torchvision's Faster, Mask and Keypoint "
            "R-CNN have a static graph."
        )
    rcnn = _prepared_copy(model)
    device = next(model.parameters()).device
    prepare = Prepare(rcnn.transform, canvas)
    probe = torch.zeros(1, 3, *prepare.padded, device=device)
    features = rcnn.backbone(probe)
    levels = _levels(features)
    anchors = _anchors(rcnn.rpn.anchor_generator, levels, ImageList(probe, [canvas]))
    proposals = Proposals(rcnn.rpn, anchors, canvas, iterations=iterations)

    heads = rcnn.roi_heads
    names = ["0"] if isinstance(features, Tensor) else list(features)
    pooled = [at for at, name in enumerate(names) if name in heads.box_roi_pool.featmap_names]
    sizes = [(levels[at].shape[-2], levels[at].shape[-1]) for at in pooled]
    atlas = Atlas(sizes)
    details, pooler = _details(heads)
    detector = Detector(
        prepare,
        rcnn.backbone,
        proposals,
        atlas,
        Boxes(
            heads,
            PyramidRoIAlign(heads.box_roi_pool, sizes, canvas, atlas.corners),
            proposals=proposals.count,
            canvas=canvas,
            iterations=iterations,
        ),
        pooled,
        pooler and PyramidRoIAlign(pooler, sizes, canvas, atlas.corners),
    )
    return StaticGraph(detector.to(device).eval(), details and details.eval(), canvas)


def _anchors(generator: Any, levels: list[Tensor], pictures: ImageList) -> list[Tensor]:
    """The anchors of each level, (A,4) xyxy px."""
    counts = [
        number * level.shape[-2] * level.shape[-1]
        for number, level in zip(generator.num_anchors_per_location(), levels, strict=True)
    ]
    return list(generator(pictures, levels)[0].split(counts))


def _details(heads: Any) -> tuple[Masks | Keypoints | None, Any]:
    """The second graph, and how what it takes is pooled."""
    details: Masks | Keypoints | None = None
    pooler = None
    if heads.has_mask():
        details, pooler = Masks(heads), heads.mask_roi_pool
    elif heads.has_keypoint():
        details, pooler = Keypoints(heads), heads.keypoint_roi_pool
    if pooler is not None and pooler.featmap_names != heads.box_roi_pool.featmap_names:
        raise ModelError("Its heads look at different levels of the pyramid: not supported.")
    return details, pooler


def _prepared_copy(model: GeneralizedRCNN) -> Any:
    """The same layers around the same weights, with GroupNorm in a form that compilers like."""
    weights = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in weights})
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, ChannelwiseGroupNorm(child))
    return copied.eval()


def _levels(features: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features.values())
