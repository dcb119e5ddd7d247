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
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

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
            script = torch.jit.load(path).eval()  # type: ignore[no-untyped-call]
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
    """A detector whose losses include how far its features are from a teacher's.

    Pyramid levels pass through a 1x1 adapter each, which is of no use after training; errors are
    in units of the teacher's standard deviation, channel by channel.

    Args:
        detector: a torchvision R-CNN with a feature pyramid.
        teacher: see there.
        levels: the pyramid levels that learn, by name, and their strides.
        weight: of this loss among the others.
    """

    def __init__(
        self,
        detector: GeneralizedRCNN,
        teacher: D2GoTeacher,
        *,
        levels: dict[str, int],
        weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.detector, self.levels, self.weight = detector, levels, weight
        channels = detector.backbone.out_channels
        self.adapters = nn.ModuleDict(
            {name: nn.Conv2d(channels, teacher.channels, 1) for name in levels}
        )
        self.standardise = nn.BatchNorm2d(teacher.channels, affine=False, momentum=0.01)
        self._teacher = [teacher]  # in a list: its weights are none of ours

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The detector's losses, and ``loss_mimic``.

        Args:
            images: (3,H,W) float32 RGB in 0..1.
            targets: torchvision's.
        """
        batch, targets = self.detector.transform(images, targets)
        features = self.detector.backbone(batch.tensors)
        proposals, rpn_losses = self.detector.rpn(batch, features, targets)
        _, head_losses = self.detector.roi_heads(features, proposals, batch.image_sizes, targets)
        mimic = self.weight * self._distance(images, batch.image_sizes, features)
        return {**head_losses, **rpn_losses, "loss_mimic": mimic}

    def _distance(
        self, images: list[Tensor], sizes: list[tuple[int, int]], features: dict[str, Tensor]
    ) -> Tensor:
        errors = []
        for row, (image, size) in enumerate(zip(images, sizes, strict=True)):
            wanted = self.standardise(self._teacher[0](image)).clamp(-4, 4)
            for name, stride in self.levels.items():
                height, width = (max(1, side // stride) for side in size)
                own = self.adapters[name](features[name][row : row + 1, :, :height, :width])
                aligned = functional.interpolate(
                    wanted, (height, width), mode="bilinear", antialias=True
                )
                errors.append(functional.mse_loss(own, aligned))
        return torch.stack(errors).mean()
