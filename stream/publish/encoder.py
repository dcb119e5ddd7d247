"""H.264 that waits for nothing: no frame is held back, and a keyframe comes every second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from stream.errors import SinkError
from stream.frame import Image
from stream.publish.muxer import TIME_BASE
from stream.sinks.encoders import pick_encoder

KEYFRAME_SECONDS = 1.0
_NO_KEYFRAME = 10_000  # frames, after which an encoder may make one by itself
_MOST_THREADS = 4
# beside pick_encoder's options, which hold nothing back: keyframes where they are asked for
LIVE = {
    "libx264": {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1"},
    "h264_nvenc": {"tune": "ull", "zerolatency": "1", "forced-idr": "1"},
}


class LiveEncoder:
    """Encodes pictures of one size as they come, however irregularly.

    Args:
        size: (width, height) px; an odd side gains one column or row.
        frame_rate: about, for the encoder's planning.

    Raises:
        SinkError: if no encoder works here.
    """

    def __init__(self, size: tuple[int, int], frame_rate: Fraction) -> None:
        self.size = size
        self._even = size[0] + size[0] % 2, size[1] + size[1] % 2
        name, options = pick_encoder(*self._even)
        self._codec = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
        self._codec.width, self._codec.height = self._even
        self._codec.pix_fmt = "yuv420p"
        self._codec.time_base, self._codec.framerate = TIME_BASE, frame_rate
        # the model needs the cores, too
        self._codec.thread_count = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))
        self._codec.options = {**options, **LIVE.get(name, {}), "g": str(_NO_KEYFRAME)}
        self._frame_ticks = round(1 / frame_rate / TIME_BASE)
        self._begun_at: float | None = None
        self._keyframe_at = self._ticks = 0

    @property
    def coded_size(self) -> tuple[int, int]:
        """(width, height) px of what comes out."""
        return self._even

    def go_on_at(self, seconds: float) -> None:
        """Leave no gap between the last picture and the next, which is to be shown then."""
        next_ticks = self._ticks + self._frame_ticks
        self._begun_at = seconds - float(next_ticks * TIME_BASE)

    def encode(self, picture: Image, seconds: float) -> Sequence[Packet[Any]]:
        """The packets of a picture; their times begin at zero, and increase.

        Args:
            picture: (H,W,3) uint8 RGB of the encoder's size.
            seconds: when it is to be shown, later than all before.

        Raises:
            SinkError: if the encoder fails.
        """
        is_first = self._begun_at is None
        if self._begun_at is None:
            self._begun_at = seconds
        ticks = round((seconds - self._begun_at) / float(TIME_BASE))
        self._ticks = ticks if is_first else max(self._ticks + 1, ticks)
        frame = av.VideoFrame.from_ndarray(self._padded(picture), format="rgb24")
        frame.pts, frame.time_base = self._ticks, TIME_BASE
        if is_first or self._ticks - self._keyframe_at >= KEYFRAME_SECONDS / TIME_BASE:
            frame.pict_type, self._keyframe_at = PictureType.I, self._ticks
        try:
            return self._codec.encode(frame)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"The encoder {self._codec.name} failed: {error}.") from error

    def _padded(self, picture: Image) -> Image:
        (width, height), (even_width, even_height) = self.size, self._even
        if self.size == self._even:
            return picture
        padded = cv2.copyMakeBorder(
            picture, 0, even_height - height, 0, even_width - width, cv2.BORDER_REPLICATE
        )
        return np.asarray(padded, np.uint8)
