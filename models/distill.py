"""Learn from a larger detector's features besides one's own labels (Romero et al., 2015).

A few hundred labelled pictures teach a detector little about the world; another one that saw a
hundred thousand can tell it what matters at every place of them, labelled or not.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
SIDE = 320  # px: the shorter side that the teacher was made for


class D2GoTeacher(nn.Module):
    """The backbone of a quantised D2Go FBNetV3 C4 detector, a TorchScript file.

    Args:
        path: for example D2Go's ``d2go_maskrcnn`` for mobile phones.
    """

    channels = 112

    def __init__(self, path: Path) -> None:
        super().__init__()
        torch.backends.quantized.engine = "qnnpack"
        with warnings.catch_warnings(action="ignore"):  # TorchScript is on its way out
            script = torch.jit.load(path).eval()
        detector = script.model.model.model
        self.mean, self.std = (
            value.flatten()[:, None, None] for value in (detector.pixel_mean, detector.pixel_std)
        )
        self.backbone = detector.backbone

    @torch.no_grad()
    def forward(self, picture: Tensor) -> Tensor:
        """Features (1,112,h,w) at stride 16 of a picture (3,H,W) float32 RGB in 0..1."""
        scale = SIDE / min(picture.shape[-2:])
        resized = functional.interpolate(
            picture[None], scale_factor=scale, mode="bilinear", antialias=True
        )
        pixels = (resized.flip(1) * 255 - self.mean) / self.std  # it takes BGR
        with warnings.catch_warnings(action="ignore"):
            features: Tensor = self.backbone(pixels.contiguous())
        return features


class FeatureMimic(nn.Module):
    """The loss: how far pyramid levels are from the teacher's features, after a 1x1 adapter.

    Args:
        teacher: gives features (1,C,h,w) of a picture.
        channels: of every pyramid level.
        levels: pyramid level names to strides.
    """

    def __init__(self, teacher: D2GoTeacher, channels: int, levels: dict[str, int]) -> None:
        super().__init__()
        self.levels = levels
        self.adapters = nn.ModuleDict(
            {name: nn.Conv2d(channels, teacher.channels, 1) for name in levels}
        )
        self.standardise = nn.BatchNorm2d(teacher.channels, affine=False, momentum=0.01)
        self._teacher = [teacher]  # in a list: its weights are none of ours

    def forward(self, pictures: list[Tensor], sizes: list[tuple[int, int]], features: dict[str, Tensor]) -> Tensor:
        """Mean squared error in units of the teacher's standard deviation.

        Args:
            pictures: (3,H,W) float32 RGB in 0..1, before any resizing.
            sizes: (height, width) px of each one on the padded canvas.
            features: pyramid levels (N,C,h,w).
        """
        losses = []
        for row, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
            wanted = self.standardise(self._teacher[0](picture)).clamp(-4, 4)
            for name, stride in self.levels.items():
                height, width = (max(1, side // stride) for side in size)
                own = self.adapters[name](features[name][row : row + 1, :, :height, :width])
                resized = functional.interpolate(wanted, (height, width), mode="bilinear", antialias=True)
                losses.append(functional.mse_loss(own, resized))
        return torch.stack(losses).mean()
