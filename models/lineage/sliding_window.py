"""The oldest way: a classifier looks at every place and every size.

Once window by window, and once with the same weights as a fully convolutional pass over the whole
picture (OverFeat: Sermanet et al., 2013), which computes what overlapping windows share only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from models.data.samples import LabelledPictures
from models.deploy.box_math import clip
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Budget, Lineage, Stopwatch
from models.lineage.examples import (
    Example,
    crops,
    jittered,
    match,
    normalised,
    read_examples,
    shuffled,
    varied,
)
from models.lineage.trunk import CHANNELS, STRIDE, Teacher, trunk

WINDOW = 43  # px: what one place of the map sees
CONTEXT = 1.3  # a window's side to the object's that it is for
SIDES = tuple(26 * 1.25**step for step in range(8))  # px of windows in the picture, 26 to 124
_MARGIN = 16  # px around a scaled picture, for objects that its edge cuts
_NMS_IOU = 0.3
_BATCH = 256

_PICTURES, _PASSES = 150, 8
_OBJECT_IOU, _NOTHING_IOU = 0.55, 0.35  # windows in between teach nothing


class WindowClassifier(nn.Module):
    """Scores (N,classes,h,w) before softmax, one for each window of (N,3,H,W)."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.trunk = trunk(padding=0)
        self.head = nn.Sequential(
            nn.Conv2d(CHANNELS[-1], 96, 3),  # the window's whole map: a fully connected layer
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Conv2d(96, class_count, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return cast("Tensor", self.head(self.trunk(pixels)))


class SlidingWindow(Lineage):
    """Brute force: every window through the network on its own."""

    name = "sliding_window_shapes"
    module: WindowClassifier

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = WindowClassifier(len(class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        found = [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))]
        with clock.step("proposals"):
            pixels = normalised(image)
        for side in SIDES:
            with clock.step("proposals"):
                scaled = _scaled(pixels, WINDOW / side)
            if min(scaled.shape[-2:]) < WINDOW:
                continue
            scores = self.scores(scaled, clock).softmax(1)[0]
            with clock.step("nms"):
                found.append(_objects(scores, side))
        with clock.step("nms"):
            boxes, labels, values = (torch.cat(parts) for parts in zip(*found, strict=True))
            kept = batched_nms(boxes, values, labels, _NMS_IOU)
            return self.detections(clip(boxes[kept], image.shape[:2]), labels[kept], values[kept])

    def scores(self, pixels: Tensor, clock: Stopwatch) -> Tensor:
        """(1,classes,h,w) for the h x w windows of ``pixels`` (1,3,H,W)."""
        with clock.step("proposals"):
            views = pixels.unfold(2, WINDOW, STRIDE).unfold(3, WINDOW, STRIDE)
            rows, columns = views.shape[2:4]
            windows = views.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        scores = []
        for batch in torch.split(windows, _BATCH):
            with clock.step("features"):
                features = self.module.trunk(batch)
            with clock.step("heads"):
                scores.append(self.module.head(features))
        return torch.cat(scores).view(1, rows, columns, -1).permute(0, 3, 1, 2)

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        generator = torch.Generator().manual_seed(budget.seed)
        self.module = WindowClassifier(len(self.class_names))
        examples = read_examples(pictures, _PICTURES)
        parts = [_windows(example, generator) for example in examples]
        budget.tell(f"{self.name}: {sum(len(part[1]) for part in parts)} windows")
        self._learn(parts, budget.passes(_PASSES), generator, budget)
        hard = [self._false_alarms(example) for example in examples[::2]]
        budget.tell(f"{self.name}: {sum(len(part[1]) for part in hard)} false alarms to learn from")
        self._learn([*parts, *hard], budget.passes(_PASSES // 2), generator, budget)
        self.module.eval()

    def _learn(
        self,
        parts: list[tuple[Tensor, Tensor]],
        passes: int,
        generator: torch.Generator,
        budget: Budget,
    ) -> None:
        windows, labels = (torch.cat(rows) for rows in zip(*parts, strict=True))
        teacher = Teacher(self.module, passes * -(-len(labels) // _BATCH))
        self.module.train()
        for number in range(passes):
            total = 0.0
            for rows in shuffled(len(labels), _BATCH, generator):
                batch = varied(windows[rows].float(), generator)
                loss = functional.cross_entropy(self.module(batch)[:, :, 0, 0], labels[rows])
                teacher.step(loss)
                total += float(loss.detach()) * len(rows)
            budget.tell(
                f"{self.name}: pass {number + 1} of {passes}, loss {total / len(labels):.3f}"
            )

    def _false_alarms(self, example: Example) -> tuple[Tensor, Tensor]:
        """Windows that it takes for objects, and that are none."""
        found = FullyConvolutional.of(self).detect(example.image)
        boxes = torch.from_numpy(found.boxes)
        overlap, _ = match(boxes, example.boxes)
        wrong = boxes[overlap < _NOTHING_IOU]
        return _cut(example, wrong), torch.zeros(len(wrong), dtype=torch.int64)


class FullyConvolutional(SlidingWindow):
    """The same windows and the same weights in one pass a scale."""

    name = "fully_convolutional_shapes"

    @classmethod
    def of(cls, other: SlidingWindow) -> FullyConvolutional:
        """With what ``other`` has learned."""
        system = cls(other.class_names)
        system.module = other.module
        return system

    def scores(self, pixels: Tensor, clock: Stopwatch) -> Tensor:
        with clock.step("features"):
            features = self.module.trunk(pixels)
        with clock.step("heads"):
            return cast("Tensor", self.module.head(features))


def _scaled(pixels: Tensor, scale: float) -> Tensor:
    size = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
    scaled = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return functional.pad(scaled, [_MARGIN] * 4)


def _objects(scores: Tensor, side: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (N,4), labels, scores of windows of ``side`` px with ``scores`` (classes,h,w)."""
    labels, rows, columns = (scores[1:] >= LEAST_SCORE).nonzero(as_tuple=True)
    scale = side / WINDOW
    centres = torch.stack([columns, rows], 1) * STRIDE + (WINDOW / 2 - _MARGIN)
    half = side / CONTEXT / 2
    boxes = torch.cat([centres * scale - half, centres * scale + half], 1)
    return boxes, labels + 1, scores[labels + 1, rows, columns]


def _windows(example: Example, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows around objects, beside them and anywhere, with their labels."""
    near = _squares(example.boxes)
    height, width = example.image.shape[:2]
    side = SIDES[0] / CONTEXT * (SIDES[-1] / SIDES[0]) ** torch.rand(12, 1, generator=generator)
    centre = torch.rand((12, 2), generator=generator) * torch.tensor([width, height])
    boxes = torch.cat(
        [
            jittered(near, 6, 0.15, 0.2, generator),
            jittered(near, 4, 0.5, 1.2, generator),
            torch.cat([centre - side / 2, centre + side / 2], 1),
        ]
    )
    boxes = _squares(boxes)
    overlap, which = match(boxes, near)
    kept = (overlap >= _OBJECT_IOU) | (overlap < _NOTHING_IOU)
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    is_object = overlap >= _OBJECT_IOU
    labels[is_object] = example.labels[which[is_object]]
    return _cut(example, boxes[kept]), labels[kept]


def _squares(boxes: Tensor) -> Tensor:
    """Around the same centres, as large as the longer sides."""
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], 1)


def _cut(example: Example, boxes: Tensor) -> Tensor:
    """The windows (N,3,WINDOW,WINDOW) float16 that are for these boxes."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * CONTEXT
    around = torch.cat([centre - half, centre + half], 1)
    return crops(normalised(example.image), around, WINDOW).half()


def window_counts(size: tuple[int, int]) -> Iterator[int]:
    """How many windows there are of each of ``SIDES`` in a picture of (width, height) px."""
    for side in SIDES:
        sides = [round(length * WINDOW / side) + 2 * _MARGIN for length in size]
        rows, columns = ((length - WINDOW) // STRIDE + 1 for length in sides)
        yield max(0, rows) * max(0, columns)
