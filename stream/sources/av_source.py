"""The part that all sources opened by FFmpeg share: files, network, cameras, screens, graphs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.errors import RcnnLiveError, SourceError, SourceTimeout
from stream.frame import Frame, SourceTime
from stream.sources import decoders
from stream.sources.av_explain import AV_ERRORS, explain
from stream.sources.av_reader import AvReader
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.options import AUTO, SOFTWARE
from stream.sources.planes import planes_of
from stream.sources.tap import PacketTaker, PacketTap, new_connection
from stream.sources.timing import PtsRepair
from stream.sources.upright import upright_rgb

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvInput:
    """What FFmpeg is to open, and how to take what comes.

    Attributes:
        name: of the source, free of credentials.
        url: for FFmpeg, with credentials.
        format: FFmpeg's input format, or None to let it find out.
        options: FFmpeg's input options.
        is_live: None if that depends on whether the input turns out to have a length.
        ends: whether a live input has an end; if not, its end means that it was disconnected.
        decode: what decodes it, one of ``options.DECODERS``.
        open_timeout_seconds: until the first frame, or None to wait for ever.
        read_timeout_seconds: of silence, or None to wait for ever.
        tap: takes the packets, too.
    """

    name: str
    url: str = field(repr=False)
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_live: bool | None = False
    ends: bool = True
    decode: str = SOFTWARE
    open_timeout_seconds: float | None = None
    read_timeout_seconds: float | None = None
    tap: PacketTap | None = None


class AvSource(FrameSource):
    """One video stream that FFmpeg can open."""

    def __init__(self, av_input: AvInput) -> None:
        self._input = av_input
        self._interrupted = threading.Event()
        self._container: InputContainer | None = None
        self._reader: AvReader | None = None
        self._taker: PacketTaker | None = None
        self._first_frame: Frame | None = None
        self._corrupt_packets = 0

    @property
    def corrupt_packets(self) -> int:
        """How many packets since ``open`` were damaged and gave no picture."""
        return self._reader.corrupt_packets if self._reader else self._corrupt_packets

    def open(self) -> SourceInfo:
        self.close()
        try:
            return self._open()
        except BaseException:
            self.close()
            raise

    def read(self) -> Frame | None:
        if self._reader is None:
            raise SourceError(f"{self._input.name} is read but not open.")
        frame, self._first_frame = self._first_frame, None
        frame = frame or self._next_frame(self._reader)
        return None if self._interrupted.is_set() else frame

    def close(self) -> None:
        if self._reader is not None:
            self._corrupt_packets = self._reader.corrupt_packets
            self._reader.close()
            self._reader = None  # frees the decoder and its threads
        if self._taker is not None:
            self._taker.end()
            self._taker = None
        if self._container is not None:
            self._container.close()
            self._container = None
        self._first_frame = None

    def interrupt(self) -> None:
        self._interrupted.set()

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        """What to raise when FFmpeg cannot open the input."""
        return explain(error, self._input.name, doing="opened")

    def _open(self) -> SourceInfo:
        container = self._container = self._open_container()
        stream = _video_stream(container, self._input.name)
        self._is_live = self._decide_live(container)
        self._connection = new_connection()
        # Frame threads decode faster but hold pictures back, which a live view cannot have, and
        # a device does not need.
        has_device = stream.codec_context.is_hwaccel
        stream.thread_type = "SLICE" if self._is_live or has_device else "AUTO"
        sound = container.streams.best("audio") if self._input.tap is not None else None
        if self._input.tap is not None:
            tapped = [stream] if sound is None else [stream, sound]
            self._taker = self._input.tap.begin(
                tapped, is_live=self._is_live, connection=self._connection
            )
        self._reader = AvReader(
            container,
            stream,
            sound=sound,
            taker=self._taker,
            name=self._input.name,
            is_live=self._is_live,
            interrupted=self._interrupted,
            picture_timeout_seconds=self._input.open_timeout_seconds,
            read_timeout_seconds=self._input.read_timeout_seconds,
        )
        frame_rate = stream.average_rate or stream.guessed_rate or None
        self._time_base = stream.time_base or Fraction(1, 90_000)
        self._pts_repair = PtsRepair(self._time_base, frame_rate)
        self._index = 0
        first_frame = self._first_frame = self._next_frame(self._reader)
        if first_frame is None:
            reason = "was interrupted" if self._interrupted.is_set() else "holds no whole picture"
            raise SourceError(f"{self._input.name} {reason}.")
        self._tell_decoder(stream)
        width, height = first_frame.size
        return SourceInfo(
            name=self._input.name,
            is_live=self._is_live,
            width=width,
            height=height,
            frame_rate=frame_rate,
            time_base=self._time_base,
            frame_count=None if self._is_live else _frame_count(container, stream),
        )

    def _tell_decoder(self, stream: VideoStream) -> None:
        """Once a picture is there, as only then it is known; loudly if it is not what was asked."""
        device = self._decoder
        if device is None:
            return
        if decoders.is_used(device, stream.codec_context):
            logger.info("%s is decoded by %s.", self._input.name, device.title)
            return
        level = logging.INFO if self._input.decode == AUTO else logging.WARNING
        text = "%s is decoded in software: %s does not take this video."
        logger.log(level, text, self._input.name, device.title)

    def _open_container(self) -> InputContainer:
        timeout = self._input.open_timeout_seconds
        began_at = time.monotonic()
        self._decoder = decoders.pick(self._input.decode)
        try:
            return av.open(
                self._input.url,
                mode="r",
                format=self._input.format,
                options=dict(self._input.options),
                metadata_errors="ignore",
                timeout=(timeout, self._input.read_timeout_seconds),
                hwaccel=decoders.accelerator(self._decoder),
            )
        except AV_ERRORS as error:
            # After a deadline FFmpeg often reports that the nothing it got is invalid.
            if timeout is not None and time.monotonic() - began_at >= timeout:
                raise SourceTimeout(f"{self._input.name} was silent for {timeout:g} s.") from None
            raise self._explain_open(error) from None

    def _decide_live(self, container: InputContainer) -> bool:
        if self._input.is_live is not None:
            return self._input.is_live
        return not container.duration

    def _next_frame(self, reader: AvReader) -> Frame | None:
        picture = reader.next_picture()
        if picture is None:
            if self._is_live and not self._input.ends and not self._interrupted.is_set():
                raise SourceError(f"{self._input.name} was disconnected.")
            return None
        frame = self._frame(picture, reader.arrivals.take(picture.pts))
        self._index += 1
        return frame

    def _frame(self, picture: VideoFrame, captured_at: float) -> Frame:
        try:
            image = upright_rgb(picture)
        except AV_ERRORS:
            raise SourceError(
                f"{self._input.name} has pictures in the format {picture.format.name}, "
                "which cannot be converted to RGB."
            ) from None
        pts = self._pts_repair.next(picture.pts, picture.duration)
        return Frame(
            image=image,
            index=self._index,
            source_id=self._input.name,
            pts=pts,
            time_base=self._time_base,
            captured_at=captured_at,
            wall_time=self._wall_time(picture.pts),
            planes=planes_of(picture),
            source_time=self._source_time(picture.pts, pts),
        )

    def _source_time(self, pts: int | None, repaired_pts: int) -> SourceTime:
        """A live source's own time, even if its clock went back; a file's times are all we have."""
        own = pts if self._is_live and pts is not None else repaired_pts
        return SourceTime(self._connection, own * self._time_base)

    def _wall_time(self, pts: int | None) -> float | None:
        wall_zero = self._reader.wall_zero if self._reader else None
        if wall_zero is None or pts is None:
            return None
        return wall_zero + float(pts * self._time_base)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """The best video stream; a cover picture is none."""
    for stream in container.streams.video:
        if Disposition.attached_pic in stream.disposition:
            continue
        if stream.codec_context is None:
            raise SourceError(f"{name} is in a video format that this FFmpeg cannot decode.")
        return stream
    held = " and ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise SourceError(f"{name} has no video stream: it holds {held} only.")


def _frame_count(container: InputContainer, stream: VideoStream) -> int | None:
    """How many frames a file announces, or has by its duration; None if it says neither."""
    if stream.frames > 0:
        return stream.frames
    rate = stream.average_rate
    if not rate:
        return None
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate)
    return round(Fraction(container.duration, av.time_base) * rate) if container.duration else None
