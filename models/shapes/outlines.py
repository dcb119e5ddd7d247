"""The shapes themselves: outlines and keypoints of radius 1, head up, y down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

SHAPE_NAMES = ("circle", "square", "triangle", "star")
# A flip exchanges left_ and right_; see ``models.data.augment``
KEYPOINT_NAMES = ("centre", "head", "right_tip", "tail", "left_tip")
# Which keypoints are joined when they are drawn
BONES = ((0, 1), (0, 2), (0, 3), (0, 4))

# A spot between centre and head, inside of every outline: it tells which way a shape is turned
SPOT_CENTRE = (0.0, -0.45)
SPOT_RADIUS = 0.15

_CIRCLE_CORNERS = 72
_STAR_INNER_RADIUS = 0.5


def _around(angles: Points, radii: Points | float = 1.0) -> Points:
    """Points (N,2) at ``angles`` in radians, clockwise from the head."""
    directions: Points = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    directions *= np.reshape(radii, (-1, 1))
    return directions


def _regular(corners: int) -> Points:
    return _around(np.arange(corners) * 2 * np.pi / corners)


def _star() -> Points:
    return _around(np.arange(10) * np.pi / 5, np.tile([1.0, _STAR_INNER_RADIUS], 5))


OUTLINES: dict[str, Points] = {
    "circle": _regular(_CIRCLE_CORNERS),
    "square": _regular(4),
    "triangle": _regular(3),
    "star": _star(),
}

SPOT = _regular(24) * SPOT_RADIUS + SPOT_CENTRE


def _keypoints(right: Points, tail_y: float) -> Points:
    """(5,2) in the order of ``KEYPOINT_NAMES``; the left side mirrors the right one."""
    return np.array([(0, 0), (0, -1), right, (0, tail_y), (-right[0], right[1])])


KEYPOINTS: dict[str, Points] = {
    "circle": _keypoints(OUTLINES["circle"][_CIRCLE_CORNERS // 4], 1.0),
    "square": _keypoints(OUTLINES["square"][1], 1.0),
    "triangle": _keypoints(OUTLINES["triangle"][1], 0.5),
    "star": _keypoints(OUTLINES["star"][2], _STAR_INNER_RADIUS),
}
