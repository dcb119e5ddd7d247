"""Fully convolutional network (Long et al., 2015): what each pixel shows.

Down to a sixteenth of the resolution, where a place sees whole shapes, and up again by transposed
convolutions, each time together with the finer map that was left behind on the way down.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.class_map import from_probabilities
from models.data.samples import LabelledPictures
from models.detections import Detections
from models.errors import UsageError
from models.letterbox import Image
from models.lineage.base import Budget, Lineage, Stopwatch
from models.lineage.examples import normalised
from models.lineage.train import Batch, Target, Turn, context, read_samples, teach
from models.lineage.trunk import CHANNELS, begin_with_windows

_CHANNELS = 24
_FINE_LAYERS = 12  # of the trunk, which end at a fourth of the resolution
_PICTURES, _PASSES = 500, 40


class FCNNetwork(nn.Module):
    """Class scores (P,classes,H,W) before softmax of pixels (P,3,H,W)."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        trunk, *wider = context(_CHANNELS)
        layers = list(trunk.children())
        self.fourth = nn.Sequential(*layers[:_FINE_LAYERS])
        self.eighth = nn.Sequential(*layers[_FINE_LAYERS:])
        self.sixteenth = nn.Sequential(*wider)
        self.scores = nn.ModuleList(
            nn.Conv2d(channels, class_count, 1)
            for channels in (CHANNELS[-2], CHANNELS[-1], _CHANNELS)
        )
        self.up_twice = nn.ModuleList(
            nn.ConvTranspose2d(class_count, class_count, 4, 2, 1) for _ in range(2)
        )
        self.up_four = nn.ConvTranspose2d(class_count, class_count, 8, 4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.raised(self.lowered(pixels), pixels.shape[2:])

    def lowered(self, pixels: Tensor) -> list[Tensor]:
        """Maps at a fourth, an eighth, a sixteenth of the resolution."""
        fourth = self.fourth(pixels)
        eighth = self.eighth(fourth)
        return [fourth, eighth, self.sixteenth(eighth)]

    def raised(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """Scores at ``size`` out of the three maps, the coarsest first."""
        fourth, eighth, scores = (
            score(map_) for score, map_ in zip(self.scores, maps, strict=True)
        )
        for up, finer in zip(self.up_twice, (eighth, fourth), strict=True):
            scores = finer + _cut(up(scores), finer.shape[2:])
        return _cut(self.up_four(scores), size)


class FCN(Lineage):
    """Down, up, a class for each pixel.

    Args:
        class_names: background first.
    """

    name = "fcn_shapes"
    module: FCNNetwork

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = FCNNetwork(len(class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        pixels = normalised(image)
        with clock.step("features"):
            maps = self.module.lowered(pixels)
        with clock.step("heads"):
            values = self.module.raised(maps, pixels.shape[2:])[0].softmax(0)
            return from_probabilities(values.numpy(), self.class_names, min_score=self.min_score)

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        if not pictures.has_masks:
            raise UsageError(
                f"{self.name} learns from masks, which these pictures have not: give a set with "
                "masks, such as shapes."
            )
        torch.manual_seed(budget.seed)
        self.module = FCNNetwork(len(self.class_names))
        begin_with_windows(nn.Sequential(*self.module.fourth, *self.module.eighth))
        teach(
            self.name,
            self.module,
            read_samples(pictures, _PICTURES),
            self._loss,
            passes=_PASSES,
            budget=budget,
            turn=Turn(pictures),
        )

    def _loss(self, batch: Batch) -> Tensor:
        scores = self.module(batch.pixels)
        return functional.cross_entropy(
            scores, torch.stack([class_map(target, scores.shape[2:]) for target in batch.targets])
        )


def class_map(target: Target, size: torch.Size) -> Tensor:
    """The label of each pixel (H,W) int64 of ``size``, 0 where there is no object."""
    shown = torch.zeros(size, dtype=torch.int64)
    for mask, label in zip(target["masks"], target["labels"], strict=True):
        height, width = mask.shape
        shown[:height, :width][mask.bool()] = label
    return shown


def _cut(map_: Tensor, size: torch.Size) -> Tensor:
    """The top left part; sides that no stride divides come back too long."""
    return map_[..., : size[0], : size[1]]
