"""The Penn-Fudan pedestrian set (Wang et al., 2007): 170 street photographs with instance masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors

from models.data.samples import (
    BACKGROUND,
    LabelledPictures,
    Sample,
    detection_target,
    read_pixels,
    read_rgb,
)
from models.data.shapes import boxes_around
from models.errors import DataError


@dataclass(frozen=True, eq=False)
class PennFudan(LabelledPictures):
    """Pictures with person boxes and masks.

    Attributes:
        images: one PNG per picture.
        masks: one PNG per picture, pixel value 0 is background, k is the k-th person, or each
            person has a colour and the background is black; a mask of zeros is a picture without
            people.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    class_names = (BACKGROUND, "person")
    has_masks = True

    @classmethod
    def open(cls, root: Path) -> Self:
        """All pictures under ``root``, in file name order.

        Raises:
            DataError: if there is none, or one without a mask.
        """
        images = tuple(sorted((root / "PNGImages").glob("*.png")))
        masks = tuple(root / "PedMasks" / f"{image.stem}_mask.png" for image in images)
        if not images:
            raise DataError(f"{root} has no pictures; they must be PNGImages/*.png.")
        missing = [mask for mask in masks if not mask.is_file()]
        if missing:
            raise DataError(
                f"{root} lacks masks: {missing[0]} is missing, {len(missing)} of {len(masks)} in "
                "all; each picture must have one, or be removed."
            )
        return cls(images, masks)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        picture = read_rgb(self.images[index])
        size = (picture.shape[1], picture.shape[2])
        ids = _read_ids(self.masks[index])
        if ids.shape != size:
            raise DataError(
                f"{self.masks[index]} is {ids.shape[1]}x{ids.shape[0]} px and its picture "
                f"{size[1]}x{size[0]}; both must have the same size."
            )
        people = np.unique(ids[ids > 0])
        masks = torch.from_numpy(ids[None] == people[:, None, None])
        labels = torch.ones(len(people), dtype=torch.int64)
        target = detection_target(
            boxes_around(masks), labels, size=size, image_id=index, masks=masks
        )
        return tv_tensors.Image(picture), target

    def path(self, index: int) -> Path:
        return self.images[index]

    def take(self, indices: Sequence[int]) -> Self:
        images = tuple(self.images[i] for i in indices)
        return type(self)(images, tuple(self.masks[i] for i in indices))


def _read_ids(path: Path) -> npt.NDArray[np.int64]:
    """A number for each pixel (H,W); 8 and 16 bit grey as they are, colours as one number."""
    ids: npt.NDArray[np.int64] = read_pixels(path, cv2.IMREAD_UNCHANGED).astype(np.int64)
    if ids.ndim == 3:  # a palette comes as its colours; a fourth channel is opacity
        ids = ids[:, :, 0] | ids[:, :, 1] << 16 | ids[:, :, 2] << 32
    return ids
