"""Joints by direct regression (Toshev and Szegedy's DeepPose, 2014): K joints are 2K numbers.

A cut of the picture around an object goes straight to coordinates, trained by the square of their
error (L2). Keypoint R-CNN asks for a heat map of each joint instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from models.data.samples import LabelledPictures, Sample
from models.lineage.base import Budget
from models.lineage.examples import crops, jittered
from models.lineage.train import Batch, Turn, convolution, teach
from models.shapes.outlines import KEYPOINT_NAMES

SIDE = 64  # px of the cut
_AROUND = 1.3  # a cut's sides to its box's
_WIDTHS = (16, 24, 32, 48, 32)  # of its convolutions, each at half of the resolution before
_HIDDEN = 48

_PASSES = 12
_SQUARES_WEIGHT = 100.0


class Joints(nn.Module):
    """Where the joints of objects are whose boxes are known."""

    def __init__(self) -> None:
        super().__init__()
        steps = zip((3, *_WIDTHS), _WIDTHS, strict=False)
        self.layers = nn.Sequential(
            *[convolution(before, after, stride=2) for before, after in steps],
            nn.Flatten(),
            nn.Linear(_WIDTHS[-1] * (SIDE // 32) ** 2, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, 2 * len(KEYPOINT_NAMES)),
        )

    def points(self, pixels: Tensor, boxes: Tensor) -> Tensor:
        """Joints (N,K,2) px in one picture (1,3,H,W) of the objects in ``boxes`` (N,4)."""
        around = grown(boxes)
        shares: Tensor = self(crops(pixels, around, SIDE))
        return around[:, None, :2] + shares * _sides(around)

    def forward(self, cuts: Tensor) -> Tensor:
        """Joints (N,K,2) in 0..1 of cuts (N,3,SIDE,SIDE)."""
        return cast("Tensor", self.layers(cuts).view(len(cuts), -1, 2))


def learn_joints(
    name: str,
    joints: Joints,
    pictures: LabelledPictures,
    samples: Sequence[Sample],
    budget: Budget,
) -> None:
    """Teach ``joints`` all objects of the samples.

    Args:
        name: of the system, for what is told.
        joints: what learns.
        pictures: where the samples are from.
        samples: pictures with keypoints.
        budget: how much.
    """
    generator = torch.Generator().manual_seed(budget.seed)
    teach(
        f"{name}, joints",
        joints,
        [sample for sample in samples if len(sample[1]["boxes"])],
        partial(_loss, joints, generator=generator),
        passes=_PASSES,
        budget=budget,
        turn=Turn(pictures),
        pictures_a_step=8,
    )


def _loss(joints: Joints, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squares, in shares of the cut, of the joints of every object."""
    cuts, wanted = [], []
    for pixels, target in zip(batch.pixels, batch.targets, strict=True):
        around = grown(jittered(target["boxes"], 1, 0.08, 0.15, generator))
        points = target["keypoints"].clone()
        points[..., :2] = (points[..., :2] - around[:, None, :2]) / _sides(around)
        cuts.append(crops(pixels[None], around, SIDE))
        wanted.append(points)
    points = torch.cat(wanted)
    found: Tensor = joints(torch.cat(cuts))
    error = found - points[..., :2]
    return _SQUARES_WEIGHT * (error.square() * points[..., 2:]).mean()


def grown(boxes: Tensor) -> Tensor:
    """Boxes (N,4) with what is around them."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * _AROUND
    return torch.cat([centre - half, centre + half], 1)


def _sides(boxes: Tensor) -> Tensor:
    """(N,1,2): width and height."""
    return (boxes[:, 2:] - boxes[:, :2])[:, None]
