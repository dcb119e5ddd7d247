"""Pictures to learn from, drawn or read once and kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou, roi_align

from models.data.samples import LabelledPictures, as_image
from models.letterbox import Image

_MEAN, _DEVIATION = 127.5, 63.75  # of pixels, 0..255


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture and its objects.

    Attributes:
        image: (H,W,3) uint8 RGB.
        boxes: (N,4) float32 xyxy px.
        labels: (N,) int64.
    """

    image: Image
    boxes: Tensor
    labels: Tensor


def read_examples(pictures: LabelledPictures, most: int) -> list[Example]:
    """The first ``most`` pictures; crowds are left out."""
    examples = []
    for index in range(min(most, len(pictures))):
        picture, target = pictures[index]
        own = ~target["iscrowd"]
        boxes = target["boxes"].as_subclass(Tensor)[own]
        examples.append(Example(as_image(picture), boxes, target["labels"][own]))
    return examples


def normalised(image: Image) -> Tensor:
    """(1,3,H,W) float32, 0 on average, of a picture (H,W,3) uint8."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return pixels.sub_(_MEAN).div_(_DEVIATION)


def crops(pixels: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Each of ``boxes`` (N,4) out of ``pixels`` (1,3,H,W), warped to (N,3,side,side).

    What lies outside of the picture is 0, its mean.
    """
    cut: Tensor = roi_align(pixels, [boxes], (side, side), sampling_ratio=2, aligned=True)
    return cut


def match(boxes: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """For each of ``boxes`` (N,4) the IoU with that of ``objects`` (M,4) it fits best, and which.

    Without objects every IoU is 0.
    """
    if len(objects) == 0:
        return torch.zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64)
    best = box_iou(boxes, objects).max(1)
    return best.values, best.indices


def jittered(
    boxes: Tensor, copies: int, shift: float, scale: float, generator: torch.Generator
) -> Tensor:
    """(N * copies,4): boxes moved by up to ``shift`` of their sides and scaled by 2**±``scale``."""
    centres = (boxes[:, :2] + boxes[:, 2:]).repeat(copies, 1) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(copies, 1)
    amounts = torch.rand((len(sides), 4), generator=generator) * 2 - 1
    centres = centres + amounts[:, :2] * shift * sides
    sides = sides * 2 ** (amounts[:, 2:] * scale)
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def shuffled(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices 0..count in batches of ``size``, in a new order."""
    order = torch.randperm(count, generator=generator)
    return (order[start : start + size] for start in range(0, count, size))


def varied(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Square crops (N,C,H,W) mirrored, turned and in other colours: shapes have no up, nor a hue.

    All of a batch change alike.
    """
    if torch.rand((), generator=generator) < 0.5:
        batch = batch.transpose(2, 3)
    ways = [axis for axis in (2, 3) if torch.rand((), generator=generator) < 0.5]
    return recoloured(batch.flip(ways), generator)


def recoloured(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels (N,3,H,W) with their red, green and blue in another order."""
    return pixels[:, torch.randperm(3, generator=generator)]
