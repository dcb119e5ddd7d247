"""Classification and localisation: one object, one class, four numbers.

The oldest use of a network for more than a class: a second head beside the classifier, trained by
how far its numbers are off. It knows one object, here the largest of the picture, and that is why
everything else in the lineage came to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data.samples import LabelledPictures, Sample
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import Budget, Lineage, Stopwatch
from models.lineage.examples import normalised
from models.lineage.joints import Joints, learn_joints
from models.lineage.train import (
    Batch,
    Target,
    Turn,
    context,
    convolution,
    read_samples,
    squeezed,
    teach,
)
from models.lineage.trunk import begin_with_windows
from models.shapes.outlines import KEYPOINT_NAMES

SIZE = (240, 320)  # px, height and width that every picture is squeezed into
_CHANNELS = 24

PICTURES, _PASSES = 2000, 12
_BOX_WEIGHT = 5.0  # of the distances, of numbers in 0..1, to the cross entropy


class Localiser(nn.Module):
    """Class scores (P,classes) before softmax and a box (P,4) xyxy in 0..1 of each picture.

    Every place of the map says a class and four numbers, and how much its word counts; the answer
    is their mean. So there is one answer, whatever there is to see.
    """

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.class_count = class_count
        self.context = context(_CHANNELS)
        self.around = convolution(_CHANNELS, _CHANNELS, dilation=2)
        self.says = nn.Conv2d(_CHANNELS, 1 + class_count + 4, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; ``pixels`` (P,3,H,W) may be of any size."""
        said = self.says(self.around(self.context(squeezed(pixels, SIZE))))
        weights, logits, sides = said.split([1, self.class_count, 4], dim=1)
        boxes = _centres(sides.shape[2:]) + sides
        counts = weights.flatten(1).softmax(1)[:, None]
        return tuple((part.flatten(2) * counts).sum(2) for part in (logits, boxes))


def _centres(shape: Sequence[int]) -> Tensor:
    """(4,h,w): the middle of each place as xyxy, in 0..1 of the picture."""
    height, width = shape
    y, x = ((torch.arange(side) + 0.5) / side for side in (height, width))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, columns, rows])


class SingleObject(nn.Module):
    """Where the largest object is, and the joints of an object."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.place = Localiser(class_count)
        self.joints = Joints()


class Localise(Lineage):
    """One object: the largest.

    Args:
        class_names: background first.
    """

    name = "localise_shapes"

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = SingleObject(len(class_names))

    @property
    def network(self) -> SingleObject:
        """All that it learns."""
        return cast("SingleObject", self.module)

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        boxes, labels, scores = self.largest(image, clock)
        return self.detections(boxes, labels, scores)

    def largest(self, image: Image, clock: Stopwatch) -> tuple[Tensor, Tensor, Tensor]:
        """Box (1,4) xyxy px, label (1,) and score (1,) of the largest object."""
        height, width = image.shape[:2]
        with clock.step("features"):
            logits, boxes = self.network.place(normalised(image))
        scores, labels = logits.softmax(1)[:, 1:].max(1)
        # nothing keeps four free numbers from naming the corners the other way round
        first, second = boxes.clamp(0, 1).split(2, dim=1)
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        return boxes * boxes.new_tensor([width, height, width, height]), labels + 1, scores

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        self.module = SingleObject(len(self.class_names))
        samples = read_samples(pictures, PICTURES, with_masks=False)
        self._learn_place(pictures, samples, budget)
        if len(pictures.keypoint_names) == len(KEYPOINT_NAMES):  # for pose_shapes
            learn_joints(self.name, self.network.joints, pictures, samples, budget)

    def _learn_place(
        self, pictures: LabelledPictures, samples: Sequence[Sample], budget: Budget
    ) -> None:
        """Class and box of the largest object."""
        begin_with_windows(self.network.place.context[0])
        teach(
            f"{self.name}, class and box",
            self.network.place,
            samples,
            self._loss,
            passes=_PASSES,
            budget=budget,
            turn=Turn(pictures),
            pictures_a_step=16,
        )

    def _loss(self, batch: Batch) -> Tensor:
        height, width = batch.pixels.shape[2:]
        logits, boxes = self.network.place(batch.pixels)
        limits = boxes.new_tensor([width, height, width, height])
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        wanted = boxes.detach().clone()  # a picture without objects teaches no box
        for number, target in enumerate(batch.targets):
            if len(target["boxes"]):
                row = largest_of(target)
                labels[number] = target["labels"][row]
                wanted[number] = target["boxes"][row] / limits
        of_box = functional.l1_loss(boxes, wanted)
        return functional.cross_entropy(logits, labels) + _BOX_WEIGHT * of_box


def largest_of(target: Target) -> int:
    """The number of the object with the largest box."""
    boxes = target["boxes"]
    return int((boxes[:, 2:] - boxes[:, :2]).prod(1).argmax())
