"""Pose by direct regression (Toshev and Szegedy's DeepPose, 2014): K joints are 2K numbers.

The object is found first, then cut out; a network goes from these pixels straight to coordinates,
trained by the square of their error (L2). Keypoint R-CNN asks for a heat map of each joint instead.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from models.data.samples import LabelledPictures
from models.detections import Detections
from models.errors import UsageError
from models.letterbox import Image
from models.lineage.base import Budget, Stopwatch
from models.lineage.examples import crops, jittered, normalised
from models.lineage.localise import PICTURES, Localise, Localiser, regression
from models.lineage.train import Batch, Turn, read_samples, teach
from models.shapes.outlines import KEYPOINT_NAMES

SIDE = 64  # px of the cut
_AROUND = 1.3  # a cut's sides to its box's
_SEEN = 1.0  # the score of a joint: it is always told, and never how surely
_PASSES = 20
_SQUARES_WEIGHT = 100.0


class PoseNetwork(nn.Module):
    """Where the object is, and its joints in a cut of it."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.place = Localiser(class_count)
        self.joints = regression((SIDE, SIDE), 2 * len(KEYPOINT_NAMES))

    def points(self, pixels: Tensor, boxes: Tensor) -> Tensor:
        """Joints (N,K,2) px in one picture (1,3,H,W) of the objects in ``boxes`` (N,4)."""
        around = grown(boxes)
        shares = self.shares(crops(pixels, around, SIDE))
        return around[:, None, :2] + shares * _sides(around)

    def shares(self, cuts: Tensor) -> Tensor:
        """Joints (N,K,2) in 0..1 of cuts (N,3,SIDE,SIDE)."""
        return cast("Tensor", self.joints(cuts).view(len(cuts), -1, 2))


class Pose(Localise):
    """The largest object, and its joints.

    Args:
        class_names: background first.
    """

    name = "pose_shapes"

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = self.network()

    @property
    def localiser(self) -> Localiser:
        return self._network.place

    def network(self) -> nn.Module:
        return PoseNetwork(len(self.class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        boxes, labels, scores = self.largest(image, clock)
        with clock.step("heads"):
            points = self._network.points(normalised(image), boxes)
        joints = torch.cat([points, torch.full_like(points[..., :1], _SEEN)], 2)
        return self.detections(boxes, labels, scores, keypoints=joints)

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        if len(pictures.keypoint_names) != len(KEYPOINT_NAMES):
            raise UsageError(
                f"{self.name} learns {len(KEYPOINT_NAMES)} keypoints, and these pictures have "
                f"{len(pictures.keypoint_names)}: give a set that fits, such as shapes."
            )
        torch.manual_seed(budget.seed)
        self.module = self.network()
        samples = read_samples(pictures, PICTURES)
        self.learn_place(pictures, samples, budget)
        generator = torch.Generator().manual_seed(budget.seed)
        teach(
            f"{self.name}, joints",
            self._network.joints,
            [sample for sample in samples if len(sample[1]["boxes"])],
            partial(self._loss_of_joints, generator=generator),
            passes=_PASSES,
            budget=budget,
            turn=Turn(pictures),
            pictures_a_step=8,
        )

    @property
    def _network(self) -> PoseNetwork:
        return cast("PoseNetwork", self.module)

    def _loss_of_joints(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Squares, in shares of the cut, of the joints of every object."""
        cuts, wanted = [], []
        for pixels, target in zip(batch.pixels, batch.targets, strict=True):
            around = grown(jittered(target["boxes"], 1, 0.08, 0.15, generator))
            points = target["keypoints"].clone()
            points[..., :2] = (points[..., :2] - around[:, None, :2]) / _sides(around)
            cuts.append(crops(pixels[None], around, SIDE))
            wanted.append(points)
        points = torch.cat(wanted)
        error = self._network.shares(torch.cat(cuts)) - points[..., :2]
        return _SQUARES_WEIGHT * (error.square() * points[..., 2:]).mean()


def grown(boxes: Tensor) -> Tensor:
    """Boxes (N,4) with what is around them."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * _AROUND
    return torch.cat([centre - half, centre + half], 1)


def _sides(boxes: Tensor) -> Tensor:
    """(N,1,2): width and height."""
    return (boxes[:, 2:] - boxes[:, :2])[:, None]
