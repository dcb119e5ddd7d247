"""From a frame to the bytes that viewers are sent."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.errors import SinkError
from stream.frame import Image
from stream.sinks.live_view import LiveFrame, LiveView
from stream.web.overlays import objects_of

if TYPE_CHECKING:
    from stream.stages import Job

QUALITY = 80  # of JPEG


@dataclass(frozen=True, slots=True)
class Form:
    """What a viewer wants: viewers with the same form share one encoding.

    Attributes:
        annotated: the picture as other sinks get it; else the clean one, with what was found.
        width: px, 0 for that of the frame; a picture is never made larger.
    """

    annotated: bool
    width: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One frame in one form.

    Attributes:
        number: of the ``LiveFrame``.
        payload: a JPEG, or for clean pictures a message of header and JPEG.
    """

    number: int
    payload: bytes


def encode(view: LiveView, frame: LiveFrame, form: Form) -> Encoded:
    """Draw, shrink and compress."""
    if form.annotated:
        return Encoded(frame.number, jpeg_of(shrunk(view.annotated(frame), form.width)))
    picture = shrunk(frame.job.frame.image, form.width)
    jpeg = jpeg_of(picture)
    header = json.dumps(_header(frame.job, picture), separators=(",", ":")).encode()
    return Encoded(frame.number, b"".join((struct.pack(">I", len(header)), header, jpeg)))


def shrunk(picture: Image, width: int) -> Image:
    """The picture, at most ``width`` px wide; 0 for as it is."""
    height, full = picture.shape[:2]
    if not 0 < width < full:
        return picture
    size = width, max(1, round(height * width / full))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg_of(picture: Image, quality: int = QUALITY) -> bytes:
    """(H,W,3) RGB as JPEG."""
    was_encoded, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not was_encoded:
        raise SinkError("The picture could not be compressed.")
    return jpeg.tobytes()


def _header(job: Job, picture: Image) -> dict[str, object]:
    frame = job.frame
    return {
        "index": frame.index,
        "pts_seconds": round(frame.pts_seconds, 6),
        "captured_at": round(frame.arrival_wall_time, 6),
        "age_ms": round((time.monotonic() - frame.captured_at) * 1e3, 1),
        "width": frame.size[0],
        "height": frame.size[1],
        "jpeg_width": picture.shape[1],
        "jpeg_height": picture.shape[0],
        "objects": objects_of(job),
    }
