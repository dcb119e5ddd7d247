"""Video that is drawn, not read: frame ``k`` is a function of ``k``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction

from stream.errors import SourceError
from stream.frame import Frame, Image
from stream.sources.base import FrameSource, SourceInfo

Draw = Callable[[int], Image]


class Drawn(FrameSource):
    """Drawn video as a source.

    As a file it has ``frame_count`` frames. Live it never ends and keeps to the clock: a reader
    that is slow misses pictures, as with a camera.

    Args:
        name: shown to the user.
        begin: called when the source is opened; gives what draws frame ``k`` as (H,W,3) uint8 RGB,
            newly allocated.
        size: (width, height) px.
        frame_rate: frames per second.
        frame_count: of the file.
        is_live: whether it is live.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[], Draw],
        *,
        size: tuple[int, int],
        frame_rate: int,
        frame_count: int,
        is_live: bool,
    ) -> None:
        self._name, self._begin, self._size = name, begin, size
        self._frame_rate, self._frame_count = frame_rate, frame_count
        self._is_live = is_live
        self._draw: Draw | None = None
        self._interrupted = threading.Event()
        self._index = 0
        self._next_pts = 0
        self._began_at = 0.0

    def open(self) -> SourceInfo:
        self._draw = self._begin()
        self._index = self._next_pts = 0
        self._began_at = time.monotonic()
        return SourceInfo(
            name=self._name,
            is_live=self._is_live,
            width=self._size[0],
            height=self._size[1],
            frame_rate=Fraction(self._frame_rate),
            time_base=Fraction(1, self._frame_rate),
            frame_count=None if self._is_live else self._frame_count,
        )

    def read(self) -> Frame | None:
        if self._draw is None:
            raise SourceError(f"{self._name} is read but not open.")
        captured_at = self._wait_for_next_picture() if self._is_live else time.monotonic()
        at_end = not self._is_live and self._index == self._frame_count
        if self._interrupted.is_set() or at_end:
            return None
        frame = Frame(
            image=self._draw(self._next_pts),
            index=self._index,
            source_id=self._name,
            pts=self._next_pts,
            time_base=Fraction(1, self._frame_rate),
            captured_at=captured_at,
        )
        self._index += 1
        self._next_pts += 1
        return frame

    def close(self) -> None:
        self._draw = None

    def interrupt(self) -> None:
        self._interrupted.set()

    def _wait_for_next_picture(self) -> float:
        """Sets the next pts to the newest picture, waiting if it is not due; returns its time."""
        elapsed_seconds = time.monotonic() - self._began_at
        self._next_pts = max(self._next_pts, int(elapsed_seconds * self._frame_rate))
        due_at = self._began_at + self._next_pts / self._frame_rate
        self._interrupted.wait(max(0.0, due_at - time.monotonic()))
        return due_at
