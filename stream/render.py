"""Draw what was found: masks blended inside their boxes, boxes, labels, keypoints, a small HUD.

Everything is drawn in place on an (H,W,3) uint8 RGB picture, which may be a crop of a larger one
(strided rows, but whole pixels side by side). Line and text sizes follow the picture, so that
320x240 and 4K read alike; every line has a dark rim, so that it shows on any background.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from models.class_map import MOST_CLASSES, ClassMap, stretched
from models.detections import UNTRACKED, Detections, Floats, Labels
from models.roi_masks import paste
from models.shapes.outlines import BONES, KEYPOINT_NAMES
from stream.frame import Image

Color = tuple[int, int, int]  # RGB
Corners = tuple[int, int, int, int]  # left, top, right, bottom px, all inside of the picture

MASK_OPACITY = 0.45
DARK: Color = (16, 16, 16)
WHITE: Color = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
OUTLINE_TOLERANCE = 0.7  # px by which an outline may cut a corner: smoother, and twice as fast
KEYPOINT_MIN_SCORE = 0.0  # torchvision's keypoint scores are logits

# Which keypoints are joined by a bone: COCO's 17, from the nose down
SKELETON = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
SKELETONS = {17: SKELETON, len(KEYPOINT_NAMES): BONES}  # by the number of keypoints


# (saturation, value): the golden ratio comes close to a hue it has used after 13, 21, 34 and 55
# steps, none of them a multiple of six
_TONES = ((0.6, 1.0), (0.85, 1.0), (0.6, 0.7), (0.85, 0.9), (0.4, 0.9), (0.6, 0.8))


@lru_cache(maxsize=1024)
def color_of(label: int) -> Color:
    """The colour of a class: the same in every run, and unlike those of its neighbours."""
    hue = (0.42 + 0.618034 * (label - 1)) % 1.0  # golden ratio steps from a green for label 1
    red, green, blue = colorsys.hsv_to_rgb(hue, *_TONES[label % len(_TONES)])
    return round(red * 255), round(green * 255), round(blue * 255)


def _rim(color: Color) -> Color:
    """A dark shade of a colour, for the edge of its lines."""
    red, green, blue = color
    return red * 2 // 5, green * 2 // 5, blue * 2 // 5


class Pen:
    """Line and text sizes for a picture of a given size.

    Attributes:
        line: px of a box's line.
        outline: px of the line around a mask, thinner, because there is a tint beside it.
        text: OpenCV font scale.
        text_line: px of a text line.
    """

    def __init__(self, picture: Image) -> None:
        unit = min(picture.shape[:2]) / 480
        self.line = max(1, round(1.6 * unit))
        self.outline = max(1, round(1.0 * unit))
        self.text = float(np.clip(0.5 * unit, 0.36, 2.0))
        self.text_line = max(1, round(self.text * 1.4))


def draw_detections(picture: Image, detections: Detections) -> None:
    """Draw every object on ``picture`` in place, the most certain last and so on top."""
    if detections.class_map is not None:
        draw_class_map(picture, detections, detections.class_map)
        return
    pen = Pen(picture)
    colors = [color_of(int(label)) for label in detections.labels]
    visible = {
        i: corners
        for i in range(len(detections) - 1, -1, -1)
        if (corners := _corners(picture, detections.boxes[i])) is not None
    }
    if detections.masks is not None:
        for i in visible:
            blend_mask(picture, detections.masks[i], detections.boxes[i], colors[i], pen)
    for i, corners in visible.items():
        _draw_box(picture, corners, colors[i], pen)
        if detections.keypoints is not None:
            _draw_pose(picture, detections.keypoints[i], colors[i], pen)
    names = detections.names()
    for i, corners in visible.items():
        text = f"{_named(names[i], detections.track_ids, i)} {detections.scores[i]:.2f}"
        _draw_label(picture, text, corners, colors[i], pen)


def draw_class_map(picture: Image, detections: Detections, class_map: ClassMap) -> None:
    """Tint what each place shows, for the classes that are kept, and name their colours."""
    shown = stretched(class_map, (picture.shape[1], picture.shape[0]))
    colors = np.zeros((MOST_CLASSES, 3), np.uint8)
    kept = np.zeros(MOST_CLASSES, np.uint8)
    for label in detections.labels:
        colors[label], kept[label] = color_of(int(label)), 1
    tinted = cv2.addWeighted(picture, 1 - MASK_OPACITY, colors[shown], MASK_OPACITY, 0)
    cv2.copyTo(tinted, kept[shown], picture)
    _draw_legend(picture, detections, shown)


def _draw_legend(picture: Image, detections: Detections, shown: ClassMap) -> None:
    """A plate for each class, top right: its name and how much of the picture it is."""
    pen, y = Pen(picture), 0
    for label, name in zip(detections.labels, detections.names(), strict=True):
        share = np.count_nonzero(shown == label) / shown.size
        color = color_of(int(label))
        corners = (picture.shape[1] - 1, y, picture.shape[1] - 1, y)
        y += _draw_label(picture, f"{name} {share:.0%}", corners, color, pen)


def _named(name: str, track_ids: Labels | None, i: int) -> str:
    """The class, and the number where there is one: ``person #3``."""
    if track_ids is None or track_ids[i] == UNTRACKED:
        return name
    return f"{name} #{track_ids[i]}"


