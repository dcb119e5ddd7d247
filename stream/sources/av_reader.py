"""Packets in, pictures out: the decoding behind every source that FFmpeg opens."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import cast

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream.errors import SourceError, SourceTimeout
from stream.sources.av_explain import AV_ERRORS, explain, is_timeout
from stream.sources.tap import PacketTaker
from stream.sources.timing import ArrivalTimes, wall_time_in

logger = logging.getLogger(__name__)


class AvReader:
    """Decodes one video stream of an open container, packet by packet.

    Args:
        container: open; the reader does not close it.
        stream: the video stream of ``container`` to decode.
        sound: of ``container``, for the taker as well.
        taker: of all packets of these two, beside the decoder.
        name: of the source, free of credentials.
        is_live: a live stream skips to the next keyframe after damage, because what comes in
            between shows things that are not there; a file shows everything it can.
        interrupted: once set, no more pictures come.
        picture_timeout_seconds: how long packets may come without a picture, or None.
        read_timeout_seconds: the container's own deadline, for the message when it passes.

    Attributes:
        corrupt_packets: how many packets gave no picture because they, or those they build on,
            were damaged.
        arrivals: when the packets came.
        wall_zero: UTC seconds since 1970 of pts 0, by the latest packet whose source said it; None
            until one does.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        *,
        sound: Stream | None = None,
        taker: PacketTaker | None = None,
        name: str,
        is_live: bool,
        interrupted: threading.Event,
        picture_timeout_seconds: float | None,
        read_timeout_seconds: float | None,
    ) -> None:
        self._stream = stream
        # A generator, whose close() lets go of the container. It gives the packets of all streams:
        # were it to skip some itself, it would not return as long as only those come.
        self._packets = cast("Generator[Packet[VideoStream]]", container.demux())
        self._taken = {stream.index} if sound is None else {stream.index, sound.index}
        self._taker = taker
        self._name = name
        self._is_live = is_live
        self._interrupted = interrupted
        self._picture_timeout_seconds = picture_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._pictures: deque[VideoFrame] = deque()
        self._packet_count = 0
        self._was_silent = False
        self._has_ended = False
        self._has_seen_keyframe = False
        self._awaits_keyframe = False
        self._has_shown_picture = False
        self._damage = _DamageReport(name)
        self.arrivals = ArrivalTimes()
        self.wall_zero: float | None = None

    @property
    def corrupt_packets(self) -> int:
        return self._damage.packet_count

    def next_picture(self) -> VideoFrame | None:
        """The next picture, or None at the end or once interrupted.

        Raises:
            SourceError: if the source broke.
        """
        began_at = time.monotonic()
        while not self._pictures:
            if self._has_ended or self._interrupted.is_set():
                return None
            timeout = self._picture_timeout_seconds
            if timeout is not None and time.monotonic() - began_at > timeout:
                raise SourceTimeout(
                    f"{self._name} sent packets but not one whole picture for {timeout:g} s."
                )
            packet = self._next_packet()
            if packet is None or self._is_video(packet):
                self._pictures.extend(self._decode(packet))
        if self._interrupted.is_set():
            return None
        self._has_shown_picture = True
        return self._pictures.popleft()

    def close(self) -> None:
        """Let go of the container, which must still be open."""
        self._damage.report()
        self._packets.close()

    def _next_packet(self) -> Packet[VideoStream] | None:
        """The next packet, or None to flush the decoder at the end."""
        if self._was_silent:
            raise self._silence()
        asked_at = time.monotonic()
        try:
            packet = next(self._packets, None)
        except AV_ERRORS as error:
            self._has_ended = True
            if self._interrupted.is_set():
                return None
            if is_timeout(error):
                raise self._silence() from None
            if self._is_live and isinstance(error, OSError):
                raise SourceError(f"{self._name} was disconnected.") from None
            if self._is_live or not self._has_shown_picture:
                raise explain(error, self._name, doing="read") from None
            logger.warning("%s is damaged: it ends early.", self._name)
            return None
        if packet is None or (packet.size == 0 and packet.dts is None):
            self._has_ended = True
            self._warn_if_cut_short()
            return None
        self._note(packet, asked_at)
        return packet

    def _note(self, packet: Packet[VideoStream], asked_at: float) -> None:
        """Take down when a packet came, and hand it on."""
        arrived_at = time.monotonic()
        if self._read_timeout_seconds is not None:
            # FFmpeg's parser held this packet back for the next one, and let it go at the deadline.
            self._was_silent = arrived_at - asked_at > self._read_timeout_seconds
        if self._taker is not None and packet.stream_index in self._taken:
            self._taker.take(cast("Packet[Stream]", packet))
        if not self._is_video(packet):
            return
        self._packet_count += 1
        self.arrivals.note(packet.pts, arrived_at)
        if (wall_time := wall_time_in(packet)) is not None and packet.pts is not None:
            self.wall_zero = wall_time - float(packet.pts * packet.time_base)

    def _is_video(self, packet: Packet[VideoStream]) -> bool:
        return packet.stream_index == self._stream.index

    def _silence(self) -> SourceTimeout:
        return SourceTimeout(f"{self._name} was silent for {self._read_timeout_seconds or 0:g} s.")

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The pictures that ``packet`` completes: none, one, or at the end several."""
        if packet is not None and packet.size == 0:
            return []  # the decoder would take it for the end
        if packet is not None and (self._skips(packet) or packet.is_corrupt):
            return self._drop()
        try:
            pictures = self._stream.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            return self._drop()
        whole = [picture for picture in pictures if not picture.is_corrupt]
        self._damage.add(len(pictures) - len(whole))
        return whole

    def _skips(self, packet: Packet[VideoStream]) -> bool:
        self._has_seen_keyframe |= packet.is_keyframe
        self._awaits_keyframe &= not packet.is_keyframe
        return self._awaits_keyframe

    def _drop(self) -> list[VideoFrame]:
        self._damage.add(1)
        if self._is_live and not self._awaits_keyframe:
            # Some streams mark no keyframes: then the emptied decoder finds its own restart.
            self._awaits_keyframe = self._has_seen_keyframe
            self._stream.codec_context.flush_buffers()
        return []

    def _warn_if_cut_short(self) -> None:
        expected = self._stream.frames
        if self._has_shown_picture and not self._is_live and self._packet_count < expected:
            logger.warning(
                "%s is damaged: it ends after %d of %d frames.",
                self._name,
                self._packet_count,
                expected,
            )


class _DamageReport:
    """Counts damaged packets and logs them, one line a second at most."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.packet_count = 0
        self._reported_count = 0
        self._reported_at = -1.0

    def add(self, packet_count: int) -> None:
        self.packet_count += packet_count
        if time.monotonic() - self._reported_at >= 1:
            self.report()

    def report(self) -> None:
        unreported = self.packet_count - self._reported_count
        if unreported:
            logger.warning("%s: skipped damaged packets: %d.", self._name, unreported)
            self._reported_count = self.packet_count
            self._reported_at = time.monotonic()
