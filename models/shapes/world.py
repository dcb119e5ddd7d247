"""A world of moving shapes, seen by one camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.detections import Floats, Labels
from models.letterbox import Image
from models.shapes.outlines import KEYPOINT_NAMES, SHAPE_NAMES, Points
from models.shapes.surfaces import Light, background
from models.shapes.thing import Layer, Thing

Masks = npt.NDArray[np.bool_]

CLASS_NAMES = ("__background__", *SHAPE_NAMES)
COUNTS = (3, 7)  # objects of a world, least and greatest
LEAST_SHARE = 0.3  # of an object that must show, or it is not labelled
LEAST_PX = 12

HIDDEN, SEEN, OUTSIDE = 1, 2, 0  # COCO's numbers for a keypoint


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """The N objects of one frame of which at least ``LEAST_SHARE`` shows, the farthest first.

    Attributes:
        boxes: (N,4) float32 xyxy px, half-open, the tightest around each mask.
        labels: (N,) int64 into ``CLASS_NAMES``.
        track_ids: (N,) int64 from 1, the same number for the same object in every frame.
        masks: (N,H,W) bool, what shows of each: no pixel is in two of them.
        keypoints: (N,K,2) float32 xy px, in the order of ``KEYPOINT_NAMES``.
        visibility: (N,K) uint8: ``OUTSIDE`` of the picture, ``HIDDEN`` or ``SEEN``.
        shares: (N,) float32, how much of each object shows, 0..1.
    """

    boxes: Floats
    labels: Labels
    track_ids: Labels
    masks: Masks
    keypoints: Floats
    visibility: npt.NDArray[np.uint8]
    shares: Floats

    def __len__(self) -> int:
        return len(self.boxes)


class World:
    """Draws frame ``k``: a pure function of the seed and ``k``.

    Args:
        seed: of everything; one number or several.
        size: (width, height) px.
        shutter: part of a frame's time that the shutter is open; 0 for no motion blur.
    """

    def __init__(
        self,
        seed: int | Sequence[int] = 0,
        *,
        size: tuple[int, int] = (320, 240),
        shutter: float = 0.5,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.size = size
        self.background = background(generator, size)
        behind = self.background.mean((0, 1))
        count = generator.integers(COUNTS[0], COUNTS[1] + 1)
        self.things = [
            Thing(str(shape), generator, size, behind, shutter)
            for shape in generator.choice(SHAPE_NAMES, count)
        ]
        self.light = Light(generator, size)

    def draw(self, k: int) -> Image:
        """(H,W,3) uint8 RGB, newly allocated."""
        return self._draw(self._layers(k), k)

    def truth(self, k: int) -> Truth:
        """What frame ``k`` shows."""
        return self._truth(self._layers(k), k)

    def frame(self, k: int) -> tuple[Image, Truth]:
        """Both, with half the work."""
        layers = self._layers(k)
        return self._draw(layers, k), self._truth(layers, k)

    def _layers(self, k: int) -> list[Layer]:
        return [thing.layer(k) for thing in self.things]

    def _draw(self, layers: Sequence[Layer], k: int) -> Image:
        picture = self.background.copy()
        for layer in layers:
            inside, part = _overlap(layer, self.size)
            region = picture[inside]
            region += layer.cover[part][..., None] * (layer.color[part] - region)
        return self.light.shine(picture, k)

    def _truth(self, layers: Sequence[Layer], k: int) -> Truth:
        masks, in_front = self._visible(layers)
        pixels = masks.sum((1, 2))
        areas = np.array([layer.mask.sum() for layer in layers])
        shares = (pixels / np.maximum(areas, 1)).astype(np.float32)
        kept = np.flatnonzero((shares >= LEAST_SHARE) & (pixels >= LEAST_PX))
        keypoints = np.array([thing.keypoints(k) for thing in self.things])[kept]
        labels = np.array([CLASS_NAMES.index(thing.shape) for thing in self.things], np.int64)
        return Truth(
            boxes=np.array([_box(mask) for mask in masks[kept]], np.float32).reshape(-1, 4),
            labels=labels[kept],
            track_ids=kept.astype(np.int64) + 1,
            masks=masks[kept],
            keypoints=keypoints.astype(np.float32),
            visibility=_visibility(keypoints, in_front[kept]),
            shares=shares[kept],
        )

    def _visible(self, layers: Sequence[Layer]) -> tuple[Masks, Masks]:
        """Of each object (N,H,W) what shows, and (N,H,W) what is covered by those before it."""
        masks = np.zeros((len(layers), self.size[1], self.size[0]), np.bool_)
        in_front = np.zeros_like(masks)
        nearer = np.zeros(masks.shape[1:], np.bool_)
        for number in range(len(layers) - 1, -1, -1):
            in_front[number] = nearer
            inside, part = _overlap(layers[number], self.size)
            masks[number][inside] = layers[number].mask[part] & ~nearer[inside]
            nearer |= masks[number]
        return masks, in_front


def _overlap(
    layer: Layer, size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the picture that a layer touches, and the same in the layer."""
    inside, part = [], []
    for start, length, limit in zip(
        (layer.top, layer.left), layer.cover.shape, (size[1], size[0]), strict=True
    ):
        first, last = max(0, start), min(limit, start + length)
        inside.append(slice(first, max(first, last)))
        part.append(slice(first - start, max(first, last) - start))
    return (inside[0], inside[1]), (part[0], part[1])


def _box(mask: Masks) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _visibility(keypoints: Points, in_front: Masks) -> npt.NDArray[np.uint8]:
    """(N,K) for keypoints (N,K,2) of objects that have ``in_front`` (N,H,W) before them."""
    height, width = in_front.shape[1:]
    columns, rows = np.floor(keypoints).astype(int).reshape(-1, len(KEYPOINT_NAMES), 2).T
    columns, rows = columns.T, rows.T
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    covered = in_front[
        np.arange(len(in_front))[:, None], rows.clip(0, height - 1), columns.clip(0, width - 1)
    ]
    seen = np.where(covered, HIDDEN, SEEN)
    return np.where(is_inside, seen, OUTSIDE).astype(np.uint8)