def blend_mask(picture: Image, mask: Floats, box: Floats, color: Color, pen: Pen) -> None:
    """Tint the pixels of one (28,28) mask and draw its outline, touching its box alone."""
    x, y, inside = paste(mask, box, (picture.shape[1], picture.shape[0]))
    if inside.size == 0:
        return
    region = picture[y : y + inside.shape[0], x : x + inside.shape[1]]
    tinted = cv2.convertScaleAbs(region, alpha=1 - MASK_OPACITY)
    # whole numbers: with fractions OpenCV would add in floating point, at twice the time
    tint = np.array([*(round(MASK_OPACITY * part) for part in color), 0], np.float64)
    cv2.add(tinted, tint, tinted)
    cv2.copyTo(tinted, inside, region)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    contours = [cv2.approxPolyDP(contour, OUTLINE_TOLERANCE, True) for contour in contours]
    cv2.polylines(region, contours, True, _rim(color), pen.outline + 2)
    cv2.polylines(region, contours, True, color, pen.outline)


def _corners(picture: Image, box: Floats) -> Corners | None:
    """The part of a box that can be seen, None if there is none."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(float(edge)) for edge in box)
    if right < 0 or bottom < 0 or left >= width or top >= height:
        return None
    return max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)


def _draw_box(picture: Image, corners: Corners, color: Color, pen: Pen) -> None:
    cv2.rectangle(picture, corners[:2], corners[2:], _rim(color), pen.line + 2)
    cv2.rectangle(picture, corners[:2], corners[2:], color, pen.line)


def _draw_label(picture: Image, text: str, corners: Corners, color: Color, pen: Pen) -> int:
    """Text on a plate that stands on its box, or hangs inside where there is no room above.

    Returns:
        the plate's height in px.
    """
    left, top, _, _ = corners
    (width, height), base = cv2.getTextSize(text, FONT, pen.text, pen.text_line)
    margin = pen.line + 1
    plate_height: int
    plate_width, plate_height = width + 2 * margin, height + base + margin
    x = max(0, min(left, picture.shape[1] - plate_width))
    y = top - plate_height if top >= plate_height else top
    y = max(0, min(y, picture.shape[0] - plate_height))
    plate_end = x + plate_width - 1, y + plate_height - 1
    cv2.rectangle(picture, (x, y), plate_end, color, cv2.FILLED)
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    ink = DARK if luminance > 128 else WHITE
    _put_text(picture, text, (x + margin, y + margin + height), ink, pen)
    return plate_height


def _draw_pose(picture: Image, keypoints: Floats, color: Color, pen: Pen) -> None:
    seen = keypoints[:, 2] > KEYPOINT_MIN_SCORE
    for first, second in SKELETONS.get(len(keypoints), ()):
        if seen[first] and seen[second]:
            ends = _pixel(keypoints[first]), _pixel(keypoints[second])
            cv2.line(picture, *ends, _rim(color), pen.line + 2, cv2.LINE_AA)
            cv2.line(picture, *ends, color, pen.line, cv2.LINE_AA)
    for point in keypoints[seen]:
        cv2.circle(picture, _pixel(point), pen.line + 2, DARK, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, _pixel(point), pen.line + 1, WHITE, cv2.FILLED, cv2.LINE_AA)


def draw_hud(picture: Image, lines: Sequence[str]) -> None:
    """White text on a darkened corner, top left, one row a line."""
    if not lines:
        return
    pen = Pen(picture)
    sizes = [cv2.getTextSize(line, FONT, pen.text, pen.text_line)[0] for line in lines]
    row = round(max(height for _, height in sizes) * 1.7)
    margin = max(4, row // 3)
    width = max(width for width, _ in sizes) + 2 * margin
    corner = picture[: row * len(lines) + margin, :width]
    corner[:] = cv2.convertScaleAbs(corner, alpha=0.25)
    for number, line in enumerate(lines, start=1):
        _put_text(picture, line, (margin, number * row - margin // 3), WHITE, pen)


def draw_note(picture: Image, text: str) -> None:
    """One line of white text on a darkened band across the bottom, as large as there is room."""
    pen = Pen(picture)
    (width, height), _ = cv2.getTextSize(text, FONT, pen.text, pen.text_line)
    margin = max(4, height // 2)
    pen.text = min(pen.text, pen.text * (picture.shape[1] - 2 * margin) / width)
    band = picture[-(2 * height + margin) :]
    band[:] = cv2.convertScaleAbs(band, alpha=0.25)
    _put_text(picture, text, (margin, picture.shape[0] - height // 2 - margin // 2), WHITE, pen)


def _put_text(picture: Image, text: str, origin: tuple[int, int], ink: Color, pen: Pen) -> None:
    cv2.putText(picture, text, origin, FONT, pen.text, ink, pen.text_line, cv2.LINE_AA)


def _pixel(point: Floats) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
