"""From a frame's bytes to the batch a backbone takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.transform import GeneralizedRCNNTransform


class Prepare(nn.Module):
    """Cast, normalise, NHWC to NCHW, pad with zeros below and on the right.

    Args:
        transform: a detector's, whose mean, standard deviation and divisor of sides are used.
        canvas: (height, width) px of the frames it will be given.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, transform: GeneralizedRCNNTransform, canvas: tuple[int, int]) -> None:
        super().__init__()
        divisor = transform.size_divisible
        self.padded = tuple(math.ceil(side / divisor) * divisor for side in canvas)
        self.padding = (0, self.padded[1] - canvas[1], 0, self.padded[0] - canvas[0])
        mean, std = torch.tensor(transform.image_mean), torch.tensor(transform.image_std)
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """(N,H,W,3) uint8 RGB to (N,3,H',W') float32."""
        # cast first: TensorRT takes bytes as an input, and knows no other operation on them
        rows = pixels.float().permute(0, 3, 1, 2) / 255
        return functional.pad((rows - self.mean) / self.std, self.padding)
