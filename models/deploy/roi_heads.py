"""What is asked of the objects that were kept: masks and keypoints."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads


class Masks(nn.Module):
    """The mask branch (He et al., 2017), for each object's own class.

    Args:
        heads: a detector's.
    """

    def __init__(self, heads: RoIHeads) -> None:
        super().__init__()
        self.head, self.predictor = heads.mask_head, heads.mask_predictor

    def forward(self, under: Tensor, labels: Tensor) -> Tensor:
        """(R,28,28) probabilities over each box.

        Args:
            under: (R,C,h,w), features under each box.
            labels: (R,) int64.
        """
        logits = self.predictor(self.head(under))
        rows = labels[:, None, None, None].expand(-1, 1, *logits.shape[-2:])
        probabilities: Tensor = logits.gather(1, rows)[:, 0].sigmoid()
        return probabilities


class Keypoints(nn.Module):
    """The keypoint branch: a heatmap for each of K points.

    Args:
        heads: a detector's.
    """

    def __init__(self, heads: RoIHeads) -> None:
        super().__init__()
        self.head, self.predictor = heads.keypoint_head, heads.keypoint_predictor

    def forward(self, under: Tensor) -> Tensor:
        """(R,K,56,56) logits over each box, of ``under`` (R,C,h,w)."""
        maps: Tensor = self.predictor(self.head(under))
        return maps
