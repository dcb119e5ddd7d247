"""One picture of a video, and the times it passed each stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # (H,W,3) RGB


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
    """

    image: Image
    index: int
    source_id: str
    pts: int
    time_base: Fraction
    captured_at: float

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"a frame is (H,W,3) uint8, not {self.image.shape} {self.image.dtype}")

    @property
    def pts_seconds(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)

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


@dataclass(slots=True)
class FrameTrace:
    """When one frame entered and left each stage, on the monotonic clock.

    Attributes:
        captured_at: monotonic seconds of the packet's arrival; the zero of every latency.
        began: stage or sink name to the time work on the frame began, in order of passing.
        ended: stage or sink name to the time it ended.
    """

    captured_at: float
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

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
