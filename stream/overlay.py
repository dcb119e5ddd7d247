"""Draw what tracking and zones add to the picture: trails, areas, lines and their counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from models.detections import Floats
from stream.frame import Image
from stream.render import DARK, FONT, WHITE, Color, Pen, color_of
from stream.zone_counts import Counts, Tally
from stream.zones import Line, Point, Zone

ZONE_OPACITY = 0.18
LINE_COLOR: Color = (255, 196, 0)
_FIRST_COLOR = 4  # of a zone: unlike those of the first classes
_SHIFT = 3  # bits of a pixel's fraction that OpenCV draws with


def draw_trails(picture: Image, trails: Mapping[int, Floats]) -> None:
    """The way of each object's feet, in a colour of its own.

    Args:
        picture: (H,W,3) RGB, drawn on in place.
        trails: track id to (K,2) px, oldest first.
    """
    pen = Pen(picture)
    for track_id, trail in trails.items():
        if len(trail) > 1:
            points = np.round(trail * (1 << _SHIFT)).astype(np.int32)
            for color, width in ((DARK, pen.line + 2), (color_of(track_id), pen.line)):
                cv2.polylines(picture, [points], False, color, width, cv2.LINE_AA, _SHIFT)


def draw_zones(
    picture: Image, zones: Sequence[Zone], lines: Sequence[Line], counts: Counts
) -> None:
    """Areas tinted, lines with an arrow that points ``in``, and the counts beside them.

    Args:
        picture: (H,W,3) RGB, drawn on in place.
        zones: to draw.
        lines: to draw.
        counts: of these.
    """
    pen = Pen(picture)
    for number, zone in enumerate(zones, start=_FIRST_COLOR):
        tally = counts.zones[zone.name]
        corners = _pixels(picture, zone.corners)
        color = color_of(number)
        _tint(picture, corners, color)
        for shade, width in ((DARK, pen.line + 2), (color, pen.line)):
            cv2.polylines(picture, [corners], True, shade, width)
        entered, left = (_total(part) for part in (tally.entered, tally.left))
        text = f"{zone.name}: {_by_class(tally.inside)}  +{entered} -{left}"
        top = corners[corners[:, 1].argmin()]
        _draw_plate(picture, text, (int(top[0]), int(top[1])), color, pen)
    for line in lines:
        crossed = counts.lines[line.name]
        start, end = _pixels(picture, (line.start, line.end))
        _draw_line(picture, start, end, pen)
        text = f"{line.name}: in {_by_class(crossed.inwards)}  out {_by_class(crossed.outwards)}"
        _draw_plate(picture, text, (int(start[0]), int(start[1])), LINE_COLOR, pen)


def _pixels(picture: Image, points: Sequence[Point]) -> npt.NDArray[np.int32]:
    size = picture.shape[1] - 1, picture.shape[0] - 1
    return np.asarray(np.round(np.array(points) * size), np.int32)


def _tint(picture: Image, corners: npt.NDArray[np.int32], color: Color) -> None:
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0) + 1
    region = picture[top:bottom, left:right]
    inside = np.zeros(region.shape[:2], np.uint8)
    cv2.fillPoly(inside, [corners - (left, top)], 1)
    tinted = cv2.convertScaleAbs(region, alpha=1 - ZONE_OPACITY)
    cv2.add(tinted, np.array([*(round(ZONE_OPACITY * part) for part in color), 0.0]), tinted)
    cv2.copyTo(tinted, inside, region)


def _draw_line(
    picture: Image, start: npt.NDArray[np.int32], end: npt.NDArray[np.int32], pen: Pen
) -> None:
    along = (end - start) / max(1.0, float(np.hypot(*(end - start))))
    middle = (start + end) / 2
    to_the_right = np.array([-along[1], along[0]])  # y points down
    tip = middle + to_the_right * 10 * pen.line
    for color, width in ((DARK, pen.line + 2), (LINE_COLOR, pen.line)):
        cv2.line(picture, start.tolist(), end.tolist(), color, width, cv2.LINE_AA)
        shaft, point = np.round(middle).astype(int).tolist(), np.round(tip).astype(int).tolist()
        cv2.arrowedLine(picture, shaft, point, color, width, cv2.LINE_AA, tipLength=0.4)


def _draw_plate(picture: Image, text: str, at: tuple[int, int], color: Color, pen: Pen) -> None:
    """Dark text's plate with a coloured edge, as near to ``at`` as the picture has room."""
    (width, height), base = cv2.getTextSize(text, FONT, pen.text, pen.text_line)
    margin = pen.line + 2
    plate_width, plate_height = width + 2 * margin, height + base + 2 * margin
    x = max(0, min(at[0], picture.shape[1] - plate_width))
    y = max(0, min(at[1], picture.shape[0] - plate_height))
    corner, opposite = (x, y), (x + plate_width - 1, y + plate_height - 1)
    cv2.rectangle(picture, corner, opposite, DARK, cv2.FILLED)
    cv2.rectangle(picture, corner, opposite, color, max(1, pen.line // 2))
    origin = x + margin, y + margin + height
    cv2.putText(picture, text, origin, FONT, pen.text, WHITE, pen.text_line, cv2.LINE_AA)


def _total(tally: Tally) -> int:
    return sum(tally.values())


def _by_class(tally: Tally) -> str:
    """``3 person, 1 car``, or 0."""
    return ", ".join(f"{count} {name}" for name, count in sorted(tally.items()) if count) or "0"
