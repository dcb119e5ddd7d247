"""Where video is decoded: by the processor, or by a device made for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import cast

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.codeccontext import VideoCodecContext

from stream.sources.options import AUTO, SOFTWARE

_TYPICAL_CODEC = "h264"  # what a device is tried with: all of them know it


@dataclass(frozen=True, slots=True)
class Device:
    """What decodes video.

    Attributes:
        ffmpeg: FFmpeg's name of it.
        title: for sentences.
        needs: what has to be there, for sentences.
    """

    ffmpeg: str
    title: str
    needs: str


DEVICES = {
    "nvdec": Device("cuda", "NVDEC", "an NVIDIA GPU and its driver"),
    "vaapi": Device("vaapi", "VAAPI", "a GPU of Intel or AMD and its driver"),
    "videotoolbox": Device("videotoolbox", "VideoToolbox", "macOS"),
}
_BEST = "nvdec"  # what auto tries


@cache
def opens(name: str) -> bool:
    """Whether one of ``DEVICES`` works here, which shows once it is opened."""
    device = DEVICES[name].ffmpeg
    if device not in hwdevices_available():
        return False
    try:
        codec = av.CodecContext.create(_TYPICAL_CODEC, "r", hwaccel=HWAccel(device))
    except (av.FFmpegError, RuntimeError):
        return False
    return cast("VideoCodecContext", codec).is_hwaccel


def pick(asked: str) -> Device | None:
    """What decodes, None for the processor: it does when the device asked for does not open.

    Args:
        asked: one of ``options.DECODERS``.
    """
    name = _BEST if asked == AUTO else asked
    return DEVICES[name] if name != SOFTWARE and opens(name) else None


def refusal(asked: str) -> str | None:
    """A sentence if a device was asked for by name that does not open, else None."""
    if asked in (AUTO, SOFTWARE) or opens(asked):
        return None
    device = DEVICES[asked]
    if device.ffmpeg not in hwdevices_available():
        why = f"this FFmpeg was built without {device.title}"
    else:
        why = f"{device.title} cannot be opened here, which takes {device.needs}"
    return f"Video is decoded in software: {why}."


def accelerator(device: Device | None) -> HWAccel | None:
    """For ``av.open``. What the device does not take is decoded by the processor."""
    return None if device is None else HWAccel(device.ffmpeg, allow_software_fallback=True)


def is_used(device: Device, codec: VideoCodecContext) -> bool:
    """Whether a device decodes a stream of which a picture has been seen."""
    return codec.is_hwaccel and (codec.pix_fmt or "").startswith(device.ffmpeg)
