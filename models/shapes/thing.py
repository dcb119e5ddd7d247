"""One object of the world: how it moves, and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.shapes.outlines import KEYPOINTS, OUTLINES, SPOT, Points
from models.shapes.surfaces import Floats, color_against, noise

_RADII = (0.055, 0.17)  # of the picture's shorter side
_TEXTURE_SIDE = 64  # px of an object's own surface
_FINE = 4  # an edge is drawn so many times finer in each direction, then averaged
_SHIFT = 6  # bits after the point of OpenCV's coordinates
_EXPOSURES = 5  # moments that a blurred picture is the mean of
_STILL_PX = 0.4  # an object that moves less while the shutter is open is drawn once


@dataclass(frozen=True, slots=True)
class Layer:
    """An object as one frame has it, on the part of the plane around it.

    Attributes:
        left, top: px, where the part lies in the picture; it may reach outside.
        cover: (h,w) float32 in 0..1, how much of each pixel the object covers, averaged over the
            time that the shutter was open.
        color: (h,w,3) float32 in 0..255.
    """

    left: int
    top: int
    cover: Floats
    color: Floats

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(h,w): the pixels of which the object covers at least half."""
        return self.cover >= 0.5


class Thing:
    """An object that moves to and fro, turns, and comes nearer and goes again.

    Everything about frame ``k`` is a function of ``k`` alone, which may be fractional.

    Args:
        shape: a key of ``OUTLINES``.
        generator: of the world.
        size: (width, height) px of the picture.
        behind: (3,) the background's mean colour.
        shutter: part of a frame's time that the shutter is open.
    """

    def __init__(
        self,
        shape: str,
        generator: np.random.Generator,
        size: tuple[int, int],
        behind: Floats,
        shutter: float,
    ) -> None:
        self.shape = shape
        self._shutter = shutter
        side = min(size)
        self._radius = side * float(np.exp(generator.uniform(*np.log(_RADII))))
        self._swell, self._swell_period = generator.uniform(0, 0.2), generator.uniform(50, 150)
        # a centre stays so far inside that at most a part of the object is cut off
        self._least = np.full(2, 0.3 * self._radius)
        self._room = np.array(size) - 2 * self._least
        self._start = generator.uniform(0, 2, 2)  # of a way of 2: there and back
        direction = generator.uniform(0, 2 * np.pi)
        speed_px = side * generator.uniform(0.002, 0.016)
        self._velocity = speed_px * np.array([np.cos(direction), np.sin(direction)]) / self._room
        self._turn, self._spin = generator.uniform(0, 2 * np.pi), generator.uniform(-0.06, 0.06)
        self._color = color_against(generator, behind)
        self._spot_color = color_against(generator, self._color)
        grain = noise(generator, (_TEXTURE_SIDE, _TEXTURE_SIDE)) - 0.5
        self._texture = (self._color + 70 * grain[..., None]).clip(0, 255).astype(np.float32)

    def radius(self, k: float) -> float:
        """Px at frame ``k``."""
        return self._radius * (1 + self._swell * float(np.sin(2 * np.pi * k / self._swell_period)))

    def points(self, unit: Points, k: float) -> Points:
        """Points (N,2) of the shape at radius 1, in px of the picture at frame ``k``."""
        angle = self._turn + self._spin * k
        cos, sin = np.cos(angle), np.sin(angle)
        way = np.mod(self._start + self._velocity * k, 2)
        centre = self._least + self._room * np.minimum(way, 2 - way)
        placed: Points = self.radius(k) * unit @ np.array([[cos, sin], [-sin, cos]]) + centre
        return placed

    def keypoints(self, k: float) -> Points:
        """(5,2) px in the order of ``KEYPOINT_NAMES``."""
        return self.points(KEYPOINTS[self.shape], k)

    def layer(self, k: int) -> Layer:
        """The object in frame ``k``."""
        moments = self._moments(k)
        outlines = [self.points(OUTLINES[self.shape], moment) for moment in moments]
        every = np.concatenate(outlines)
        left, top = (int(edge) for edge in np.floor(every.min(0)))
        width, height = (int(edge) for edge in np.ceil(every.max(0)) - (left, top))
        frame = (left, top, max(1, width), max(1, height))
        cover = _cover(outlines, frame)
        spot = _cover([self.points(SPOT, moment) for moment in moments], frame)[..., None]
        color = self._surface(k, frame)
        color += spot * (self._spot_color - color)
        return Layer(left, top, cover, color)

    def _moments(self, k: int) -> list[float]:
        """At which the shutter is open, ``k`` in their middle."""
        moments = k + self._shutter * (np.arange(_EXPOSURES) / (_EXPOSURES - 1) - 0.5)
        first, last = (self.keypoints(float(moment)) for moment in moments[[0, -1]])
        is_still = float(np.abs(last - first).max()) < _STILL_PX
        return [float(k)] if is_still else [float(moment) for moment in moments]

    def _surface(self, k: int, frame: tuple[int, int, int, int]) -> Floats:
        """The object's own texture (h,w,3), turned and scaled with it."""
        left, top, width, height = frame
        corners = self.points(np.array([(-1, -1), (1, -1), (-1, 1)], np.float64), k)
        texture = np.array([(0, 0), (1, 0), (0, 1)], np.float32) * (_TEXTURE_SIDE - 1)
        matrix = cv2.getAffineTransform(texture, (corners - (left, top)).astype(np.float32))
        warped = cv2.warpAffine(
            self._texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(warped, np.float32)


def _cover(outlines: list[Points], frame: tuple[int, int, int, int]) -> Floats:
    """(h,w): the mean of what each outline covers of every pixel."""
    left, top, width, height = frame
    total = np.zeros((height, width), np.float32)
    for outline in outlines:
        fine = np.zeros((height * _FINE, width * _FINE), np.float32)
        # the middle of pixel 0 is at 0 for OpenCV and at 0.5 for us
        corners = (outline - (left, top)) * _FINE - 0.5
        cv2.fillPoly(fine, [np.rint(corners * 2**_SHIFT).astype(np.int32)], 1.0, shift=_SHIFT)
        total += cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return total / np.float32(len(outlines))
