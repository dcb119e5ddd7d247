"""Fast R-CNN (Girshick, 2015): one map for the whole picture, each proposal a pool of it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import RoIPool, batched_nms

from models.data.samples import LabelledPictures
from models.deploy.box_math import clip, decode
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Budget, Lineage, Stopwatch
from models.lineage.examples import Example, normalised, read_examples, recoloured, shuffled
from models.lineage.regions import sample_regions
from models.lineage.selective_search import Mode, SelectiveSearch
from models.lineage.trunk import CHANNELS, STRIDE, Teacher, begin_with_windows, trunk

_POOL_SIDE = 5
_WIDTH = 64  # of the two fully connected layers
_NMS_IOU = 0.3
_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))

_PICTURES, _PASSES = 300, 16
_PICTURES_A_STEP, _REGIONS, _OBJECT_SHARE = 2, 96, 0.3


class FastNetwork(nn.Module):
    """The map, and from it class scores and box differences of every region."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.trunk = trunk()
        self.pool = RoIPool(_POOL_SIDE, 1 / STRIDE)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(CHANNELS[-1] * _POOL_SIDE**2, _WIDTH),
            nn.ReLU(inplace=True),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(_WIDTH, class_count)
        self.regressor = nn.Linear(_WIDTH, 4 * class_count)

    def heads(self, shared: Tensor, regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (N,classes) before softmax and differences (N,classes*4).

        Args:
            shared: the map (P,C,h,w) of P pictures.
            regions: of each picture, (n,4) xyxy px.
        """
        features = self.layers(self.pool(shared, regions))
        return self.classifier(features), self.regressor(features)


class FastRCNN(Lineage):
    """Selective search, one pass through the convolutions, RoI Pool, softmax, regression.

    Args:
        class_names: background first.
        mode: of selective search.
    """

    name = "fast_rcnn_shapes"
    module: FastNetwork

    def __init__(self, class_names: tuple[str, ...], mode: Mode = "fast") -> None:
        super().__init__(class_names)
        self.propose = SelectiveSearch(mode)
        self.module = FastNetwork(len(class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        with clock.step("proposals"):
            proposals = self.propose(image)
        with clock.step("features"):
            shared = self.module.trunk(normalised(image))
        with clock.step("heads"):
            logits, differences = self.module.heads(shared, [proposals])
            scores = logits.softmax(1)[:, 1:]
            boxes = differences.view(-1, len(self.class_names), 4)[:, 1:]
        with clock.step("nms"):
            which, label = (scores >= LEAST_SCORE).nonzero(as_tuple=True)
            found = decode(_CODER, boxes[which, label], proposals[which])
            found = clip(found, image.shape[:2])
            values = scores[which, label]
            kept = batched_nms(found, values, label, _NMS_IOU)
            return self.detections(found[kept], label[kept] + 1, values[kept])

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        generator = torch.Generator().manual_seed(budget.seed)
        self.module = FastNetwork(len(self.class_names))
        begin_with_windows(self.module.trunk)
        examples = read_examples(pictures, _PICTURES)
        search = SelectiveSearch(self.propose.mode, cache=budget.cache)
        proposals = [search(example.image) for example in examples]
        budget.tell(f"{self.name}: {sum(map(len, proposals))} proposals")
        passes = budget.passes(_PASSES)
        teacher = Teacher(self.module, passes * -(-len(examples) // _PICTURES_A_STEP))
        self.module.train()
        for number in range(passes):
            losses = []
            for rows in shuffled(len(examples), _PICTURES_A_STEP, generator):
                chosen = [(examples[row], proposals[row]) for row in rows.tolist()]
                loss = self._loss(chosen, generator)
                teacher.step(loss)
                losses.append(float(loss.detach()))
            mean = sum(losses) / len(losses)
            budget.tell(f"{self.name}: pass {number + 1} of {passes}, loss {mean:.3f}")
        self.module.eval()

    def _loss(self, chosen: list[tuple[Example, Tensor]], generator: torch.Generator) -> Tensor:
        """Of the class and of the box, together, for some regions of each picture."""
        pixels, regions, labels, targets = [], [], [], []
        for example, proposals in chosen:
            some, label, boxes = sample_regions(
                example,
                proposals,
                count=_REGIONS,
                object_share=_OBJECT_SHARE,
                generator=generator,
            )
            picture, (some, boxes) = _turned(normalised(example.image), (some, boxes), generator)
            pixels.append(picture)
            regions.append(some)
            labels.append(label)
            targets.append(_CODER.encode_single(boxes, some))
        shared = self.module.trunk(_stacked(pixels))
        logits, differences = self.module.heads(shared, regions)
        of_class, of_box = fastrcnn_loss(logits, differences, labels, targets)
        return cast("Tensor", of_class + of_box)


def _turned(
    pixels: Tensor, boxes: tuple[Tensor, Tensor], generator: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """A picture (1,3,H,W) mirrored, upside down or recoloured, and its boxes with it."""
    height, width = pixels.shape[-2:]
    first, second = boxes
    for axis, side in ((3, width), (2, height)):
        if torch.rand((), generator=generator) < 0.5:
            pixels = pixels.flip(axis)
            first, second = (_mirrored(part, 3 - axis, side) for part in (first, second))
    return recoloured(pixels, generator), (first, second)


def _mirrored(boxes: Tensor, start: int, side: int) -> Tensor:
    """Boxes (N,4) in a mirror at half of ``side``: columns ``start`` and ``start + 2`` change."""
    boxes = boxes.clone()
    boxes[:, [start, start + 2]] = side - boxes[:, [start + 2, start]]
    return boxes


def _stacked(pictures: list[Tensor]) -> Tensor:
    """Pictures (1,3,H,W) as one batch, each in the top left corner of the largest size."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (2, 3))
    return torch.cat(
        [
            functional.pad(picture, [0, width - picture.shape[3], 0, height - picture.shape[2]])
            for picture in pictures
        ]
    )
