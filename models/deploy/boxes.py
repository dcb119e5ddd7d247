"""The box head: from proposals to objects, with a fixed number of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from models.deploy.box_math import clip, decode, is_larger, rows_of
from models.deploy.nms import ITERATIONS, static_nms
from models.deploy.pyramid import PyramidRoIAlign
from models.soft_nms import SoftRoIHeads, soft_scores

MIN_SIDE_PX = 1e-2  # torchvision's: smaller boxes are none
MAX_CANDIDATES = 1000  # (box, class) pairs that are considered further


class Boxes(nn.Module):
    """What is where: the second stage of Fast R-CNN (Girshick, 2015).

    Args:
        heads: a detector's.
        pool: features under a box.
        proposals: how many of them come.
        canvas: (height, width) px of the frames.
        iterations: of non-maximum suppression.
    """

    def __init__(
        self,
        heads: RoIHeads,
        pool: PyramidRoIAlign,
        *,
        proposals: int,
        canvas: tuple[int, int],
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__()
        self.pool, self.head, self.predictor = pool, heads.box_head, heads.box_predictor
        self.coder, self.max_iou, self.min_score = (
            heads.box_coder,
            heads.nms_thresh,
            heads.score_thresh,
        )
        self.soft_iou = heads.soft_iou if isinstance(heads, SoftRoIHeads) else None
        self.canvas, self.iterations = canvas, iterations
        self.classes = heads.box_predictor.cls_score.out_features - 1  # without background
        self.candidates = min(MAX_CANDIDATES, proposals * self.classes)
        self.count = min(heads.detections_per_img, self.candidates)

    def forward(
        self, atlas: Tensor, proposals: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Objects of each picture, highest score first.

        Args:
            atlas: (N,C,H,W).
            proposals: (N,P,4) xyxy px.
            valid: (N,P) bool, which of them are meant.

        Returns:
            boxes (N,D,4) xyxy px, scores (N,D), labels (N,D) int64, count (N,) int64: of the D
            rows, the first ``count`` are objects; the others' scores are 0.
        """
        batch, number = proposals.shape[:2]
        pooled = self.pool(atlas, proposals).flatten(0, 1)
        logits, deltas = self.predictor(self.head(pooled))

        scores = logits.softmax(-1)[:, 1 : self.classes + 1].reshape(batch, number, self.classes)
        scores = torch.where(valid[..., None], scores, -1.0).flatten(1)
        scores, order = scores.topk(self.candidates)
        row = torch.div(order, self.classes, rounding_mode="floor")
        labels = order - row * self.classes + 1
        per_class = deltas.reshape(batch, number * (self.classes + 1), 4)
        chosen = rows_of(per_class, row * (self.classes + 1) + labels)
        boxes = clip(decode(self.coder, chosen, rows_of(proposals, row)), self.canvas)

        certain = (scores > self.min_score) & is_larger(boxes, MIN_SIDE_PX)
        keep = static_nms(
            boxes, certain, max_iou=self.max_iou, labels=labels, iterations=self.iterations
        )
        boxes, scores, labels = self._best(boxes, torch.where(keep, scores, 0.0), labels)
        if self.soft_iou is not None:
            scores = soft_scores(boxes, scores, labels, min_iou=self.soft_iou)
            scores = torch.where(scores > self.min_score, scores, 0.0)
            boxes, scores, labels = self._best(boxes, scores, labels)
        return boxes, scores, labels, (scores > 0).sum(1)

    def _best(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The D of the highest scores, in their order."""
        scores, order = scores.topk(self.count)
        return rows_of(boxes, order), scores, rows_of(labels, order)
