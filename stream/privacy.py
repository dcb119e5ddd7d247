"""Make people, or whatever else, unrecognisable: inside their masks, to the pixel.

The picture is changed before anything is drawn on it and before any output sees it. Each mask is
brought to the frame's own resolution inside its box alone and grown a little, because a 28x28 mask
knows an edge only to half of its cell; an object without a mask is hidden with its whole box.

What is hidden is averaged over cells of an eighth of the object's shorter side, so nothing finer is
left to be recovered. An object that the model misses for a moment stays hidden where it was for
``HOLD_SECONDS``. One that the model never finds is not hidden: no detector is perfect.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from models.class_map import stretched
from models.detections import Detections, Floats
from models.roi_masks import paste
from stream.errors import UsageError
from stream.frame import Frame, Image

MARGIN = 4  # px that a mask is grown by, in addition to half a cell of it
HOLD_SECONDS = 0.5
CELLS = 8  # cells over the shorter side of a hidden object
BACKGROUND_CELLS = 24  # cells over the shorter side of the picture, where it is hidden
LOWEST_SCORE = 0.2  # what the model is this sure of is hidden; a face too many is no harm
_SAME = 0.3  # intersection over union from which on two boxes are one object's

Region = tuple[int, int, npt.NDArray[np.uint8]]  # x and y px of the corner, (h,w) of 0 and 1


class Way(enum.Enum):
    """How a picture is hidden."""

    BLUR = "blur"
    PIXELATE = "pixelate"


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What to hide.

    Attributes:
        classes: names.
        way: how.
        all_but: hide everything but these classes.
    """

    classes: tuple[str, ...]
    way: Way = Way.BLUR
    all_but: bool = False


def hiding(
    *,
    blur: tuple[str, ...] = (),
    pixelate: tuple[str, ...] = (),
    blur_all_but: tuple[str, ...] = (),
) -> PrivacySettings | None:
    """Settings from the three ways to ask for them, each with names of classes; None for none.

    Raises:
        UsageError: if more than one was asked for.
    """
    asked = [
        PrivacySettings(classes, way, all_but)
        for classes, way, all_but in (
            (blur, Way.BLUR, False),
            (pixelate, Way.PIXELATE, False),
            (blur_all_but, Way.BLUR, True),
        )
        if classes
    ]
    if len(asked) > 1:
        raise UsageError("Give one of blur, pixelate and blur-all-but: they cannot be combined.")
    return asked[0] if asked else None


class Privacy:
    """Hides objects in the frames of one camera; all calls come from one thread.

    Args:
        settings: what to hide.
        class_names: of the model.

    Raises:
        UsageError: if the model has no such class.
    """

    def __init__(self, settings: PrivacySettings, class_names: Sequence[str]) -> None:
        for name in settings.classes:
            if name not in class_names:
                raise UsageError(f"The model has no class {name!r} that could be hidden.")
        self._settings = settings
        self._labels = np.array([class_names.index(name) for name in settings.classes])
        self._held: list[tuple[float, Detections]] = []  # last seen at, and one object

    def hide(self, frame: Frame, found: Detections) -> Frame:
        """The frame with a picture of its own, in which nothing is left of what is to be hidden.

        Args:
            frame: as captured; it is not changed.
            found: everything the model found in it, from ``LOWEST_SCORE`` on, in source px.
        """
        chosen = found.select(np.isin(found.labels, self._labels))
        if self._settings.all_but:
            image = self._hide_all_but(frame.image, chosen)
        else:
            image = frame.image.copy()
            for objects in (chosen, *self._missed(chosen, frame.pts_seconds)):
                for region in covered(objects, frame.size):
                    self._hide_region(image, region)
        return replace(frame, image=image, planes=None)

    def _missed(self, chosen: Detections, at_seconds: float) -> list[Detections]:
        """Objects of the latest frames that are not among those of this one."""
        self._held = [
            (seen_seconds, one)
            for seen_seconds, one in self._held
            if at_seconds - seen_seconds <= HOLD_SECONDS
            and not np.any(_overlaps(one.boxes[0], chosen.boxes) > _SAME)
        ]
        missed = [one for _, one in self._held]
        rows = np.eye(len(chosen), dtype=bool)
        self._held += [(at_seconds, chosen.select(row)) for row in rows]
        return missed

    def _hide_region(self, image: Image, region: Region) -> None:
        x, y, mask = region
        part = image[y : y + mask.shape[0], x : x + mask.shape[1]]
        cell = max(2.0, min(mask.shape) / CELLS)
        cv2.copyTo(_coarse(part, cell, self._settings.way), mask, part)

    def _hide_all_but(self, image: Image, chosen: Detections) -> Image:
        hidden = _coarse(image, min(image.shape[:2]) / BACKGROUND_CELLS, self._settings.way)
        for _, (x, y, mask) in _regions(chosen, (image.shape[1], image.shape[0])):
            rows, columns = slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1])
            cv2.copyTo(image[rows, columns], mask, hidden[rows, columns])
        return hidden


def covered(found: Detections, frame_size: tuple[int, int]) -> Iterator[Region]:
    """Which pixels are hidden of each object that can be seen: its mask, grown.

    Args:
        found: in source px.
        frame_size: (width, height) px.
    """
    width, height = frame_size
    for box, (x, y, mask) in _regions(found, frame_size):
        half_cell = 0.0
        if found.masks is not None:
            half_cell = max(box[2] - box[0], box[3] - box[1]) / found.masks.shape[1] / 2
        margin = MARGIN + math.ceil(half_cell)
        left, top = max(x - margin, 0), max(y - margin, 0)
        right = min(x + mask.shape[1] + margin, width)
        bottom = min(y + mask.shape[0] + margin, height)
        outside = np.ones((bottom - top, right - left), np.uint8)
        outside[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] -= mask
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5)  # within 2 %
        yield left, top, (distance <= margin).view(np.uint8)


def _regions(found: Detections, frame_size: tuple[int, int]) -> Iterator[tuple[Floats, Region]]:
    """Each object's mask, or its box where there is no mask or nothing in it."""
    shown = None if found.class_map is None else stretched(found.class_map, frame_size)
    for i, box in enumerate(found.boxes):
        if shown is not None:
            yield box, (0, 0, (shown == found.labels[i]).view(np.uint8))
            continue
        if found.masks is not None:
            x, y, mask = paste(found.masks[i], box, frame_size)
            if mask.any():
                yield box, (x, y, mask)
                continue
        limit = np.array(frame_size)
        left, top = np.clip(np.floor(box[:2]), 0, limit).astype(int).tolist()
        right, bottom = np.clip(np.ceil(box[2:]), 0, limit).astype(int).tolist()
        if right > left and bottom > top:
            yield box, (left, top, np.ones((bottom - top, right - left), np.uint8))


def _coarse(region: Image, cell: float, way: Way) -> Image:
    """The picture with nothing finer than cells of so many px."""
    height, width = region.shape[:2]
    cells = max(1, round(width / cell)), max(1, round(height / cell))
    few = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    back = cv2.INTER_NEAREST if way is Way.PIXELATE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(few, (width, height), interpolation=back), np.uint8)


def _overlaps(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box with each of (N,4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / (np.prod(box[2:] - box[:2]) + areas - shared + 1e-9), np.float32)
