"""What every source promises. A new source is done when it passes the contract suite in tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

from stream.frame import Frame
from stream.sources.status import SourceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What is known of a source once it is open.

    Attributes:
        name: shown to the user and written to events; free of credentials.
        is_live: True if frames are lost unless they are read at the pace they come.
        width: px of the first frame, upright.
        height: px of the first frame, upright.
        frame_rate: frames per second, or None when the source does not say.
        time_base: seconds per unit of pts.
        frame_count: how many frames are to come, an estimate, or None when unknown or endless.
    """

    name: str
    is_live: bool
    width: int
    height: int
    frame_rate: Fraction | None
    time_base: Fraction
    frame_count: int | None


class FrameSource(ABC):
    """One video input: a file, a camera, a screen, a folder of pictures.

    ``open``, ``read`` and ``close`` are called by one thread: a decoder that is closed while
    another thread reads it brings the process down. ``interrupt`` may be called from any thread.
    """

    @property
    def corrupt_packets(self) -> int:
        """How many packets since ``open`` were damaged and gave no picture; asked by its thread."""
        return 0

    def watch(self, listener: Callable[[SourceStatus], None]) -> None:
        """Tell ``listener`` of every change of state, on the thread that opens and reads.

        Call it before ``open``. A source that never comes back by itself has nothing to tell.
        """

    @abstractmethod
    def open(self) -> SourceInfo:
        """Open the source and learn its size from the first frame, which ``read`` still returns.

        Raises:
            SourceError: in one sentence without credentials; nothing is left open.
            UsageError: if what was asked for does not exist here at all.
        """

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame, or None at the end of the stream or after ``interrupt``.

        Frames are upright RGB, indices count from 0 without gaps, pts strictly increase; a pts
        that is missing or runs backwards is replaced by the previous one plus a frame's duration.

        Raises:
            SourceError: if the source broke. Frames read so far stay valid.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything. Legal in every state, any number of times."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make the reads to come return None; a read in progress ends by its own deadline."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
