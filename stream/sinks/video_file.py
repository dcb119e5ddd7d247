"""Record the annotated picture as H.264 with the source's own timestamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from models.letterbox import Letterbox
from stream.errors import SinkError, UsageError
from stream.frame import Image
from stream.sinks.base import Sink
from stream.sinks.encoders import pick_encoder
from stream.sinks.paths import check_writable
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job

# hybrid_fragmented: fragments while it is written, so that a kill or a full disk leaves a playable
# file; a plain MP4 once it is closed. use_editlist keeps a start time other than zero, and
# delay_moov gives the edit list the right length in a file that was never closed.
_MP4 = {
    "movflags": "+hybrid_fragmented+delay_moov",
    "use_editlist": "1",
    "frag_duration": "500000",  # microseconds
    "flush_packets": "1",
}
_MATROSKA = {"cluster_time_limit": "500", "flush_packets": "1"}  # milliseconds
CONTAINER_OPTIONS = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MP4, ".mkv": _MATROSKA}

DEFAULT_RATE = Fraction(25)
KEYFRAME_SECONDS = 1  # for seeking


class VideoFile(Sink):
    """Writes .mp4, .mov or .mkv.

    Timestamps of a file are kept to the tick (Matroska rounds to 1 ms); a live source starts at
    zero. Pictures with an odd side gain one row or column, because yuv420p has no odd sizes. A
    picture of another size than the first is fitted into the first one's size.

    Args:
        path: of the recording; overwritten when the first frame comes.

    Raises:
        UsageError: if the suffix is unknown or the file cannot be written.
    """

    name = "record"
    wants_picture = True

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in CONTAINER_OPTIONS:
            raise UsageError(
                f"--record {path}: give a name that ends in {', '.join(CONTAINER_OPTIONS)}."
            )
        self.path = check_writable(path, "--record")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size = (0, 0)
        self._origin = 0

    def open(self, info: SourceInfo) -> None:
        self._info = info

    def write(self, job: Job) -> None:
        assert job.picture is not None
        try:
            if self._container is None:
                self._begin(job)
            assert self._container is not None
            assert self._stream is not None
            frame = av.VideoFrame.from_ndarray(self._fit(job.picture), format="rgb24")
            frame.pts, frame.time_base = job.frame.pts - self._origin, job.frame.time_base
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _begin(self, job: Job) -> None:
        name, options = pick_encoder()
        rate = self._info.frame_rate or DEFAULT_RATE
        width, height = job.frame.size
        self._size = (width, height)
        self._origin = job.frame.pts if self._info.is_live else 0
        self._container = av.open(
            str(self.path), "w", options=CONTAINER_OPTIONS[self.path.suffix.lower()]
        )
        stream = cast("VideoStream", self._container.add_stream(name, rate=rate))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = job.frame.time_base
        stream.options = {**options, "g": str(max(1, round(rate * KEYFRAME_SECONDS)))}
        self._stream = stream

    def _fit(self, picture: Image) -> Image:
        """The picture at the recording's even size."""
        width, height = self._size
        picture = Letterbox.inside(picture.shape[1::-1], self._size).resize(picture)
        bottom = height + height % 2 - picture.shape[0]
        right = width + width % 2 - picture.shape[1]
        if bottom == 0 and right == 0:
            return picture
        padded = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return np.asarray(padded, np.uint8)

    def close(self) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        assert self._stream is not None
        try:
            try:
                container.mux(self._stream.encode(None))
            finally:
                container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SinkError:
        reason = getattr(error, "strerror", None) or str(error)
        return SinkError(
            f"The recording {self.path} could not be written: {reason}; what was written until "
            "then stays playable."
        )
