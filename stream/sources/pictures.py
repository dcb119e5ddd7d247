"""Pictures as frames: a folder, a glob or a single one."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from stream.errors import SourceError
from stream.frame import Frame, Image
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.options import SourceOptions

logger = logging.getLogger(__name__)

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"),
)


def in_natural_order(paths: Sequence[Path]) -> list[Path]:
    """Alphabetical, but with numbers by their value: 2.png comes before 10.png."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.findall(r"\d+|\D+", str(path).casefold())
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]

    return sorted(paths, key=key)


class Pictures(FrameSource):
    """Shows pictures one after the other, turned upright by their EXIF orientation.

    A picture that cannot be read is skipped with a warning and takes no time.
    """

    def __init__(self, name: str, paths: Sequence[Path], *, options: SourceOptions) -> None:
        """``paths`` are shown in this order."""
        self._name = name
        self._paths = tuple(paths)
        self._frame_rate = Fraction(options.picture_rate).limit_denominator(1_000_000)
        self._interrupted = threading.Event()
        self._frames: Iterator[Frame] | None = None
        self._first_frame: Frame | None = None

    def open(self) -> SourceInfo:
        self.close()
        frames = self._read_all()
        self._first_frame = next(frames, None)
        if self._first_frame is None:
            raise SourceError(f"{self._name} holds no picture that can be read.")
        self._frames = frames
        width, height = self._first_frame.size
        return SourceInfo(
            name=self._name,
            is_live=False,
            width=width,
            height=height,
            frame_rate=self._frame_rate,
            time_base=1 / self._frame_rate,
            frame_count=len(self._paths),
        )

    def read(self) -> Frame | None:
        if self._frames is None:
            raise SourceError(f"{self._name} is read but not open.")
        if self._interrupted.is_set():
            return None
        frame, self._first_frame = self._first_frame, None
        return frame or next(self._frames, None)

    def close(self) -> None:
        self._frames = None
        self._first_frame = None

    def interrupt(self) -> None:
        self._interrupted.set()

    def _read_all(self) -> Iterator[Frame]:
        index = 0
        for path in self._paths:
            image = _read_picture(path)
            if image is None:
                logger.warning("%s is skipped: it is not a picture that can be read.", path)
                continue
            yield Frame(
                image=image,
                index=index,
                source_id=self._name,
                pts=index,
                time_base=1 / self._frame_rate,
                captured_at=time.monotonic(),
            )
            index += 1


def _read_picture(path: Path) -> Image | None:
    """(H,W,3) uint8 RGB, or None if the file is not a picture."""
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # for example more pixels than OpenCV accepts
        return None
    return None if image is None else np.ascontiguousarray(image, dtype=np.uint8)
