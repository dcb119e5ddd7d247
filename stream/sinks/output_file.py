"""A file of packets that a kill or a full disk leaves playable."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Stream

from stream.sinks.sound_form import SoundForm

logger = logging.getLogger(__name__)

_BOTH = {"max_interleave_delta": "1000000"}  # microseconds that a picture waits for late sound
# hybrid_fragmented: fragments while it is written, so that a kill or a full disk leaves a playable
# file; a plain MP4 once it is closed. use_editlist keeps a start time other than zero, and
# delay_moov gives the edit list the right length in a file that was never closed. Until its first
# fragment is there a file does not open: mostly the first keyframe alone is as large as one.
_MP4 = {
    "movflags": "+hybrid_fragmented+delay_moov",
    "use_editlist": "1",
    "frag_duration": "100000",  # microseconds
    "frag_size": "16000",  # bytes
    "flush_packets": "1",
    **_BOTH,
}
_MATROSKA = {
    "cluster_time_limit": "100",  # milliseconds
    "cluster_size_limit": "16000",  # bytes
    "flush_packets": "1",
    "avoid_negative_ts": "disabled",  # sound that begins before zero shall not move the pictures
    **_BOTH,
}
CONTAINER_OPTIONS = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MP4, ".mkv": _MATROSKA}

SOUND_PATIENCE_SECONDS = 2.0


class OutputFile:
    """See the module.

    An MP4 cannot be begun before there is something of every stream in it, and a source may say
    that it has sound and never send any. So pictures are held back until the first sound is there,
    or until their patience ends: then an MP4 goes on without.

    Args:
        path: ends in one of ``CONTAINER_OPTIONS``; overwritten.
        sound: None for none.
        patience_seconds: of pictures.

    Attributes:
        container: to which one stream of pictures is to be added, before the first packet.

    Raises:
        OSError: if it cannot be made; PyAV's errors are some of these.
    """

    def __init__(
        self,
        path: Path,
        sound: SoundForm | None,
        patience_seconds: float = SOUND_PATIENCE_SECONDS,
    ) -> None:
        self._path, self._form, self._patience_seconds = path, sound, patience_seconds
        suffix = path.suffix.lower()
        self._holds_no_sound_too = suffix == ".mkv"
        self.container = av.open(
            str(path),
            "w",
            format="mp4" if suffix == ".m4v" else None,  # FFmpeg would make it for an iPod
            options=CONTAINER_OPTIONS[suffix],
        )
        self._sound: Stream | None = None
        # until it is known whether there is sound
        self._waiting: list[Packet[Stream]] | None = None if sound is None else []

    def mux_picture(self, packet: Packet[Stream]) -> None:
        """Add a packet of the stream of pictures, whose dts is not None."""
        if self._waiting is None:
            self.container.mux_one(packet)
            return
        self._waiting.append(packet)
        if _decoded(packet) - _decoded(self._waiting[0]) >= self._patience_seconds:
            self._begin(has_sound=False)

    def mux_sound(self, packet: Packet[Stream]) -> None:
        """Add a packet of sound, unless it comes too late for this file to have any."""
        if self._waiting is not None:
            self._begin(has_sound=True)
        if self._sound is not None:
            packet.stream = self._sound
            self.container.mux_one(packet)

    def close(self) -> None:
        """Finish it.

        Raises:
            OSError: if the disk is full, or worse; what was written stays playable.
        """
        try:
            if self._waiting is not None:
                self._begin(has_sound=False)
        finally:
            self.container.close()

    def _begin(self, *, has_sound: bool) -> None:
        """Write what waits, now that it is known whether there is sound."""
        assert self._form is not None
        if has_sound or self._holds_no_sound_too:
            self._sound = self._form.add_to(self.container)
        else:
            logger.warning("%s has no sound: none came with its first pictures.", self._path)
        waiting, self._waiting = self._waiting or [], None
        self.container.mux(waiting)


def _decoded(packet: Packet[Stream]) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base
