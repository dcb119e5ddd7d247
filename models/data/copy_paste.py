"""Copy-paste augmentation for instance segmentation (Ghiasi et al., 2021).

People are cut out of one picture by their masks and pasted into another: every pair of pictures
becomes a new scene, with new backgrounds and new people in front of one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from models.data.samples import LabelledPictures, Sample
from models.data.shapes import boxes_around
from models.errors import UsageError

MAX_PASTED = 3
DONORS_TRIED = 10  # until one has an object to give
HEIGHT_RANGE = (0.25, 0.95)  # of a pasted object, as a share of the picture's height
SCALE_RANGE = (0.4, 1.6)  # of its own size
MIN_VISIBLE = 0.25  # an object covered by more than the rest of this share is forgotten


class CopyPaste(LabelledPictures):
    """A set into whose pictures objects of another set are pasted.

    Args:
        samples: pictures with masks, without keypoints.
        donors: where the objects come from; the same set when None.
        probability: share of the pictures that get any.
    """

    def __init__(
        self,
        samples: LabelledPictures,
        donors: LabelledPictures | None = None,
        *,
        probability: float = 0.5,
    ) -> None:
        if not samples.has_masks or samples.keypoint_names:
            raise UsageError("Copy-paste needs objects with masks, and none with keypoints.")
        self.samples, self.donors, self.probability = samples, donors or samples, probability
        self.class_names, self.has_masks = samples.class_names, True

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, index: int) -> Path:
        """The file of the picture that is pasted into."""
        return self.samples.path(index)

    def take(self, indices: Sequence[int]) -> CopyPaste:
        return CopyPaste(self.samples.take(indices), self.donors, probability=self.probability)

    def __getitem__(self, index: int) -> Sample:
        """The sample with up to ``MAX_PASTED`` objects more, random each time it is read."""
        picture, target = self.samples[index]
        if torch.rand(()) >= self.probability:
            return picture, target
        for _ in range(DONORS_TRIED):
            donor, donated = self.donors[_below(len(self.donors))]
            given = ~donated["iscrowd"] & (donated["masks"].flatten(1) > 0).any(1)
            if given.any():
                break
        whole = torch.nonzero(given).flatten()
        for row in whole[torch.randperm(len(whole))][: 1 + _below(MAX_PASTED)].tolist():
            picture, target = _paste(
                picture, target, donor, donated["masks"][row], donated["labels"][row]
            )
        return tv_tensors.Image(picture), target


def _paste(
    picture: Tensor, target: dict[str, Tensor], donor: Tensor, mask: Tensor, label: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    height, width = picture.shape[-2:]
    left, top, right, bottom = boxes_around(mask[None])[0].int().tolist()
    cut, shape = donor[:, top:bottom, left:right], mask[top:bottom, left:right]
    smallest, tallest = (share * height / shape.shape[0] for share in HEIGHT_RANGE)
    scale = min(max(_between(*SCALE_RANGE), smallest), tallest)
    size = [max(2, round(side * scale)) for side in shape.shape]
    if torch.rand(()) < 0.5:
        cut, shape = cut.flip(-1), shape.flip(-1)
    cut = functional.resize(cut.as_subclass(Tensor), size, antialias=True)
    soft = functional.resize(shape[None].as_subclass(Tensor).float(), size, antialias=True)

    # part of it may lie outside, as people do who walk out of a picture
    x = round(_between(-0.3 * size[1], width - 0.7 * size[1]))
    y = round(_between(-0.1 * size[0], height - 0.7 * size[0]))
    inside = slice(max(0, y), min(height, y + size[0])), slice(max(0, x), min(width, x + size[1]))
    part = (
        slice(inside[0].start - y, inside[0].stop - y),
        slice(inside[1].start - x, inside[1].stop - x),
    )
    alpha, cut = soft[(slice(None), *part)], cut[(slice(None), *part)]
    pasted = torch.zeros(height, width, dtype=torch.uint8)
    pasted[inside] = (alpha[0] > 0.5).to(torch.uint8)
    if pasted.sum() < 16:
        return picture, target

    picture = picture.as_subclass(Tensor).clone()
    under = picture[(slice(None), *inside)].float()
    picture[(slice(None), *inside)] = (
        (under + alpha * (cut.float() - under)).round().to(picture.dtype)
    )
    return picture, _covered(target, pasted, label)


def _covered(target: dict[str, Tensor], pasted: Tensor, label: Tensor) -> dict[str, Tensor]:
    """The target after an object was pasted in front of it; the new one comes last."""
    masks = target["masks"].as_subclass(Tensor)
    areas = masks.sum((1, 2))
    masks = masks * (1 - pasted)
    kept = masks.sum((1, 2)) >= (MIN_VISIBLE * areas).clamp(min=1)
    touched = (masks.sum((1, 2)) < areas)[kept]
    masks = torch.cat([masks[kept], pasted[None]])
    boxes = boxes_around(masks)
    boxes[:-1][~touched] = target["boxes"].as_subclass(Tensor)[kept][~touched]
    size = tuple(masks.shape[-2:])
    return {
        **target,
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "labels": torch.cat([target["labels"][kept], label[None]]),
        "iscrowd": torch.cat([target["iscrowd"][kept], torch.zeros(1, dtype=torch.bool)]),
        "masks": tv_tensors.Mask(masks),
    }


def _below(count: int) -> int:
    return int(torch.randint(count, ()))


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
