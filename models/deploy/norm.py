"""GroupNorm in a form that compilers keep in the memory layout of the convolutions around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelwiseGroupNorm(nn.Module):
    """``nn.GroupNorm`` (Wu and He, 2018) as one factor and one summand for each channel.

    Compilers reshape the groups into rows, which takes the whole map to another layout and back.
    Here only the statistics are grouped, and they are one number for each channel. The variance is
    a difference of two means, so it loses digits where values lie far from zero: up to ten standard
    deviations away, the result is PyTorch's to 1e-3 of one.

    Args:
        norm: the layer it stands for; its parameters are shared.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) to (N,C,H,W)."""
        mean = self._of_group(x.mean((2, 3), keepdim=True))
        square = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True) ** 2
        variance = self._of_group(square / (x.shape[2] * x.shape[3])) - mean**2
        variance = variance.clamp(min=0)  # rounding makes a constant group's less than -eps
        factor = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
        return x * factor + (self.bias[:, None, None] - mean * factor)

    def _of_group(self, values: Tensor) -> Tensor:
        """Each channel's value (N,C,1,1) becomes its group's mean."""
        grouped = values.reshape(-1, self.groups, values.shape[1] // self.groups)
        mean = grouped.mean(2, keepdim=True).expand_as(grouped)
        return mean.reshape(-1, values.shape[1], 1, 1)
