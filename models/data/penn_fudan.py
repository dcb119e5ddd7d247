"""The Penn-Fudan pedestrian set (Wang et al., 2007): 170 street photographs with instance masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

SPLIT_SEED = 42
TRAIN_SHARE = 127  # of 170: the split of the torchvision tutorial's lecture form

Sample = tuple[tv_tensors.Image, dict[str, Tensor]]


def read_rgb(path: Path) -> Tensor:
    """A picture as (3,H,W) uint8 RGB.

    Raises:
        OSError: if the file is missing or is no picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"cannot read the picture {path}")
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :, ::-1])).permute(2, 0, 1)


@dataclass(frozen=True)
class PennFudan(Dataset[Sample]):
    """Pictures with person boxes and masks.

    Attributes:
        images: one PNG per picture.
        masks: one PNG per picture, pixel value 0 is background, k is the k-th person.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path) -> PennFudan:
        """All pictures under ``root``, in file name order.

        Raises:
            FileNotFoundError: if ``root`` has no PNGImages and PedMasks of equal length.
        """
        images = tuple(sorted((root / "PNGImages").glob("*.png")))
        masks = tuple(root / "PedMasks" / f"{image.stem}_mask.png" for image in images)
        if not images or not all(mask.is_file() for mask in masks):
            raise FileNotFoundError(
                f"{root} is not a Penn-Fudan folder: it needs PNGImages/*.png and the same "
                "names with _mask.png in PedMasks"
            )
        return cls(images, masks)

    def split(self) -> tuple[PennFudan, PennFudan]:
        """The train and test parts: 127 and 43 pictures, the same on every machine."""
        order = torch.randperm(
            len(self), generator=torch.Generator().manual_seed(SPLIT_SEED)
        ).tolist()
        return self._take(order[:TRAIN_SHARE]), self._take(order[TRAIN_SHARE:])

    def _take(self, indices: list[int]) -> PennFudan:
        return PennFudan(
            tuple(self.images[i] for i in indices), tuple(self.masks[i] for i in indices)
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Picture (3,H,W) uint8 RGB and its target.

        The target has ``boxes`` (N,4) float32 xyxy px, ``labels`` (N,) of ones, ``masks`` (N,H,W)
        uint8 of 0 and 1, ``image_id``.
        """
        picture = read_rgb(self.images[index])
        ids = cv2.imread(str(self.masks[index]), cv2.IMREAD_GRAYSCALE)
        if ids is None:
            raise OSError(f"cannot read the mask {self.masks[index]}")
        people = np.unique(ids[ids > 0])
        masks = torch.from_numpy(ids[None] == people[:, None, None])
        boxes = masks_to_boxes(masks)
        boxes[:, 2:] += 1  # the last pixel is inside: xyxy is a half-open rectangle
        return tv_tensors.Image(picture), person_target(boxes, masks, image_id=index)


def person_target(boxes: Tensor, masks: Tensor, *, image_id: int) -> dict[str, Tensor]:
    """A torchvision detection target in which every object is class 1.

    Args:
        boxes: (N,4) xyxy px.
        masks: (N,H,W), non-zero inside.
        image_id: number of the picture in its set.
    """
    return {
        "boxes": tv_tensors.BoundingBoxes(
            boxes.float(), format="XYXY", canvas_size=tuple(masks.shape[-2:])
        ),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": tv_tensors.Mask(masks.to(torch.uint8)),
        "image_id": torch.tensor(image_id),
    }
