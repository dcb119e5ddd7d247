"""RoIAlign over a feature pyramid as one operation.

torchvision's ``MultiScaleRoIAlign`` sorts boxes by level, and how many are on each is known only
when they are there. Here all levels lie side by side in one map, the atlas, and each box is moved
to the place of its own level.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import _setup_scales


class Atlas(nn.Module):
    """Puts the levels of a pyramid side by side: the first on the right, the others in a column.

    RoIAlign's samples between the last cell's middle and the edge of the picture are clamped, and
    those past the edge are 0; a box thinner than a cell has such samples, as it counts as one cell
    wide. The first level keeps both, as its lower and right edges are the atlas's own. Each other
    one is extended by a copy of its last row and column, which makes the samples before the edge
    what clamping would; those past the edge read what is next to it. A box that thin is on another
    level than the first only if it is extremely long: with torchvision's settings, 1568 px or more.

    Args:
        sizes: (height, width) of each level, the largest first.

    Attributes:
        corners: (x, y) of each level in the atlas.
    """

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        (first_height, _), *others = sizes
        self.column_width = max((width + 1 for _, width in others), default=0)
        self.column_height = sum(height + 1 for height, _ in others)
        self.height = max(first_height, self.column_height)
        self.corners = [(self.column_width, self.height - first_height)]
        below = 0
        for height, _ in others:
            self.corners.append((0, below))
            below += height + 1

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels (N,C,h,w) to one map (N,C,H,W)."""
        first, *others = levels
        if not others:
            return first
        extended = (functional.pad(other, (0, 1, 0, 1), "replicate") for other in others)
        widened = [
            functional.pad(other, (0, self.column_width - other.shape[-1])) for other in extended
        ]
        column = functional.pad(
            torch.cat(widened, dim=-2), (0, 0, 0, self.height - self.column_height)
        )
        first = functional.pad(first, (0, 0, self.height - first.shape[-2], 0))
        return torch.cat([column, first], dim=-1)


class PyramidRoIAlign(nn.Module):
    """torchvision's ``MultiScaleRoIAlign`` of one detector, over an ``Atlas``.

    Args:
        pooler: which levels, how large, how many samples.
        sizes: (height, width) of each of those levels.
        canvas: (height, width) px of the frames.
        corners: (x, y) of each level in the atlas.
    """

    scales: Tensor
    corners: Tensor

    def __init__(
        self,
        pooler: MultiScaleRoIAlign,
        sizes: list[tuple[int, int]],
        canvas: tuple[int, int],
        corners: list[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.output_size, self.sampling_ratio = pooler.output_size, pooler.sampling_ratio
        levels = [torch.empty(1, 1, *size, device="meta") for size in sizes]
        scales, self.mapper = _setup_scales(
            levels, [canvas], pooler.canonical_scale, pooler.canonical_level
        )
        self.register_buffer("scales", torch.tensor(scales))
        self.register_buffer("corners", torch.tensor(corners, dtype=torch.float32))
        self.lowest = -round(math.log2(scales[0]))
        self.highest = -round(math.log2(scales[-1]))

    def forward(self, atlas: Tensor, boxes: Tensor) -> Tensor:
        """What lies under each box.

        Args:
            atlas: (N,C,H,W).
            boxes: (N,R,4) xyxy px of the canvas, inside it.

        Returns:
            (N,R,C,h,w), h and w as the pooler's output size.
        """
        batch, count = boxes.shape[:2]
        pictures = torch.arange(batch, device=boxes.device).to(boxes.dtype)
        pictures = pictures[:, None, None].expand(batch, count, 1)
        level = self._level_of(boxes)
        corners = self.corners[level]
        placed = boxes * self.scales[level][..., None] + torch.cat([corners, corners], dim=-1)
        pooled: Tensor = roi_align(
            atlas,
            torch.cat([pictures, placed], dim=-1).flatten(0, 1),
            self.output_size,
            sampling_ratio=self.sampling_ratio,
        )
        return pooled.reshape(batch, count, *pooled.shape[1:])

    def _level_of(self, boxes: Tensor) -> Tensor:
        """Equation 1 of the FPN paper (Lin et al., 2017): (N,R) int64."""
        mapper = self.mapper
        side = torch.sqrt((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))
        level = torch.floor(mapper.lvl0 + torch.log2(side / mapper.s0) + mapper.eps)
        return level.clamp(self.lowest, self.highest).to(torch.int64) - self.lowest
