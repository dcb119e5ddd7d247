"""Small sources, models, stages and sinks that tests put together into pipelines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from models.detections import Detections
from models.letterbox import Letterbox
from models.runtimes.base import Canvas, Runtime
from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sources.base import FrameSource, SourceInfo
from stream.stages import Job, Stage

# Runs ``rcnn-live`` with arguments; gives exit code, standard output and standard error
Run = Callable[..., tuple[int, str, str]]

CLASS_NAMES = ("__background__", "person")
TIME_BASE = Fraction(1, 1000)


class NumberedSource(FrameSource):
    """Frame k is 64x48 px, all of value k % 256, at k * 40 ms.

    Args:
        count: frames until the end, None for endless.
        is_live: as reported.
        period_seconds: time between frames; 0 for as fast as it is read.
        fails_at: raise this error in place of frame ``fails_at[0]``.
        hangs_at: from this frame on ``read`` blocks until ``release`` is set, deaf to interrupt.
    """

    def __init__(
        self,
        count: int | None = 20,
        *,
        is_live: bool = False,
        period_seconds: float = 0.0,
        fails_at: tuple[int, Exception] | None = None,
        hangs_at: int | None = None,
    ) -> None:
        self.count, self.is_live, self.period_seconds = count, is_live, period_seconds
        self.fails_at, self.hangs_at = fails_at, hangs_at
        self.release = threading.Event()
        self.index = 0
        self.calls: list[tuple[str, str]] = []  # (method, thread name)
        self._interrupted = threading.Event()

    def _note(self, method: str) -> None:
        self.calls.append((method, threading.current_thread().name))

    def open(self) -> SourceInfo:
        self._note("open")
        self._began = time.monotonic()
        return SourceInfo(
            name="numbers",
            is_live=self.is_live,
            width=64,
            height=48,
            frame_rate=Fraction(25),
            time_base=TIME_BASE,
            frame_count=self.count,
        )

    def read(self) -> Frame | None:
        self._note("read")
        if self.index == self.hangs_at:
            self.release.wait(30)
        if self._interrupted.is_set() or self.index == self.count:
            return None
        if self.fails_at is not None and self.index == self.fails_at[0]:
            raise self.fails_at[1]
        due = self._began + self.index * self.period_seconds
        self._interrupted.wait(max(0.0, due - time.monotonic()))
        frame = Frame(
            np.full((48, 64, 3), self.index % 256, np.uint8),
            self.index,
            "numbers",
            self.index * 40,
            TIME_BASE,
            time.monotonic(),
        )
        self.index += 1
        return frame

    def close(self) -> None:
        self._note("close")

    def interrupt(self) -> None:
        self._interrupted.set()


class OneBoxRuntime(Runtime):
    """Finds one person, whose score tells the frame's value; takes ``seconds`` a frame."""

    name, device, precision = "test", "cpu", "fp32"
    model_name, class_names = "one_box", CLASS_NAMES

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.closed = False

    def preprocess(self, image: np.ndarray) -> Canvas:
        size = image.shape[1], image.shape[0]
        return Canvas(image, Letterbox(size, size))

    def infer(self, canvas: Canvas) -> Detections:
        time.sleep(self.seconds)
        return Detections(
            boxes=np.array([[8, 8, 40, 40]], np.float32),
            labels=np.ones(1, np.int64),
            scores=np.array([canvas.pixels[0, 0, 0] / 255], np.float32),
            class_names=CLASS_NAMES,
            masks=np.ones((1, 28, 28), np.float32),
        )

    def close(self) -> None:
        self.closed = True


class Collector(Sink):
    """Keeps the index of every frame it gets."""

    name = "collect"

    def __init__(self, seconds: float = 0.0, fails_at: int | None = None) -> None:
        self.indices: list[int] = []
        self.ages_ms: list[float] = []
        self.seconds, self.fails_at = seconds, fails_at
        self.opened = self.closed = 0

    def open(self, info: SourceInfo) -> None:
        self.opened += 1

    def write(self, job: Job) -> None:
        if len(self.indices) == self.fails_at:
            raise OSError("sink failed")
        time.sleep(self.seconds)
        self.indices.append(job.frame.index)
        self.ages_ms.append((time.monotonic() - job.frame.captured_at) * 1e3)

    def close(self) -> None:
        self.closed += 1


class FailingStage(Stage):
    """Raises in ``open``, in ``process`` of one frame, or in ``close``."""

    def __init__(self, name: str, where: str, at: int = 3) -> None:
        self.name, self.where, self.at = name, where, at
        self.closed = 0

    def open(self, info: SourceInfo) -> None:
        if self.where == "open":
            raise RuntimeError(f"{self.name} failed in open")

    def process(self, job: Job) -> None:
        if self.where == "process" and job.frame.index == self.at:
            raise RuntimeError(f"{self.name} failed in process")

    def close(self) -> None:
        self.closed += 1
        if self.where == "close":
            raise RuntimeError(f"{self.name} failed in close")
