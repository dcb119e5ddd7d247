"""From a decoded picture to upright RGB."""

from __future__ import annotations

import cv2
import numpy as np
from av.video.frame import VideoFrame

from stream.frame import Image

_QUARTER_TURNS = {
    1: cv2.ROTATE_90_COUNTERCLOCKWISE,
    2: cv2.ROTATE_180,
    3: cv2.ROTATE_90_CLOCKWISE,
}


def upright_rgb(picture: VideoFrame) -> Image:
    """(H,W,3) uint8 RGB, C-contiguous, turned the way its rotation metadata asks for.

    Raises:
        FFmpegError, ValueError: if FFmpeg cannot convert the pixel format.
    """
    image = picture.to_ndarray(format="rgb24")
    quarter_turns = round(picture.rotation / 90) % 4  # counterclockwise
    turned = cv2.rotate(image, _QUARTER_TURNS[quarter_turns]) if quarter_turns else image
    return np.ascontiguousarray(turned, dtype=np.uint8)
