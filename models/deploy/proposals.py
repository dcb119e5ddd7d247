"""The region proposal network (Ren et al., 2015) with a fixed number of proposals."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.rpn import RegionProposalNetwork

from models.deploy.box_math import clip, decode, is_larger, rows_of
from models.deploy.nms import ITERATIONS, static_nms


class Proposals(nn.Module):
    """Where to look: the best boxes over all anchors of a canvas.

    Args:
        rpn: a detector's; its numbers for inference are used.
        anchors: of each level, (A,4) xyxy px.
        canvas: (height, width) px of the frames.
        iterations: of non-maximum suppression.
    """

    def __init__(
        self,
        rpn: RegionProposalNetwork,
        anchors: list[Tensor],
        canvas: tuple[int, int],
        *,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__()
        self.head, self.coder, self.canvas = rpn.head, rpn.box_coder, canvas
        self.max_iou, self.min_side, self.min_score = rpn.nms_thresh, rpn.min_size, rpn.score_thresh
        self.iterations = iterations
        self.counts = [min(rpn._pre_nms_top_n["testing"], len(level)) for level in anchors]
        self.count = min(rpn._post_nms_top_n["testing"], sum(self.counts))
        for number, level in enumerate(anchors):
            self.register_buffer(f"anchors_{number}", level)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Proposals of each picture.

        Args:
            levels: feature maps (N,C,h,w).

        Returns:
            boxes (N,P,4) xyxy px inside the canvas, best first, and valid (N,P) bool: where fewer
            were found, the rest is not.
        """
        objectness, deltas = self.head(levels)
        best = [
            self._best_of_level(number, *maps)
            for number, maps in enumerate(zip(objectness, deltas, strict=True))
        ]
        most = max(self.counts)  # levels with fewer anchors are filled up, to be done at once
        boxes = torch.stack(
            [functional.pad(rows, (0, 0, 0, most - rows.shape[1])) for rows, _ in best], dim=1
        )
        scores = torch.stack(
            [functional.pad(row, (0, most - row.shape[1]), value=-1.0) for _, row in best], dim=1
        )
        boxes = clip(boxes, self.canvas)
        valid = is_larger(boxes, self.min_side) & (scores >= self.min_score)
        keep = static_nms(boxes, valid, max_iou=self.max_iou, iterations=self.iterations)
        kept_scores = torch.where(keep, scores, -1.0).flatten(1)
        scores, order = kept_scores.topk(self.count)
        return rows_of(boxes.flatten(1, 2), order), scores >= 0

    def _best_of_level(
        self, number: int, objectness: Tensor, deltas: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (N,k,4) and probabilities (N,k) of a level's most certain anchors."""
        batch, _, height, width = objectness.shape
        logits, order = objectness.permute(0, 2, 3, 1).flatten(1).topk(self.counts[number])
        per_anchor = deltas.view(batch, -1, 4, height, width).permute(0, 3, 4, 1, 2)
        chosen = rows_of(per_anchor.reshape(batch, -1, 4), order)
        anchors = getattr(self, f"anchors_{number}")[order]
        return decode(self.coder, chosen, anchors), logits.sigmoid()
