"""From a decoded picture to its planes, where they are of the usual kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange

from models.planes import BT601, BT709, BT2020, YuvPlanes
from stream.frame import Image

_FORMATS = ("yuv420p", "yuvj420p", "nv12")  # the first as processors decode, the last as GPUs do
# By FFmpeg's numbers of colour spaces; what says nothing is BT.601 to swscale, and so it is here
_WEIGHTS = {1: BT709, 2: BT601, 5: BT601, 6: BT601, 9: BT2020}


def planes_of(picture: VideoFrame) -> YuvPlanes | None:
    """The planes of an upright picture in 8 bits and 4:2:0, without a copy; None of any other.

    They are valid as long as something refers to them, which also keeps the picture.
    """
    name, weights = picture.format.name, _WEIGHTS.get(picture.colorspace)
    if name not in _FORMATS or weights is None or round(picture.rotation / 90) % 4:
        return None
    if any(plane.line_size <= 0 for plane in picture.planes):  # upside down
        return None
    luma, *chroma = (_lines(plane) for plane in picture.planes)
    if name == "nv12":  # both in one
        chroma = [chroma[0].reshape(len(chroma[0]), -1, 2)]
    width, height = picture.width, picture.height
    across, down = (width + 1) // 2, (height + 1) // 2
    return YuvPlanes(
        luma=luma[:height, :width],
        chroma=tuple(plane[:down, :across] for plane in chroma),
        weights=weights,
        is_full_range=picture.color_range == ColorRange.JPEG or name == "yuvj420p",
    )


def _lines(plane: VideoPlane) -> Image:
    """A plane's bytes, with those that fill its lines up."""
    memory: Any = plane  # a buffer, which its types do not say
    return np.frombuffer(memory, np.uint8).reshape(-1, plane.line_size)
