"""A source's packets in a file of their own, as they are: nothing is encoded anew."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Stream

from stream.sinks.output_file import SOUND_PATIENCE_SECONDS, OutputFile
from stream.sinks.sound_form import SoundForm, lateness

logger = logging.getLogger(__name__)

CLIP_SUFFIXES = (".mp4", ".mov", ".mkv")
_FORMATS = dict(zip(CLIP_SUFFIXES, ("mp4", "mov", "matroska"), strict=True))
Numbered = tuple[int, int, "Packet[Stream]"]  # in order of coming; its stream; it


class KeptStreams:
    """Streams that a file can be made of after their source was closed.

    Args:
        streams: of an open source, the video first.

    Attributes:
        streams: of nothing, but with all that a file has to know of them.
        indices: number that each has in the source.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._holder = av.open(io.BytesIO(), "w", format="null")  # nothing is ever written there
        self.indices = [stream.index for stream in streams]
        add = self._holder.add_stream_from_template
        self.streams: list[Stream] = [add(stream) for stream in streams]


class PacketFile:
    """One file of packets.

    Args:
        path: as of ``OutputFile``.
        streams: the video first; sound that this kind of file cannot hold is left out, and told of.
        indices: number that each has in the source; by default its own.

    Raises:
        ValueError: if this kind of file cannot hold the video.
        OSError: if it cannot be made; PyAV's errors are some of these.
    """

    def __init__(
        self, path: Path, streams: Sequence[Stream], indices: Sequence[int] | None = None
    ) -> None:
        numbers = [stream.index for stream in streams] if indices is None else indices
        self._video_index, self._last_dts = numbers[0], dict[int, int]()
        self._form = _copied_form(path, streams[1]) if len(streams) > 1 else None
        patience = SOUND_PATIENCE_SECONDS + float(lateness(*streams[:2]))
        self._file = OutputFile(path, self._form, patience)
        self._indices = numbers[: 1 if self._form is None else 2]
        try:
            self._video = self._file.container.add_stream_from_template(streams[0])
        except ValueError:
            self._file.container.close()
            raise

    def write(
        self, index: int, packet: Packet[Stream], origin_seconds: Fraction, *, is_live: bool
    ) -> None:
        """Add a packet, unless no file can hold it there.

        Args:
            index: of its stream in the source.
            packet: with both times; it is the file's from then on.
            origin_seconds: in the source's time, of the file's beginning.
            is_live: whether what comes before the beginning is left out.

        Raises:
            OSError: if the disk is full, or worse.
        """
        if index not in self._indices:
            return
        is_video = index == self._video_index
        if self._form is not None and not is_video:
            packet = self._form.bare(packet)
        assert packet.dts is not None
        assert packet.pts is not None
        origin = round(origin_seconds / packet.time_base)
        packet.dts, packet.pts = packet.dts - origin, packet.pts - origin
        is_early = is_live and packet.dts < 0  # sound of before the first picture
        if is_early or packet.dts <= self._last_dts.get(index, packet.dts - 1):
            return  # time has gone back, which no file can hold
        self._last_dts[index] = packet.dts
        if is_video:
            packet.stream = self._video
            self._file.mux_picture(packet)
        else:
            self._file.mux_sound(packet)

    def close(self) -> None:
        """Finish it.

        Raises:
            OSError: if the disk is full, or worse; what was written stays playable.
        """
        self._file.close()


def _copied_form(path: Path, stream: Stream) -> SoundForm | None:
    """The sound as it is; None, and told, if the file cannot hold it."""
    with contextlib.suppress(ValueError, av.FFmpegError):
        form = SoundForm(stream, path.suffix.lower())
        if form.is_copied:
            return form
    text = "%s has no sound: %s files cannot hold %s as it is."
    logger.warning(text, path, path.suffix, stream.name)
    return None


def suffix_for(streams: Sequence[Stream]) -> str:
    """The kind of file that holds all of them, or else the video; MP4 if it can.

    MOV holds the G.711 of cameras, Matroska the rarest video.
    """
    held: dict[str, set[str]] = {}
    for suffix, name in _FORMATS.items():
        with av.open(io.BytesIO(), "w", format=name) as container:
            held[suffix] = container.supported_codecs
        if all(stream.name in held[suffix] for stream in streams):
            return suffix
    return next((suffix for suffix in held if streams[0].name in held[suffix]), ".mkv")


def dated(numbered: Iterable[Numbered]) -> Iterator[Numbered]:
    """With the decoding times that Matroska leaves out for the first packets of reordered video."""
    held: dict[int, list[Numbered]] = {}
    for one in numbered:
        if one[2].dts is None:
            held.setdefault(one[1], []).append(one)
            continue
        yield from _date(held.pop(one[1], []), one[2].dts)
        yield one
    for undated in held.values():
        yield from _date(undated, None)


def _date(undated: Sequence[Numbered], next_dts: int | None) -> Sequence[Numbered]:
    """The latest times, a tick apart, before the next one's and before every picture is shown."""
    known = [] if next_dts is None else [next_dts]
    latest = min([*known, *(one[2].pts or 0 for one in undated)], default=0)
    for place, one in enumerate(undated):
        one[2].dts = latest - len(undated) + place
    return undated


def copy_of(packet: Packet[Stream]) -> Packet[Stream]:
    """A packet of its own, without its stream."""
    return packet_of(
        bytes(packet),
        pts=packet.pts,
        dts=packet.dts,
        duration=packet.duration,
        time_base=packet.time_base,
        is_keyframe=packet.is_keyframe,
    )


def packet_of(
    data: bytes,
    *,
    pts: int | None,
    dts: int | None,
    duration: int | None,
    time_base: Fraction,
    is_keyframe: bool,
) -> Packet[Stream]:
    """A packet of its own, with these times in units of ``time_base``."""
    packet = av.Packet(data)
    packet.pts, packet.dts, packet.duration = pts, dts, duration
    packet.time_base, packet.is_keyframe = time_base, is_keyframe
    return packet
