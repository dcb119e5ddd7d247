"""Labelled pictures and detectors that say what they are told to, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torchvision import tv_tensors

from models.data.samples import BACKGROUND, LabelledPictures, Sample, detection_target
from models.detections import Detections
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas, Runtime

NAMES = (BACKGROUND, "person")
SIZE = 160, 120  # (width, height) px

Boxes = Sequence[Sequence[float]]


@dataclass
class Scene:
    """One labelled picture; masks fill their boxes unless they are given."""

    boxes: Boxes = ()
    labels: Sequence[int] | None = None
    crowd: Sequence[bool] | None = None
    masks: torch.Tensor | None = None  # (N,H,W)
    keypoints: torch.Tensor | None = None  # (N,K,3): x px, y px, visibility
    name: str = "picture.png"


class Scenes(LabelledPictures):
    """Scenes as a labelled set. The red of a picture's first pixel is its number."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        class_names: tuple[str, ...] = NAMES,
        has_masks: bool = True,
        keypoint_names: tuple[str, ...] = (),
        size: tuple[int, int] = SIZE,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.scenes, self.class_names, self.has_masks = scenes, class_names, has_masks
        self.keypoint_names, self.size = keypoint_names, size
        self.numbers = list(range(len(scenes)) if numbers is None else numbers)
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        self.reads.append(index)
        number = self.numbers[index]
        scene, (width, height) = self.scenes[number], self.size
        picture = torch.full((3, height, width), 90, dtype=torch.uint8)
        picture[0, 0, 0] = number
        boxes = torch.tensor(scene.boxes, dtype=torch.float32).reshape(-1, 4)
        masks = scene.masks
        if masks is None:
            masks = filled(scene.boxes, self.size)
        points = scene.keypoints
        target = detection_target(
            boxes,
            torch.tensor(scene.labels if scene.labels is not None else [1] * len(boxes)),
            size=(height, width),
            image_id=number,
            masks=masks if self.has_masks else None,
            crowd=None if scene.crowd is None else torch.tensor(scene.crowd),
            keypoints=None if points is None else points[..., :2],
            visibility=None if points is None else points[..., 2],
        )
        return tv_tensors.Image(picture), target

    def path(self, index: int) -> Path:
        return Path("/secret/place") / self.scenes[self.numbers[index]].name

    def take(self, indices: Sequence[int]) -> Self:
        return type(self)(
            self.scenes,
            class_names=self.class_names,
            has_masks=self.has_masks,
            keypoint_names=self.keypoint_names,
            size=self.size,
            numbers=[self.numbers[index] for index in indices],
        )


def filled(boxes: Boxes, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Masks (N,H,W) that fill their boxes."""
    masks = torch.zeros(len(boxes), size[1], size[0], dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    return masks


def detections(
    boxes: Boxes,
    *,
    scores: Sequence[float] | None = None,
    labels: Sequence[int] | None = None,
    masks: bool = True,
    class_names: tuple[str, ...] = NAMES,
) -> Detections:
    """Boxes found, with full masks."""
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels if labels is not None else [1] * count, np.int64),
        scores=np.array(scores if scores is not None else [0.9] * count, np.float32),
        class_names=class_names,
        masks=np.ones((count, 28, 28), np.float32) if masks else None,
    )


class Told(Runtime):
    """A detector that finds what it is told to in the picture of each number."""

    name, device, precision, model_name = "fake", "cpu", "fp32", "told"

    def __init__(
        self, results: Sequence[Detections], *, class_names: tuple[str, ...] = NAMES
    ) -> None:
        self.results, self.class_names = results, class_names
        self.seen: list[int] = []

    def preprocess(self, image: Image) -> Canvas:
        assert image.dtype == np.uint8
        size = image.shape[1], image.shape[0]
        return Canvas(image, Letterbox(size, size))

    def infer(self, canvas: Canvas) -> Detections:
        self.seen.append(int(canvas.pixels[0, 0, 0]))
        return self.results[self.seen[-1]]

    def close(self) -> None: ...
