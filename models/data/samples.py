"""What a labelled set gives: pictures with torchvision detection targets, and their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from models.errors import DataError
from models.letterbox import Image

BACKGROUND = "__background__"
SPLIT_SEED = 42
VALIDATION_SHARE = 43 / 170  # of a set without parts of its own: Penn-Fudan's usual split

Sample = tuple[tv_tensors.Image, dict[str, Tensor]]


class LabelledPictures(Dataset[Sample], ABC):
    """Pictures with labelled objects.

    ``self[index]`` is a picture (3,H,W) uint8 RGB and its target: ``boxes`` (N,4) float32 xyxy px,
    half-open; ``labels`` (N,) int64; ``iscrowd`` (N,) bool; ``image_id``; ``masks`` (N,H,W) uint8
    of 0 and 1 if ``has_masks``; ``keypoints`` (N,K,2) float32 xy px and ``visibility`` (N,K) uint8
    (0 not labelled, 1 hidden, 2 visible) if ``keypoint_names``. N may be 0.

    Attributes:
        class_names: name of each label, background first.
        has_masks: whether every object has a mask.
        keypoint_names: name of each keypoint; empty without.
    """

    class_names: tuple[str, ...]
    has_masks: bool
    keypoint_names: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def path(self, index: int) -> Path:
        """The picture's file."""

    @abstractmethod
    def take(self, indices: Sequence[int]) -> Self:
        """The part with these pictures, in this order."""

    def split(self, validation_count: int | None = None) -> tuple[Self, Self]:
        """Training and validation parts, the same on every machine.

        Args:
            validation_count: pictures to hold out; about a quarter when None.
        """
        count = len(self)
        if validation_count is None:
            validation_count = round(count * VALIDATION_SHARE)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
        cut = count - validation_count
        return self.take(order[:cut]), self.take(order[cut:])


def read_rgb(path: Path) -> Tensor:
    """A picture as (3,H,W) uint8 RGB.

    Raises:
        DataError: if the file is missing or is no picture.
    """
    pixels = read_pixels(path, cv2.IMREAD_COLOR)
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :, ::-1])).permute(2, 0, 1)


def read_pixels(path: Path, flags: int) -> npt.NDArray[Any]:
    """A picture as OpenCV has it: (H,W) or (H,W,C), blue first.

    Args:
        path: its file.
        flags: of ``cv2.imread``.

    Raises:
        DataError: if the file is missing or is no picture, or one larger than OpenCV takes.
    """
    try:
        pixels = cv2.imread(str(path), flags)
    except cv2.error as error:
        raise DataError(f"{path} cannot be read as a picture: it may be too large.") from error
    if pixels is None:
        raise DataError(f"{path} cannot be read as a picture.")
    return pixels


def as_image(picture: Tensor) -> Image:
    """A picture (3,H,W) as rows of pixels (H,W,3), which is what a runtime takes."""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def detection_target(
    boxes: Tensor,
    labels: Tensor,
    *,
    size: tuple[int, int],
    image_id: int,
    masks: Tensor | None = None,
    crowd: Tensor | None = None,
    keypoints: Tensor | None = None,
    visibility: Tensor | None = None,
) -> dict[str, Tensor]:
    """A target as ``LabelledPictures`` describes it.

    Args:
        boxes: (N,4) xyxy px.
        labels: (N,).
        size: (height, width) px of the picture.
        image_id: number of the picture in its set.
        masks: (N,H,W), non-zero inside.
        crowd: (N,), true for a group that counts as one; nothing is when None.
        keypoints: (N,K,2) xy px, with ``visibility`` (N,K).
        visibility: see there.
    """
    target: dict[str, Tensor] = {
        "boxes": tv_tensors.BoundingBoxes(boxes.float(), format="XYXY", canvas_size=size),
        "labels": labels.to(torch.int64),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else crowd.bool(),
        "image_id": torch.tensor(image_id),
    }
    if masks is not None:
        target["masks"] = tv_tensors.Mask(masks.to(torch.uint8))
    if keypoints is not None and visibility is not None:
        target["keypoints"] = tv_tensors.KeyPoints(keypoints.float(), canvas_size=size)
        target["visibility"] = visibility.to(torch.uint8)
    return target
