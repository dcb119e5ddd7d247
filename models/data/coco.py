"""Sets in the COCO format (Lin et al., 2014): boxes, masks, crowds and keypoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torchvision import tv_tensors

from models.data.coco_file import CocoObject, CocoPicture, read_coco
from models.data.samples import (
    BACKGROUND,
    LabelledPictures,
    Sample,
    detection_target,
    read_rgb,
)
from models.data.shapes import clipped_boxes, drawn_masks
from models.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class CocoPictures(LabelledPictures):
    """Pictures of a COCO annotation file, in the order of their ids.

    Boxes are cut at the picture's edges. Categories become labels 1, 2, … in the order of their
    ids. Every mask has a pixel at least, see ``drawn_masks``.

    Attributes:
        pictures: what the file says about each.
        class_names: background first.
        has_masks: whether every annotation has a segmentation; a file is all or nothing.
        keypoint_names: empty if no annotation has keypoints.
    """

    pictures: tuple[CocoPicture, ...]
    class_names: tuple[str, ...]
    has_masks: bool
    keypoint_names: tuple[str, ...] = ()

    @classmethod
    def open(cls, annotations: Path, *folders: Path) -> Self:
        """Every picture of an annotation file, which is checked as a whole.

        Args:
            annotations: the JSON file.
            folders: the pictures lie in the first of these that has the first picture.

        Raises:
            DataError: if the file is damaged or contradicts itself, or if a picture is missing.
        """
        file = read_coco(annotations, folders or (annotations.parent,))
        class_names = (BACKGROUND, *file.class_names)
        return cls(file.pictures, class_names, file.has_masks, file.keypoint_names)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        pixels = read_rgb(picture.path)
        size = picture.size
        if (pixels.shape[1], pixels.shape[2]) != size:
            raise DataError(
                f"{picture.path} is {pixels.shape[2]}x{pixels.shape[1]} px upright, and its "
                f"annotation file says {size[1]}x{size[0]}; correct the file, or turn the picture."
            )
        objects = picture.objects
        boxes = clipped_boxes([one.box for one in objects], size)
        masks = None
        if self.has_masks:
            masks = drawn_masks([one.outline for one in objects], boxes, size)
        keypoints, visibility = self._keypoints(objects)
        target = detection_target(
            boxes,
            torch.tensor([one.label for one in objects], dtype=torch.int64),
            size=size,
            image_id=index,
            masks=masks,
            crowd=torch.tensor([one.crowd for one in objects], dtype=torch.bool),
            keypoints=keypoints if self.keypoint_names else None,
            visibility=visibility,
        )
        return tv_tensors.Image(pixels), target

    def _keypoints(self, objects: Sequence[CocoObject]) -> tuple[Tensor, Tensor]:
        """Places (N,K,2) float32 xy px and visibilities (N,K); zeros for an object without."""
        none = (0.0,) * 3 * len(self.keypoint_names)
        rows = torch.tensor([one.keypoints or none for one in objects], dtype=torch.float32)
        rows = rows.reshape(len(objects), len(self.keypoint_names), 3)
        return rows[..., :2], rows[..., 2]

    def path(self, index: int) -> Path:
        return self.pictures[index].path

    def take(self, indices: Sequence[int]) -> Self:
        return dataclasses.replace(self, pictures=tuple(self.pictures[i] for i in indices))

    def only(self, class_names: Sequence[str]) -> Self:
        """The same pictures with only these classes labelled, 1, 2, … in this order.

        Raises:
            UsageError: if the set does not have one of them.
        """
        for name in class_names:
            if name not in self.class_names[1:]:
                raise UsageError(
                    f'The set has no class "{name}"; it has {", ".join(self.class_names[1:])}.'
                )
        labels = {self.class_names.index(name): at for at, name in enumerate(class_names, 1)}
        kept = self._relabelled(labels)
        has_keypoints = any(one.keypoints for picture in kept.pictures for one in picture.objects)
        return dataclasses.replace(
            kept,
            class_names=(BACKGROUND, *class_names),
            keypoint_names=self.keypoint_names if has_keypoints else (),
        )

    def _relabelled(self, labels: dict[int, int]) -> Self:
        pictures = (
            dataclasses.replace(
                picture,
                objects=tuple(
                    dataclasses.replace(one, label=labels[one.label])
                    for one in picture.objects
                    if one.label in labels
                ),
            )
            for picture in self.pictures
        )
        return dataclasses.replace(self, pictures=tuple(pictures))

    def without_small(self, side_px: float) -> Self:
        """The same pictures without the objects whose box has a side shorter than this."""
        pictures = (
            dataclasses.replace(
                picture,
                objects=tuple(one for one in picture.objects if _shorter_side(one) >= side_px),
            )
            for picture in self.pictures
        )
        return dataclasses.replace(self, pictures=tuple(pictures))

    def with_objects(self) -> Self:
        """The pictures with an object that is no crowd."""
        return self._where(lambda picture: any(not one.crowd for one in picture.objects))

    def without_objects(self) -> Self:
        """The other pictures."""
        return self._where(lambda picture: all(one.crowd for one in picture.objects))

    def without_crowds(self) -> Self:
        """The pictures without a crowd.

        A crowd's members have no masks of their own: they would be taught as background.
        """
        return self._where(lambda picture: not any(one.crowd for one in picture.objects))

    def _where(self, keep: Callable[[CocoPicture], bool]) -> Self:
        return dataclasses.replace(self, pictures=tuple(filter(keep, self.pictures)))


def _shorter_side(one: CocoObject) -> float:
    x0, y0, x1, y1 = one.box
    return min(x1 - x0, y1 - y0)
