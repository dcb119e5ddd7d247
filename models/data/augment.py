"""Training-time changes to pictures and their targets, from torchvision.transforms.v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from models.data.samples import Sample
from models.data.shapes import boxes_around
from models.errors import DataError

MEAN_GREY = 114  # filler around a zoomed-out picture, and over crowds
CROP_SIZE = (352, 448)  # (height, width) px of a cropped picture
MIN_BOX_SIDE = 4  # px: objects that a change made smaller are forgotten


def augmentation(strength: str, *, keypoint_names: Sequence[str] = ()) -> v2.Transform:
    """A sample of ``LabelledPictures`` becomes one for training; all of it changes together.

    A street photograph shows people whole and at one distance; a webcam shows the upper half of
    one person. Zooming out and cropping is what bridges the two.

    Args:
        strength: ``none``, ``flip`` or ``standard`` (flip, zoom-out, crop, colour, grey).
        keypoint_names: those of the set; a flip exchanges ``left_`` and ``right_``.

    Returns:
        A transform to a picture (3,H,W) float32 RGB in 0..1 and torchvision's training target.

    Raises:
        DataError: if a flip has nothing to exchange a keypoint with.
    """
    steps: list[nn.Module] = [HideCrowds()]
    if strength != "none":
        steps.append(FlipLeftRight(keypoint_names))
    if strength == "standard":
        fill = {tv_tensors.Image: MEAN_GREY, tv_tensors.Mask: 0}
        zoom_out = v2.RandomZoomOut(fill=fill, side_range=(1.1, 1.8), p=1.0)
        crop = v2.RandomResizedCrop(CROP_SIZE, scale=(0.3, 1.0), ratio=(1.0, 1.6))
        steps += [
            v2.RandomChoice([v2.Identity(), zoom_out, crop], p=[0.4, 0.3, 0.3]),
            v2.RandomPhotometricDistort(p=0.5),
            v2.RandomGrayscale(p=0.05),
        ]
        # what a crop left over of an object may be nothing to learn
        steps.append(FitBoxes())
        steps.append(v2.SanitizeBoundingBoxes(min_size=MIN_BOX_SIDE, labels_getter=_per_object))
    return v2.Compose([*steps, JoinKeypoints(), v2.ToDtype(torch.float32, scale=True)])


def _per_object(sample: tuple[Any, dict[str, Tensor]]) -> tuple[Tensor, ...]:
    """What has one row an object, besides boxes and masks."""
    names = ("labels", "keypoints", "visibility")
    return tuple(sample[1][name] for name in names if name in sample[1])


class HideCrowds(nn.Module):
    """Paints crowds grey: their people have no labels of their own and are no background either.

    A crowd without a mask is its box, of which the objects with labels of their own stay visible.
    """

    def forward(self, picture: tv_tensors.Image, target: dict[str, Tensor]) -> Sample:
        """The sample without crowds, and without ``iscrowd``."""
        target = dict(target)
        crowd = target.pop("iscrowd")
        if not crowd.any():
            return picture, target
        pixels = picture.as_subclass(Tensor).clone()
        if "masks" in target:
            pixels[:, target["masks"].as_subclass(Tensor)[crowd].amax(0).bool()] = MEAN_GREY
        else:
            hidden = torch.zeros(pixels.shape[1:], dtype=torch.bool)
            for boxes, hides in ((target["boxes"][crowd], True), (target["boxes"][~crowd], False)):
                for left, top, right, bottom in boxes.int().tolist():
                    hidden[top : bottom + 1, left : right + 1] = hides
            pixels[:, hidden] = MEAN_GREY
        rows = {"boxes", "labels", "masks", "keypoints", "visibility"} & target.keys()
        for name in rows:
            kept = target[name].as_subclass(Tensor)[~crowd]
            target[name] = tv_tensors.wrap(kept, like=target[name])
        return tv_tensors.Image(pixels), target


class FlipLeftRight(nn.Module):
    """A horizontal flip of every second picture; a left hand becomes a right one.

    Args:
        keypoint_names: pairs differ in ``left_`` and ``right_`` alone, as COCO's do.

    Raises:
        DataError: if one of a pair is missing.
    """

    def __init__(self, keypoint_names: Sequence[str] = ()) -> None:
        super().__init__()
        for name in keypoint_names:
            if _mirrored(name) not in keypoint_names:
                raise DataError(
                    f'The data has keypoints "{name}" and none "{_mirrored(name)}", which a '
                    "flipped picture shows instead: correct the names, or give --augment none."
                )
        self.flip = v2.RandomHorizontalFlip(p=1.0)
        self.order = [keypoint_names.index(_mirrored(name)) for name in keypoint_names]

    def forward(self, picture: tv_tensors.Image, target: dict[str, Tensor]) -> Sample:
        """The sample, flipped or not."""
        if torch.rand(()) >= 0.5:
            return picture, target
        picture, target = self.flip(picture, target)
        for name in {"keypoints", "visibility"} & target.keys():
            target[name] = tv_tensors.wrap(target[name][:, self.order], like=target[name])
        return picture, target


def _mirrored(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_", 1)
    return name.replace("right_", "left_", 1) if name.startswith("right_") else name


class FitBoxes(nn.Module):
    """Boxes as tight as before a crop: around what is left of the mask, inside the picture.

    Rounding alone puts boxes at an edge 0.00003 px outside, and torchvision forgets those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clamp = v2.ClampBoundingBoxes()

    def forward(self, picture: Tensor, target: dict[str, Tensor]) -> Sample:
        """The sample with other boxes; an object without a pixel gets an empty one."""
        picture, target = self.clamp(picture, dict(target))
        if "masks" in target and len(target["masks"]):
            masks = target["masks"].as_subclass(Tensor)
            visible = (masks.flatten(1) > 0).any(1)
            boxes = torch.zeros(len(masks), 4)
            boxes[visible] = boxes_around(masks[visible])
            target["boxes"] = tv_tensors.wrap(boxes, like=target["boxes"])
        return cast("tv_tensors.Image", picture), target


class JoinKeypoints(nn.Module):
    """``keypoints`` and ``visibility`` become torchvision's (N,K,3); outside the picture is 0."""

    def forward(self, picture: Tensor, target: dict[str, Tensor]) -> Sample:
        """The sample, unchanged if it has no keypoints."""
        target = dict(target)
        if "keypoints" in target:
            points = target["keypoints"].as_subclass(Tensor)
            seen = target.pop("visibility").as_subclass(Tensor) > 0
            limits = points.new_tensor([picture.shape[-1], picture.shape[-2]])
            seen &= ((points >= 0) & (points < limits)).all(-1)
            target["keypoints"] = torch.cat([points, seen[..., None].to(points.dtype)], dim=-1)
        return cast("tv_tensors.Image", picture), target
