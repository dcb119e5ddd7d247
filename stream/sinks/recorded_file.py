"""One file of a recording: pictures that are encoded here, and sound that came encoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from stream.frame import Image
from stream.sinks.encoders import open_encoder
from stream.sinks.output_file import SOUND_PATIENCE_SECONDS, OutputFile
from stream.sinks.sound import PlacedSound
from stream.sinks.sound_form import SoundForm

KEYFRAME_SECONDS = 1  # for seeking


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """How pictures are encoded.

    Attributes:
        encoder: FFmpeg's name.
        options: of the encoder.
        size: (width, height) px, both even.
        rate: frames per second, about.
        time_base: seconds per unit of pts.
    """

    encoder: str
    options: dict[str, str]
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction


class RecordedFile:
    """See the module.

    Args:
        path: as of ``OutputFile``.
        pictures: how they are encoded.
        origin: pts of the frames at which the file's time is zero.
        begins_at: seconds, in the time of the frames; sound of before is left out. None for none.
        sound: None for none.
        sound_patience_seconds: as of ``OutputFile``.

    Attributes:
        path: of the file.
        begins_at: as given.
        byte_count: of all packets so far.

    Raises:
        OSError: if it cannot be made; PyAV's errors are some of these.
    """

    def __init__(
        self,
        path: Path,
        pictures: PictureForm,
        *,
        origin: int,
        begins_at: Fraction | None,
        sound: SoundForm | None,
        sound_patience_seconds: float = SOUND_PATIENCE_SECONDS,
    ) -> None:
        self.path, self.begins_at, self.byte_count = path, begins_at, 0
        self._origin, self._sound_form = origin, sound
        self._origin_seconds = origin * pictures.time_base
        self._file = OutputFile(path, sound, sound_patience_seconds)
        self._video = self._add_video(pictures)
        self._last_sound_pts: int | None = None

    def _add_video(self, form: PictureForm) -> VideoStream:
        stream = cast("VideoStream", self._file.container.add_stream(form.encoder, rate=form.rate))
        stream.width, stream.height = form.size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = form.time_base
        if form.encoder == "libx265" and self.path.suffix.lower() != ".mkv":
            stream.codec_context.codec_tag = "hvc1"  # or Apple's players refuse it
        stream.options = {**form.options, "g": str(max(1, round(form.rate * KEYFRAME_SECONDS)))}
        open_encoder(stream.codec_context)
        return stream

    def holds(self, sound: SoundForm | None) -> bool:
        """Whether such sound, or none, can go on in this file."""
        if sound is None:
            return True
        return self._sound_form is not None and self._sound_form.fits(sound)

    def write_picture(self, image: Image, pts: int, time_base: Fraction) -> int:
        """Encode one.

        Args:
            image: (H,W,3) uint8 RGB of the file's size.
            pts: of the frame, in units of ``time_base``.
            time_base: of the frame.

        Returns:
            its pts in the file.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = pts - self._origin, time_base
        self._mux_pictures(self._video.encode(frame))
        return frame.pts

    def write_sound(self, placed: PlacedSound) -> None:
        """Add a packet, unless it is none of this file's."""
        packet = placed.packet
        assert packet.pts is not None
        if self._sound_form is None or not self.holds(placed.form):
            return
        if self.begins_at is not None and placed.seconds < self.begins_at:
            return
        packet.pts += round((placed.shift - self._origin_seconds) / packet.time_base)
        packet.dts = packet.pts
        if self._last_sound_pts is not None and packet.pts <= self._last_sound_pts:
            return  # time has gone back, which no file can hold
        self._last_sound_pts = packet.pts
        self.byte_count += packet.size
        self._file.mux_sound(packet)

    def end_pictures(self) -> None:
        """No more of them will come; sound may."""
        self._mux_pictures(self._video.encode(None))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _mux_pictures(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            self.byte_count += packet.size
            self._file.mux_picture(cast("Packet[Stream]", packet))
