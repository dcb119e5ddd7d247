"""What a file has to know of a sound, and the sound in a form that the file can hold."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

_FORMATS = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".m4v": "mp4"}
_ENCODER = "aac"  # which all of them hold, for what some of them do not
_ADTS_RATES = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000
)  # fmt: skip
_ENCODER_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)  # Hz


class SoundForm:
    """One kind of sound, as it goes into one kind of file.

    Args:
        stream: of an open source.
        suffix: of the file.

    Attributes:
        codec: name of the source's.
        is_copied: whether the packets go into the file as they are; else they are encoded anew.

    Raises:
        ValueError: if neither can be done; so are PyAV's errors.
    """

    def __init__(self, stream: Stream, suffix: str) -> None:
        source = cast("AudioCodecContext", stream.codec_context)
        self.codec = source.name
        # A file of nothing, which lives on when the source is closed.
        self._holder = _empty_file(suffix)
        self._is_adts = self.codec == "aac" and not source.extradata
        try:
            self._template: Stream = self._holder.add_stream_from_template(stream)
            if self._is_adts:
                self._template.codec_context.extradata = _adts_config(source)
            self._holder.start_encoding()  # only now it says all that it cannot hold
            self.is_copied = True
        except (ValueError, av.FFmpegError):
            self._holder = _empty_file(suffix)
            self._template = _encoder(self._holder, source)
            self.is_copied = False
        layout = source.layout.name
        self._identity = (self.codec, source.sample_rate, layout, source.extradata)

    def fits(self, other: SoundForm) -> bool:
        """Whether the sound of one can go on in a file of the other."""
        return self._identity == other._identity

    def add_to(self, container: OutputContainer) -> Stream:
        """A stream for it in a file that was not begun yet."""
        return container.add_stream_from_template(self._template)

    def converter(self) -> Converter:
        """What makes a file's packets of the source's."""
        return Converter(self, None if self.is_copied else cast("AudioStream", self._template))

    def bare(self, packet: Packet[Stream]) -> Packet[Stream]:
        """A copy as it goes into a file, for a form that is copied; ADTS headers do not."""
        copy = av.Packet(bytes(packet)[_adts_header_size(packet) if self._is_adts else 0 :])
        copy.pts = copy.dts = packet.pts
        copy.duration, copy.time_base, copy.is_keyframe = packet.duration, packet.time_base, True
        return copy


class Converter:
    """Makes packets for a file of those of one connection, with the source's times.

    Args:
        form: of the sound.
        encoder: None to copy.
    """

    def __init__(self, form: SoundForm, encoder: AudioStream | None) -> None:
        self._form, self._encoder = form, encoder
        if encoder is not None:
            context = encoder.codec_context
            self._resampler = AudioResampler(
                context.format, context.layout, context.sample_rate, context.frame_size or None
            )

    def convert(self, packet: Packet[Stream] | None) -> Iterator[Packet[Stream]]:
        """What is to be written for a packet, which has a pts and is only lent.

        Args:
            packet: None at the end, for what the encoder still holds.

        Raises:
            FFmpegError: if it is damaged.
        """
        if self._encoder is None:
            if packet is not None:
                yield self._form.bare(packet)
        elif packet is None:
            yield from self._encoded([*self._resampler.resample(None), None])
        else:
            for frame in cast("Packet[AudioStream]", packet).decode():
                yield from self._encoded(self._resampler.resample(frame))

    def _encoded(self, frames: Sequence[av.AudioFrame | None]) -> Iterator[Packet[Stream]]:
        assert self._encoder is not None
        for frame in frames:
            yield from cast("list[Packet[Stream]]", self._encoder.codec_context.encode(frame))


def _empty_file(suffix: str) -> OutputContainer:
    return av.open(io.BytesIO(), "w", format=_FORMATS[suffix])


def _encoder(holder: OutputContainer, source: AudioCodecContext) -> AudioStream:
    """A stream of AAC that sounds the same.

    Raises:
        ValueError: if the source's sound cannot be decoded.
    """
    if not source.sample_rate:
        raise ValueError(f"{source.name} has no sample rate")
    rate = min((one for one in _ENCODER_RATES if one >= source.sample_rate), default=48_000)
    stream = cast("AudioStream", holder.add_stream(_ENCODER, rate=rate))
    stream.layout = "mono" if source.layout.nb_channels == 1 else "stereo"
    stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
    holder.start_encoding()  # only now it says what a decoder has to know
    return stream


def _adts_config(source: AudioCodecContext) -> bytes:
    """What a file says of AAC that came with ADTS headers, as transport streams have it.

    Raises:
        ValueError: if it is not the plain AAC of which all is known.
    """
    if source.profile != "LC" or source.sample_rate not in _ADTS_RATES:
        raise ValueError(f"AAC {source.profile} with ADTS headers")
    rate_index = _ADTS_RATES.index(source.sample_rate)
    return (2 << 11 | rate_index << 7 | source.layout.nb_channels << 3).to_bytes(2, "big")


def _adts_header_size(packet: Packet[Stream]) -> int:
    """Bytes; 0 if there is none."""
    data = bytes(packet)[:2]
    if len(data) < 2 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return 0
    return 7 if data[1] & 1 else 9  # which has a checksum


def lateness(video: Stream, sound: Stream | None = None) -> Fraction:
    """Seconds from the beginning of a file's picture to that of its sound, as the file says."""
    starts = [
        None
        if one is None or one.start_time is None or one.time_base is None
        else one.start_time * one.time_base
        for one in (video, sound)
    ]
    if starts[0] is None or starts[1] is None:
        return Fraction(0)
    return max(Fraction(0), starts[1] - starts[0])
