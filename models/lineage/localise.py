"""Classification and localisation: one object, one class, four numbers.

The oldest use of a network for more than a class: a second head beside the classifier, trained by
the square of its error. It knows one object, here the largest of the picture, and that is why
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
from models.lineage.train import Batch, Target, Turn, convolution, read_samples, squeezed, teach

SIZE = (96, 128)  # px, height and width that every picture is squeezed into
_WIDTHS = (16, 24, 32, 48, 32)  # of its convolutions, each at half of the resolution before
_HIDDEN = 48

PICTURES, _PASSES = 800, 30
_BOX_WEIGHT = 20.0  # of the squares, of numbers in 0..1, to the cross entropy


def regression(size: tuple[int, int], outputs: int) -> nn.Sequential:
    """A network from pixels (P,3,*size) straight to ``outputs`` numbers (P,outputs)."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *_WIDTHS), _WIDTHS, strict=False):
        layers.append(convolution(before, after, stride=2))
    places = size[0] // 32 * (size[1] // 32)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(_WIDTHS[-1] * places, _HIDDEN),
        nn.ReLU(inplace=True),
        nn.Linear(_HIDDEN, outputs),
    )


class Localiser(nn.Module):
    """Class scores (P,classes) before softmax and a box (P,4) xyxy in 0..1 of each picture."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.class_count = class_count
        self.layers = regression(SIZE, class_count + 4)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; ``pixels`` (P,3,H,W) may be of any size."""
        numbers = self.layers(squeezed(pixels, SIZE))
        return numbers[:, : self.class_count], numbers[:, self.class_count :]


class Localise(Lineage):
    """One object: the largest.

    Args:
        class_names: background first.
    """

    name = "localise_shapes"

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = Localiser(len(class_names))

    @property
    def localiser(self) -> Localiser:
        """What tells class and box."""
        return cast("Localiser", self.module)

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        boxes, labels, scores = self.largest(image, clock)
        return self.detections(boxes, labels, scores)

    def largest(self, image: Image, clock: Stopwatch) -> tuple[Tensor, Tensor, Tensor]:
        """Box (1,4) xyxy px, label (1,) and score (1,) of the largest object."""
        height, width = image.shape[:2]
        with clock.step("features"):
            logits, boxes = self.localiser(normalised(image))
        scores, labels = logits.softmax(1)[:, 1:].max(1)
        # nothing keeps four free numbers from naming the corners the other way round
        first, second = boxes.clamp(0, 1).split(2, dim=1)
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        return boxes * boxes.new_tensor([width, height, width, height]), labels + 1, scores

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        self.module = self.network()
        self.learn_place(pictures, read_samples(pictures, PICTURES), budget)

    def network(self) -> nn.Module:
        """With random weights."""
        return Localiser(len(self.class_names))

    def learn_place(
        self, pictures: LabelledPictures, samples: Sequence[Sample], budget: Budget
    ) -> None:
        """Class and box of the largest object."""
        teach(
            f"{self.name}, class and box",
            self.localiser,
            samples,
            self._loss,
            passes=_PASSES,
            budget=budget,
            turn=Turn(pictures),
            pictures_a_step=16,
        )

    def _loss(self, batch: Batch) -> Tensor:
        height, width = batch.pixels.shape[2:]
        logits, boxes = self.localiser(batch.pixels)
        limits = boxes.new_tensor([width, height, width, height])
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        wanted = boxes.detach().clone()  # a picture without objects teaches no box
        for number, target in enumerate(batch.targets):
            if len(target["boxes"]):
                row = largest_of(target)
                labels[number] = target["labels"][row]
                wanted[number] = target["boxes"][row] / limits
        of_box = functional.mse_loss(boxes, wanted)
        return functional.cross_entropy(logits, labels) + _BOX_WEIGHT * of_box


def largest_of(target: Target) -> int:
    """The number of the object with the largest box."""
    boxes = target["boxes"]
    return int((boxes[:, 2:] - boxes[:, :2]).prod(1).argmax())
