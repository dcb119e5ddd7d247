"""Packets for those who copy them, of a source that has none: its frames, encoded as they come."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stream.errors import SourceError
from stream.frame import Frame, SourceTime
from stream.sinks.encoders import open_encoder, pick_encoder
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.tap import PacketTaker, PacketTap, new_connection
from stream.sources.wrapper import Wrapper

_TIME_BASE = Fraction(1, 90000)
_USUAL_RATE = 30  # of a camera that does not say
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: MP4 wants it beside the packets


class Encoded(Wrapper):
    """A camera at hand, a screen, pictures or the demo, with packets: H.264, a keyframe a second.

    The thread that reads encodes, which takes a few milliseconds a frame. Frames that change their
    size are another connection to the tap.

    Args:
        source: not yet open.
        tap: takes the packets.
    """

    def __init__(self, source: FrameSource, tap: PacketTap) -> None:
        super().__init__(source)
        self._tap = tap
        self._info: SourceInfo | None = None
        self._encoder: _Encoder | None = None

    def open(self) -> SourceInfo:
        self._info = super().open()
        return self._info

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None:
            self._end()
            return None
        if self._encoder is None or self._encoder.frame_size != frame.size:
            self._end()
            assert self._info is not None
            self._encoder = _Encoder(frame.size, self._info, self._tap)
        self._encoder.take(frame)
        time = SourceTime(self._encoder.connection, frame.pts * frame.time_base)
        return replace(frame, source_time=time)

    def close(self) -> None:
        self._end()
        super().close()

    def _end(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.end()


class _Encoder:
    """Frames of one size.

    Attributes:
        frame_size: (width, height) px.
        connection: number of it, for the tap.
    """

    def __init__(self, frame_size: tuple[int, int], info: SourceInfo, tap: PacketTap) -> None:
        self.frame_size, self.connection = frame_size, new_connection()
        self._size = frame_size[0] + frame_size[0] % 2, frame_size[1] + frame_size[1] % 2
        name, options = pick_encoder(*self._size)
        rate = max(1, round(info.frame_rate or _USUAL_RATE))
        self._holder = av.open(io.BytesIO(), "w", format="null")  # nothing is ever written there
        stream = cast(
            "VideoStream",
            self._holder.add_stream(name, rate=rate, options={**options, "g": str(rate)}),
        )
        (stream.width, stream.height), stream.pix_fmt = self._size, "yuv420p"
        self._codec: VideoCodecContext = stream.codec_context
        self._codec.time_base = stream.time_base = _TIME_BASE
        self._codec.flags |= _GLOBAL_HEADER
        self._codec.thread_count = 1  # the model needs the others
        open_encoder(self._codec)
        self._holder.start_encoding()
        self._taker: PacketTaker = tap.begin(
            [stream], is_live=info.is_live, connection=self.connection
        )

    def take(self, frame: Frame) -> None:
        """Encode it, and give on what there is."""
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        picture = picture.reformat(*self._size, format="yuv420p")
        picture.pts, picture.time_base = round(frame.pts * frame.time_base / _TIME_BASE), _TIME_BASE
        try:
            self._give(picture)
        except av.FFmpegError as error:
            raise SourceError(
                f"{frame.source_id} could not be encoded for clips: {error.strerror}."
            ) from None

    def end(self) -> None:
        """Give on the rest; an encoder that has failed has none."""
        with contextlib.suppress(av.FFmpegError):
            self._give(None)
        self._taker.end()
        self._holder.close()

    def _give(self, picture: av.VideoFrame | None) -> None:
        for packet in self._codec.encode(picture):
            self._taker.take(packet)
