"""Sets in Ultralytics' YOLO layout: a data.yaml, pictures, and a label file beside each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torchvision import tv_tensors

from models.data.samples import (
    BACKGROUND,
    LabelledPictures,
    Sample,
    detection_target,
    read_rgb,
)
from models.data.shapes import clipped_boxes, drawn_masks
from models.data.yolo_file import YoloFile, YoloObject, label_path, read_labels
from models.errors import DataError


@dataclass(frozen=True, slots=True)
class YoloPicture:
    """One picture.

    Attributes:
        path: its file.
        objects: the lines of its label file; none without a file.
    """

    path: Path
    objects: tuple[YoloObject, ...]


@dataclass(frozen=True, eq=False)
class YoloSegPictures(LabelledPictures):
    """Pictures whose labels are polygons, or boxes throughout.

    The labels of ``…/images/a.jpg`` are ``…/labels/a.txt``; a picture without such a file holds
    nothing. Numbers up to 0.01 outside 0 to 1 are moved to the picture's edge.

    Attributes:
        pictures: what the label files say about each.
        class_names: background first.
        has_masks: whether the labels are polygons; all of them, or none.
    """

    pictures: tuple[YoloPicture, ...]
    class_names: tuple[str, ...]
    has_masks: bool

    @classmethod
    def open(cls, file: YoloFile, part: str) -> Self:
        """A part of a set; every label file is read and checked.

        Args:
            file: its data.yaml, from ``read_yolo``.
            part: ``train`` or ``val``.

        Raises:
            DataError: if a picture is missing, no picture has a label file, or a line is faulty.
        """
        paths = file.pictures(part)
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{file.path}: {missing[0]} of its {part} part is missing, {len(missing)} of "
                f"{len(paths)} in all; add them or correct the list."
            )
        labels = [label_path(path) for path in paths]
        if not any(label.is_file() for label in labels):
            raise DataError(
                f"{file.path}: no picture of its {part} part has a label file; the labels of "
                f"{paths[0]} must be {labels[0]}."
            )
        pictures = tuple(
            YoloPicture(path, read_labels(label, len(file.class_names)) if label.is_file() else ())
            for path, label in zip(paths, labels, strict=True)
        )
        return cls(pictures, (BACKGROUND, *file.class_names), _has_masks(pictures))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        pixels = read_rgb(picture.path)
        size = (pixels.shape[1], pixels.shape[2])
        objects = picture.objects
        boxes = clipped_boxes([_pixels(one.box, size) for one in objects], size)
        masks = None
        if self.has_masks:
            masks = drawn_masks([[_pixels(one.polygon, size)] for one in objects], boxes, size)
        labels = torch.tensor([one.label for one in objects], dtype=torch.int64)
        target = detection_target(boxes, labels, size=size, image_id=index, masks=masks)
        return tv_tensors.Image(pixels), target

    def path(self, index: int) -> Path:
        return self.pictures[index].path

    def take(self, indices: Sequence[int]) -> Self:
        return dataclasses.replace(self, pictures=tuple(self.pictures[i] for i in indices))


def _pixels(shares: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Places x, y, x, y … in px."""
    return [share * size[1 - at % 2] for at, share in enumerate(shares)]


def _has_masks(pictures: Sequence[YoloPicture]) -> bool:
    """Whether all labels are polygons; they must be of one kind."""
    lines = [(picture.path, one) for picture in pictures for one in picture.objects]
    has_masks = not lines or bool(lines[0][1].polygon)
    for path, one in lines:
        if bool(one.polygon) != has_masks:
            kinds = ("a polygon", "a box") if one.polygon else ("a box", "a polygon")
            first_path, first = lines[0]
            raise DataError(
                f"{label_path(path)}:{one.line} is {kinds[0]} and {label_path(first_path)}:"
                f"{first.line} {kinds[1]}; all labels must be polygons, or all boxes."
            )
    return has_masks
