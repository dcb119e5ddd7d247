"""One picture of a video, and the times it passed each stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.planes import YuvPlanes

Image = npt.NDArray[np.uint8]  # (H,W,3) RGB


@dataclass(frozen=True, slots=True)
class SourceTime:
    """When a picture is to be shown by the clock of its own connection, as its packets have it.

    Attributes:
        connection: a number that no other connection of this process has.
        seconds: presentation time.
    """

    connection: int
    seconds: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture with its place in the stream.

    Attributes:
        image: (H,W,3) uint8 RGB, upright (rotation metadata already applied), C-contiguous.
        index: number of the frame in its source, from 0, without gaps.
        source_id: name of the source, free of credentials.
        pts: presentation time in units of ``time_base``; strictly increasing within a source.
        time_base: seconds per unit of ``pts``.
        captured_at: monotonic seconds at which the packet of this frame had arrived.
        wall_time: UTC seconds since 1970 at which the source says it took the picture, None where
            it does not say: then ``arrival_wall_time`` is the best there is.
        gap_seconds: how long the source was away before this frame, 0 if it was not.
        planes: the same picture as the decoder gave it, where that is 8 bits 4:2:0 and upright.
        source_time: where it belongs among the packets of a tap; None where there are none.
    """

    image: Image
    index: int
    source_id: str
    pts: int
    time_base: Fraction
    captured_at: float
    wall_time: float | None = None
    gap_seconds: float = 0.0
    planes: YuvPlanes | None = None
    source_time: SourceTime | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"a frame is (H,W,3) uint8, not {self.image.shape} {self.image.dtype}")

    @property
    def pts_seconds(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)

    @property
    def arrival_wall_time(self) -> float:
        """UTC seconds since 1970 at which the packet of this frame had arrived."""
        return wall_time_of(self.captured_at)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.image.shape[1], self.image.shape[0]

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"Frame({self.source_id!r}, index={self.index}, {width}x{height}, "
            f"pts_seconds={self.pts_seconds:.3f})"
        )


def wall_time_of(monotonic: float) -> float:
    """UTC seconds since 1970 of a moment on the monotonic clock, by the clock as it is set now."""
    return time.time() - time.monotonic() + monotonic


def iso_utc(wall_time: float) -> str:
    """UTC seconds since 1970 as ISO 8601 with milliseconds, ``2026-03-01T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(wall_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class FrameTrace:
    """When one frame entered and left each stage, on the monotonic clock.

    Attributes:
        captured_at: monotonic seconds of the packet's arrival; the zero of every latency.
        began: stage or sink name to the time work on the frame began, in order of passing.
        ended: stage or sink name to the time it ended.
        gpu_ms: milliseconds of the GPU, by step and by its own clock; None on other devices.
    """

    captured_at: float
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    gpu_ms: Mapping[str, float] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the enclosed work as stage ``name``."""
        self.began[name] = time.monotonic()
        yield
        self.ended[name] = time.monotonic()

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of work in each stage that was finished, waiting not included."""
        return {name: (end - self.began[name]) * 1e3 for name, end in self.ended.items()}

    def wait_ms(self) -> dict[str, float]:
        """Milliseconds each stage's frame waited for it since the stage before had finished."""
        waits, done_at = {}, self.captured_at
        for name, began in self.began.items():
            waits[name] = max(0.0, began - done_at) * 1e3
            done_at = self.ended.get(name, began)
        return waits

    def age_ms(self) -> float:
        """Milliseconds from the packet's arrival to the end of the latest finished stage."""
        return (max(self.ended.values(), default=self.captured_at) - self.captured_at) * 1e3
