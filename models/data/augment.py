"""Training-time changes to pictures and their targets, from torchvision.transforms.v2."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from models.data.penn_fudan import Sample

MEAN_GREY = 114  # filler around a zoomed-out picture
CROP_SIZE = (352, 448)  # (height, width) px of a cropped picture


def person_augmentation() -> v2.Transform:
    """Flip, colour, zoom-out and crop; every target tensor follows the picture.

    A street photograph shows people whole and at one distance; a webcam shows the upper half of
    one person. Zooming out and cropping is what bridges the two.
    """
    fill = {tv_tensors.Image: MEAN_GREY, tv_tensors.Mask: 0}
    zoom_out = v2.RandomZoomOut(fill=fill, side_range=(1.1, 1.8), p=1.0)
    crop = v2.RandomResizedCrop(CROP_SIZE, scale=(0.3, 1.0), ratio=(1.0, 1.6))
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomChoice([v2.Identity(), zoom_out, crop], p=[0.4, 0.3, 0.3]),
            v2.RandomPhotometricDistort(p=0.5),
            v2.RandomGrayscale(p=0.05),
            v2.SanitizeBoundingBoxes(min_size=4),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


class Augmented(Dataset[Sample]):
    """A set whose samples pass through a transform each time they are read."""

    def __init__(self, samples: Dataset[Sample], transform: v2.Transform) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        """Picture (3,H,W) float32 RGB in 0..1 and its target."""
        transformed: Sample = self.transform(*self.samples[index])
        return transformed
