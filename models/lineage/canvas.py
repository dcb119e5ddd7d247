"""Pictures of any set at the size at which the systems see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from torchvision.transforms import v2

from models.data.samples import LabelledPictures, Sample
from models.lineage.runtime import CANVAS_SIDES


@dataclass(frozen=True)
class CanvasPictures(LabelledPictures):
    """The same pictures and labels, made smaller or larger; those of the shapes world as they are.

    Attributes:
        source: as they were.
    """

    source: LabelledPictures

    def __post_init__(self) -> None:
        for name in ("class_names", "has_masks", "keypoint_names"):
            object.__setattr__(self, name, getattr(self.source, name))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        picture, target = self.source[index]
        shorter, longest = CANVAS_SIDES
        height, width = picture.shape[-2:]
        scale = min(shorter / min(height, width), longest / max(height, width))
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        if size == [height, width]:
            return picture, target
        resized = v2.Resize(size, antialias=True)(picture, target)
        return cast("Sample", resized)

    def path(self, index: int) -> Path:
        """The picture's file."""
        return self.source.path(index)

    def take(self, indices: Sequence[int]) -> Self:
        return type(self)(self.source.take(indices))
