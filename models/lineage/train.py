"""Whole pictures to learn from, and the passes over them: for systems trained in one piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2

from models.data.augment import FlipLeftRight, JoinKeypoints
from models.data.samples import LabelledPictures, Sample, as_image
from models.lineage.base import Budget
from models.lineage.examples import normalised, shuffled
from models.lineage.trunk import CHANNELS, Teacher, trunk

Target = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some pictures to learn from at once.

    Attributes:
        pixels: (P,3,H,W) float32, 0 on average; smaller pictures are in the top left corner.
        sizes: (height, width) px of each.
        targets: of each, torchvision's: ``boxes``, ``labels`` and, where the set has them,
            ``masks`` (N,H,W) and ``keypoints`` (N,K,3).
    """

    pixels: Tensor
    sizes: list[tuple[int, int]]
    targets: list[Target]


def read_samples(pictures: LabelledPictures, most: int, *, with_masks: bool = True) -> list[Sample]:
    """The first ``most`` pictures, kept in memory; crowds are left out.

    Args:
        pictures: where they are.
        most: so many at most.
        with_masks: which take more room than the pictures.
    """
    parts = {"boxes", "labels", "keypoints", "visibility"} | ({"masks"} if with_masks else set())
    indices = range(min(most, len(pictures)))
    return [_without_crowds(pictures[index], parts) for index in indices]


def teach(
    name: str,
    module: nn.Module,
    samples: Sequence[Sample],
    loss_of: Callable[[Batch], Tensor],
    *,
    passes: int,
    budget: Budget,
    turn: Turn,
    pictures_a_step: int = 4,
) -> None:
    """Pass over the pictures again and again, each time turned another way.

    Args:
        name: for what is told.
        module: what learns.
        samples: the pictures.
        loss_of: what is to become small.
        passes: over all pictures at full effort.
        budget: how much of that.
        turn: mirrors a picture, or does not.
        pictures_a_step: before the weights move.
    """
    generator = torch.Generator().manual_seed(budget.seed)
    passes = budget.passes(passes)
    teacher = Teacher(module, passes * -(-len(samples) // pictures_a_step))
    module.train()
    for number in range(passes):
        total = 0.0
        for rows in shuffled(len(samples), pictures_a_step, generator):
            loss = loss_of(stacked([turn(samples[row]) for row in rows.tolist()]))
            teacher.step(loss)
            total += float(loss.detach()) * len(rows)
        mean = total / len(samples)
        budget.tell(f"{name}: pass {number + 1} of {passes}, loss {mean:.3f}")
    module.eval()


class Turn:
    """A picture as it is, mirrored, upside down or both: shapes have no up.

    Args:
        pictures: those to turn; where something has a left side, it changes sides.
    """

    def __init__(self, pictures: LabelledPictures) -> None:
        self._left_right = FlipLeftRight(pictures.keypoint_names)
        self._upside_down = v2.RandomVerticalFlip(p=1.0)
        self._order = self._left_right.order
        self._join = JoinKeypoints()

    def __call__(self, sample: Sample) -> Sample:
        """The sample, its keypoints as torchvision has them."""
        picture, target = self._left_right(*sample)
        if torch.rand(()) < 0.5:
            picture, target = self._upside_down(picture, target)
            for name in {"keypoints", "visibility"} & target.keys():
                target[name] = target[name].as_subclass(Tensor)[:, self._order]
        joined: Sample = self._join(picture, target)
        return joined


def stacked(samples: Sequence[Sample]) -> Batch:
    """Pictures of any sizes as one batch."""
    sizes = [(picture.shape[1], picture.shape[2]) for picture, _ in samples]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    pixels = [
        functional.pad(
            normalised(as_image(picture)),
            [0, width - picture.shape[2], 0, height - picture.shape[1]],
        )
        for picture, _ in samples
    ]
    targets = [
        {name: value.as_subclass(Tensor) for name, value in target.items()} for _, target in samples
    ]
    return Batch(torch.cat(pixels), sizes, targets)


def context(channels: int) -> nn.Sequential:
    """``trunk``, then three more convolutions at half of its resolution.

    A place of its map, every 16 px, sees 107 px around it: the largest shapes wholly.
    """
    layers: list[Any] = [trunk()]
    for before, stride in ((CHANNELS[-1], 2), (channels, 1), (channels, 1)):
        layers.append(convolution(before, channels, stride=stride))
    return nn.Sequential(*layers)


def convolution(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A 3x3 convolution, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def squeezed(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (P,3,H,W) at ``size`` (height, width) px, whatever shape they had."""
    if pixels.shape[2:] == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True)


def _without_crowds(sample: Sample, parts: set[str]) -> Sample:
    picture, target = sample
    own = ~target["iscrowd"]
    return picture, {name: _rows(target[name], own) for name in parts & target.keys()}


def _rows(value: Tensor, own: Tensor) -> Tensor:
    kept = value.as_subclass(Tensor)[own]
    return tv_tensors.wrap(kept, like=value) if isinstance(value, tv_tensors.TVTensor) else kept
