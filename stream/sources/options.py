"""What a user may set about a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

from stream.errors import UsageError
from stream.sources.tap import PacketTap

AUTO, SOFTWARE = "auto", "software"
DECODERS = (AUTO, SOFTWARE, "nvdec", "vaapi", "videotoolbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Settings of one source; each kind of source uses those that concern it.

    Attributes:
        open_timeout_seconds: how long a source may take until its first frame.
        read_timeout_seconds: how long a live source may be silent.
        rtsp_transport: "tcp" loses no packets, "udp" is for cameras that speak nothing else.
        picture_rate: pictures per second of a folder.
        decode: what decodes files and network streams, one of ``DECODERS``: a device where it opens
            and takes the video, else the processor; ``auto`` is NVDEC where it opens.
        input_options: FFmpeg input options by name, handed on unchanged; they win over ours.
        tap: takes the packets of a file or a network stream, too; None for nobody. ``joined`` makes
            one of several.
    """

    open_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 2.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    picture_rate: Fraction | float = Fraction(1)
    decode: str = AUTO
    input_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tap: PacketTap | None = None

    def __post_init__(self) -> None:
        for name in ("open_timeout_seconds", "read_timeout_seconds", "picture_rate"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value}, but it has to be a number above 0.")
        if self.rtsp_transport not in ("tcp", "udp"):
            raise UsageError(f"rtsp_transport is {self.rtsp_transport!r}, allowed are tcp and udp.")
        if self.decode not in DECODERS:
            raise UsageError(f"decode is {self.decode!r}, allowed are {', '.join(DECODERS)}.")
