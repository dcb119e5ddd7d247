"""One H.264 stream of a camera's annotated picture, for any number of WebRTC viewers.

    pipeline ─ LiveView ─▶ newest frame ─ encoder thread ─▶ event loop ─▶ each viewer's queue

It is encoded once however many watch, and only while somebody does. A keyframe comes every second
and when somebody joins, so that a viewer who lost a packet sees clearly again soon.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from stream.frame import Image
from stream.sinks.live_view import LiveView
from stream.worker import Worker

logger = logging.getLogger(__name__)

CLOCK = Fraction(1, 90_000)  # RTP's for video
KEYFRAME_SECONDS = 1.0
LARGEST_WIDTH = 1280  # px; what is larger is shrunk
BITS_PER_PIXEL = 2.5  # per second
LEAST_BITS = 300_000  # per second
QUEUE_CAPACITY = 60  # packets of a viewer that does not fetch them
LOOK_SECONDS = 0.5  # that the encoder thread sleeps at most

VideoPacket: TypeAlias = "Packet[VideoStream]"


class PacketQueue:
    """The packets of one viewer, from a keyframe on. Belongs to the event loop."""

    def __init__(self) -> None:
        self._packets: asyncio.Queue[VideoPacket] = asyncio.Queue(QUEUE_CAPACITY)
        self._is_lost = True  # until a keyframe comes

    def offer(self, packet: VideoPacket) -> None:
        """Take it, unless it cannot be decoded; whoever is far behind loses what waits."""
        if self._packets.full():
            while not self._packets.empty():
                self._packets.get_nowait()
            self._is_lost = True
        self._is_lost = self._is_lost and not packet.is_keyframe
        if not self._is_lost:
            self._packets.put_nowait(packet)

    async def take(self) -> VideoPacket:
        """The next packet, waiting for it."""
        return await self._packets.get()


class Broadcast:
    """See the module. All methods are called in the event loop.

    Args:
        view: of the camera.
        loop: the event loop.
    """

    def __init__(self, view: LiveView, loop: asyncio.AbstractEventLoop) -> None:
        self.view, self._loop = view, loop
        self._queues: tuple[PacketQueue, ...] = ()  # replaced as a whole
        self._encoder: _Encoder | None = None

    def join(self) -> PacketQueue:
        """The packets for one viewer more."""
        queue = PacketQueue()
        self._queues = (*self._queues, queue)
        if self._encoder is None:
            self._encoder = _Encoder(self.view, self._hand_over)
        self._encoder.wants_keyframe.set()
        return queue

    def leave(self, queue: PacketQueue) -> None:
        """One viewer less; after the last one nothing is encoded."""
        self._queues = tuple(one for one in self._queues if one is not queue)
        if not self._queues and self._encoder is not None:
            self._encoder.stop()
            self._encoder = None

    def _hand_over(self, packets: list[VideoPacket]) -> None:
        """Called by the encoder thread."""
        try:
            self._loop.call_soon_threadsafe(self._distribute, packets)
        except RuntimeError:  # the loop has ended
            return

    def _distribute(self, packets: list[VideoPacket]) -> None:
        for queue in self._queues:
            for packet in packets:
                queue.offer(packet)


class _Encoder:
    """Encodes the newest frames on a thread of its own until it is stopped."""

    def __init__(self, view: LiveView, hand_over: Callable[[list[VideoPacket]], None]) -> None:
        self.wants_keyframe = threading.Event()
        self._view, self._hand_over = view, hand_over
        self._is_stopped = False
        self._has_new = threading.Event()
        self._context: VideoCodecContext | None = None
        self._began = self._keyframe_at = time.monotonic()
        self._pts = -1
        Worker("rtc encoder", self._run).start()

    def stop(self) -> None:
        """End soon."""
        self._is_stopped = True
        self._has_new.set()

    def _run(self) -> None:
        unwatch = self._view.watch(self._has_new.set)
        number = 0
        try:
            while not self._is_stopped:
                frame = self._view.newest
                if frame is not None and frame.number != number:
                    number = frame.number
                    self._hand_over(self._encode(self._view.annotated(frame)))
                self._has_new.wait(LOOK_SECONDS)
                self._has_new.clear()
        except av.FFmpegError as error:
            logger.warning("A camera cannot be shown by WebRTC: %s", error)
        finally:
            unwatch()

    def _encode(self, picture: Image) -> list[VideoPacket]:
        frame = VideoFrame.from_ndarray(_fitting(picture), format="rgb24").reformat(
            format="yuv420p"
        )
        if (
            self._context is None
            or self._context.width != frame.width
            or (self._context.height != frame.height)
        ):
            self._context = _context(frame.width, frame.height)
        now = time.monotonic()
        self._pts = max(self._pts + 1, round((now - self._began) / CLOCK))
        frame.pts, frame.time_base = self._pts, CLOCK
        frame.pict_type = PictureType.NONE
        if self.wants_keyframe.is_set() or now >= self._keyframe_at:
            self.wants_keyframe.clear()
            self._keyframe_at = now + KEYFRAME_SECONDS
            frame.pict_type = PictureType.I
        return self._context.encode(frame)


def _context(width: int, height: int) -> VideoCodecContext:
    """What every browser decodes, with no frame held back."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = width, height
    context.pix_fmt, context.time_base = "yuv420p", CLOCK
    context.bit_rate = max(LEAST_BITS, round(BITS_PER_PIXEL * width * height))
    context.gop_size = 10_000  # keyframes come by the clock
    context.options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "forced-idr": "1",
    }
    return context


def _fitting(picture: Image) -> Image:
    """Not too large, and of even sides, as the colours of two by two pixels are one."""
    height, width = picture.shape[:2]
    scale = min(1.0, LARGEST_WIDTH / width)
    even = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    if even == (width, height):
        return picture
    return np.asarray(cv2.resize(picture, even, interpolation=cv2.INTER_AREA), np.uint8)
