"""Scores that fall where objects overlap: Soft-NMS (Bodla et al., 2017), without its loop.

Non-maximum suppression has to choose: a low limit removes people who stand close together, a high
one keeps several boxes of the same person. Here only boxes that are nearly the same are removed,
and the scores of those that merely overlap a better one are lowered, to be judged by their rank.

The paper lowers scores one object after the other, in the order that comes of it. This form looks
at all pairs at once, first in the order of the scores as they came, then in the order that came of
that, which static graphs can do, too. It is the paper's where the order stays, and else close.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

from models.deploy.nms import overlaps

ROUNDS = 2  # a third changes nothing that can be measured


def soft_scores(boxes: Tensor, scores: Tensor, labels: Tensor, *, min_iou: float) -> Tensor:
    """Scores, each times 1 - IoU for every better object of its class that overlaps it.

    Args:
        boxes: (…,D,4) float xyxy, best first.
        scores: (…,D).
        labels: (…,D).
        min_iou: boxes that overlap less do not matter to each other.

    Returns:
        (…,D), in the order of the boxes.
    """
    count = boxes.shape[-2]
    iou = overlaps(boxes)
    matters = (iou > min_iou) & (labels[..., :, None] == labels[..., None, :])
    factors = torch.where(matters, 1 - iou, 1.0)
    is_first = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    softened = scores
    for _ in range(ROUNDS):
        left, right = softened[..., :, None], softened[..., None, :]
        is_better = (left > right) | ((left == right) & is_first)
        softened = scores * torch.where(is_better, factors, 1.0).prod(-2)
    return softened


class SoftRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """torchvision's RoI heads, their scores lowered after non-maximum suppression.

    Attributes:
        soft_iou: least overlap that lowers a score.
    """

    soft_iou: float

    @classmethod
    def of(cls, heads: RoIHeads, *, soft_iou: float) -> SoftRoIHeads:
        """The same heads with the same weights."""
        made = cls.__new__(cls)
        made.__dict__.update(heads.__dict__)
        made.soft_iou = soft_iou
        return made

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """As torchvision's: boxes, scores and labels of each picture, best first."""
        found = super().postprocess_detections(
            class_logits, box_regression, proposals, image_shapes
        )
        softened = [self._softened(*picture) for picture in zip(*found, strict=True)]
        boxes, scores, labels = (list(parts) for parts in zip(*softened, strict=True))
        return boxes, scores, labels

    def _softened(
        self, boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = soft_scores(boxes, scores, labels, min_iou=self.soft_iou)
        order = scores.argsort(descending=True)
        order = order[scores[order] > self.score_thresh]
        return boxes[order], scores[order], labels[order]
