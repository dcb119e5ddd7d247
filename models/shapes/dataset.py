"""Labelled pictures of shapes: each of a world of its own, drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torchvision import tv_tensors

from models.data.samples import LabelledPictures, Sample, detection_target
from models.shapes.outlines import KEYPOINT_NAMES
from models.shapes.settings import ShapesSettings
from models.shapes.world import CLASS_NAMES, World

_FRAMES = 200  # a picture is one of the first so many frames of its world
_PARTS = {"train": 1, "validation": 2}  # a number of a world's seed; the video's has none


@dataclass(frozen=True)
class ShapesPictures(LabelledPictures):
    """Pictures of a shapes world with boxes, masks and keypoints.

    Attributes:
        settings: which world.
        part: ``train`` or ``validation``; no picture is in both.
        numbers: which of its pictures, in which order.
    """

    settings: ShapesSettings
    part: str
    numbers: tuple[int, ...]

    class_names = CLASS_NAMES
    has_masks = True
    keypoint_names = KEYPOINT_NAMES

    @classmethod
    def parts(cls, settings: ShapesSettings) -> tuple[Self, Self]:
        """Pictures to learn from, and pictures to judge by."""
        return (
            cls(settings, "train", tuple(range(settings.train))),
            cls(settings, "validation", tuple(range(settings.validation))),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        seed = [self.settings.seed, _PARTS[self.part], self.numbers[index]]
        world = World(seed, size=self.settings.size)
        image, truth = world.frame(int(np.random.default_rng(seed).integers(_FRAMES)))
        target = detection_target(
            torch.from_numpy(truth.boxes),
            torch.from_numpy(truth.labels),
            size=image.shape[:2],
            image_id=index,
            masks=torch.from_numpy(truth.masks),
            keypoints=torch.from_numpy(truth.keypoints),
            visibility=torch.from_numpy(truth.visibility),
        )
        return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), target

    def path(self, index: int) -> Path:
        """A name for people to read; there is no such file."""
        return Path("shapes") / self.part / f"{self.numbers[index]:05d}.png"

    def take(self, indices: Sequence[int]) -> Self:
        return type(self)(self.settings, self.part, tuple(self.numbers[i] for i in indices))
