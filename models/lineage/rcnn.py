"""R-CNN (Girshick et al., 2014): every proposal warped and through the network on its own.

Three trainings, one after the other, as in the paper: the network on warped proposals, a linear SVM
for each class on its features with hard negatives, a regression of the boxes. What was new then was
that the features are learned; what it costs is that overlapping proposals share nothing.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from models.data.samples import LabelledPictures
from models.deploy.box_math import clip, decode
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Budget, Lineage, Stopwatch
from models.lineage.examples import Example, crops, normalised, read_examples, shuffled, varied
from models.lineage.feature_cache import FeatureCache, RegionFeatures
from models.lineage.linear_models import Regressions, SupportVectors, fit_boxes, fit_classes
from models.lineage.regions import sample_regions
from models.lineage.selective_search import Mode, SelectiveSearch
from models.lineage.trunk import CHANNELS, Teacher, trunk

SIDE = 48  # px that a proposal is warped to
_CONTEXT_PX = 4  # of these, on each side, what is around the proposal
_POOL_FEATURES = CHANNELS[-1] * (SIDE // 16) ** 2
_FEATURES = 128
_BATCH = 128
_NMS_IOU = 0.3
_CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))

_PICTURES, _PASSES = 120, 6
_REGIONS, _OBJECT_SHARE = 96, 0.4
_SVM_PICTURES = 80


class RegionNetwork(nn.Module):
    """Features of warped proposals, and all that is learned on top of them."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(trunk(), nn.MaxPool2d(2), nn.Flatten())
        self.layer = nn.Sequential(nn.Linear(_POOL_FEATURES, _FEATURES), nn.ReLU(inplace=True))
        # teaches the features; the SVMs take its place afterwards
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(_FEATURES, class_count))
        self.svm = SupportVectors(class_count - 1, _FEATURES)
        self.regressions = Regressions(class_count - 1, _POOL_FEATURES)

    def features(self, warped: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features (N,864) and features (N,128) of warped proposals (N,3,SIDE,SIDE)."""
        pooled = self.trunk(warped)
        return pooled, self.layer(pooled)

    def forward(self, warped: Tensor) -> Tensor:
        """Scores (N,classes) before softmax."""
        return cast("Tensor", self.classifier(self.features(warped)[1]))


class RCNN(Lineage):
    """Selective search, warp, convolutions for each, SVMs, regression.

    Args:
        class_names: background first.
        mode: of selective search.
    """

    name = "rcnn_shapes"
    module: RegionNetwork

    def __init__(self, class_names: tuple[str, ...], mode: Mode = "fast") -> None:
        super().__init__(class_names)
        self.propose = SelectiveSearch(mode)
        self.module = RegionNetwork(len(class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        with clock.step("proposals"):
            proposals = self.propose(image)
        with clock.step("features"):
            pooled, features = self._features(image, proposals)
        with clock.step("heads"):
            scores = self.module.svm.probabilities(features)
            which, label = (scores >= LEAST_SCORE).nonzero(as_tuple=True)
            differences = self.module.regressions(pooled[which], label)
        with clock.step("nms"):
            boxes = clip(decode(_CODER, differences, proposals[which]), image.shape[:2])
            values = scores[which, label]
            kept = batched_nms(boxes, values, label, _NMS_IOU)
            return self.detections(boxes[kept], label[kept] + 1, values[kept])

    def _features(self, image: Image, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features and features of every proposal, each computed on its own."""
        pixels = normalised(image)
        parts = [
            self.module.features(warped(pixels, batch)) for batch in torch.split(proposals, _BATCH)
        ]
        pooled, features = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return pooled, features

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        generator = torch.Generator().manual_seed(budget.seed)
        self.module = RegionNetwork(len(self.class_names))
        examples = read_examples(pictures, _PICTURES)
        search = SelectiveSearch(self.propose.mode, cache=budget.cache)
        proposals = [search(example.image) for example in examples]
        budget.tell(f"{self.name}: {sum(map(len, proposals))} proposals")
        self._tune(examples, proposals, budget, generator)
        self.module.eval()
        regions = self._region_features(examples[:_SVM_PICTURES], proposals[:_SVM_PICTURES], budget)
        budget.tell(f"{self.name}: features of {sum(len(one.boxes) for one in regions)} regions")
        fit_classes(self.module.svm, regions, budget.seed)
        fit_boxes(self.module.regressions, regions, _CODER)
        budget.tell(f"{self.name}: SVMs and regressions")

    def _tune(
        self,
        examples: list[Example],
        proposals: list[Tensor],
        budget: Budget,
        generator: torch.Generator,
    ) -> None:
        """The network learns to tell warped proposals apart."""
        parts: list[tuple[Tensor, Tensor]] = []
        for example, boxes in zip(examples, proposals, strict=True):
            regions, label, _ = sample_regions(
                example, boxes, count=_REGIONS, object_share=_OBJECT_SHARE, generator=generator
            )
            parts.append((warped(normalised(example.image), regions).half(), label))
        inputs, labels = (torch.cat(rows) for rows in zip(*parts, strict=True))
        passes = budget.passes(_PASSES)
        teacher = Teacher(self.module, passes * -(-len(labels) // _BATCH))
        self.module.train()
        for number in range(passes):
            total = 0.0
            for rows in shuffled(len(labels), _BATCH, generator):
                scores = self.module(varied(inputs[rows].float(), generator))
                loss = functional.cross_entropy(scores, labels[rows])
                teacher.step(loss)
                total += float(loss.detach()) * len(rows)
            mean = total / len(labels)
            budget.tell(f"{self.name}: pass {number + 1} of {passes}, loss {mean:.3f}")

    @torch.inference_mode()
    def _region_features(
        self, examples: list[Example], proposals: list[Tensor], budget: Budget
    ) -> list[RegionFeatures]:
        """Of every proposal and every object of some pictures."""
        cache = FeatureCache(budget.cache, self.module)
        found = []
        for example, boxes in zip(examples, proposals, strict=True):
            every = torch.cat([example.boxes, boxes])
            compute = partial(self._features, example.image, every)
            found.append(cache.get(example, every, compute))
        return found


def warped(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Each of ``boxes`` (N,4) with what is around it, warped to (N,3,SIDE,SIDE)."""
    more = (boxes[:, 2:] - boxes[:, :2]) * (_CONTEXT_PX / (SIDE - 2 * _CONTEXT_PX))
    return crops(pixels, torch.cat([boxes[:, :2] - more, boxes[:, 2:] + more], 1), SIDE)
