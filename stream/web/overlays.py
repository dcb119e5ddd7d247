"""What the page draws over a clean picture, in px of the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from models.detections import UNTRACKED, Detections
from models.roi_masks import paste
from stream.render import OUTLINE_TOLERANCE, color_of

if TYPE_CHECKING:
    from stream.stages import Job

_DECIMALS = 1  # of a px


def objects_of(job: Job) -> list[dict[str, Any]]:
    """Every object of a frame with all that can be drawn of it, JSON-ready."""
    found = job.detections
    if found is None:
        return []
    trails = job.scene.trails if job.scene is not None else {}
    names = found.names()
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        track = None
        if found.track_ids is not None and found.track_ids[i] != UNTRACKED:
            track = int(found.track_ids[i])
        trail = trails.get(track) if track is not None else None
        rows.append(
            {
                "label": name,
                "score": round(float(found.scores[i]), 3),
                "box": _rounded(found.boxes[i]),
                "track": track,
                "trail": [] if trail is None else [_rounded(point) for point in trail],
                "polygons": _outlines(found, i, job.frame.size),
                "keypoints": None
                if found.keypoints is None
                else [_rounded(point) for point in found.keypoints[i]],
                "colour": "#{:02x}{:02x}{:02x}".format(*color_of(int(found.labels[i]))),
            }
        )
    return rows


def _outlines(found: Detections, i: int, frame_size: tuple[int, int]) -> list[list[int]]:
    """The edge of each part of a mask, as a row of x and y."""
    if found.masks is None:
        return []
    x, y, inside = paste(found.masks[i], found.boxes[i], frame_size)
    if inside.size == 0:
        return []
    contours, _ = cv2.findContours(
        inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y)
    )
    outlines = [cv2.approxPolyDP(contour, OUTLINE_TOLERANCE, True) for contour in contours]
    return [_whole(outline) for outline in outlines if len(outline) > 2]


def _rounded(numbers: Any) -> list[float]:
    return [round(float(number), _DECIMALS) for number in numbers]


def _whole(outline: Any) -> list[int]:
    return [int(side) for side in outline.ravel()]
