"""A picture's way through H.264 over a line that damages packets."""

from __future__ import annotations

import random
from fractions import Fraction

import av
import numpy as np
from av.packet import Packet

from stream.frame import Image

_KEYFRAME_EVERY = 25  # frames
_HEADER_BYTES = 8  # left whole, as damage to them would only lose the packet
_BYTES_PER_HIT = 200
_ENCODER_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18"}


class DamagedLink:
    """Encodes, damages and decodes, and does as a live source does with what comes out.

    What the decoder rejects or flags is lost, with all that builds on it, until the next
    keyframe; damage that it does not notice shows in the picture, as it would from a camera.

    Args:
        probability: that a packet is damaged.
        chance: decides which and where.

    Attributes:
        lost: pictures that did not arrive.
    """

    def __init__(self, probability: float, chance: random.Random) -> None:
        self._probability, self._chance = probability, chance
        self._size = (0, 0)  # width, height px
        self._count = 0
        self._awaits_keyframe = False
        self.lost = 0

    def send(self, image: Image) -> Image | None:
        """What arrives of an (H,W,3) uint8 RGB picture: as large, or None."""
        if (size := (image.shape[1], image.shape[0])) != self._size:
            self._connect(size)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv444p")
        frame.pts, self._count = self._count, self._count + 1
        for packet in self._encoder.encode(frame):
            if (arrived := self._receive(packet)) is not None:
                return arrived
        self.lost += 1
        return None

    def _connect(self, size: tuple[int, int]) -> None:
        self._size, self._count = size, 0
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = size
        encoder.pix_fmt, encoder.time_base = "yuv444p", Fraction(1, 25)
        encoder.gop_size, encoder.thread_count = _KEYFRAME_EVERY, 1
        encoder.options = _ENCODER_OPTIONS
        self._encoder = encoder
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._awaits_keyframe = False

    def _receive(self, packet: Packet) -> Image | None:  # type: ignore[type-arg]
        self._awaits_keyframe &= not packet.is_keyframe
        if self._awaits_keyframe:
            return None
        if self._chance.random() < self._probability:
            packet = self._damaged(packet)
        try:
            (picture,) = self._decoder.decode(packet) or (None,)
        except av.FFmpegError:
            picture = None
        if picture is None or picture.is_corrupt:
            self._awaits_keyframe = True
            self._decoder.flush_buffers()
            return None
        return np.ascontiguousarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)

    def _damaged(self, packet: Packet) -> Packet:  # type: ignore[type-arg]
        content = bytearray(bytes(packet))
        for _ in range(1 + len(content) // _BYTES_PER_HIT):
            where = self._chance.randrange(min(_HEADER_BYTES, len(content) - 1), len(content))
            content[where] ^= self._chance.randrange(1, 256)
        return Packet(bytes(content))
