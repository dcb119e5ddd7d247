"""What a pipeline promises, and how it accounts for every frame.

``threaded.py`` runs each stage on a thread of its own, ``serial.py`` all of them on the caller's:
the same stages, the same output.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from stream.bounded_queue import Policy, QueueStatistics
from stream.errors import PipelineError
from stream.frame import FrameTrace
from stream.ledger import Ledger
from stream.metrics import Meter
from stream.sources.base import FrameSource, SourceInfo
from stream.stages import CAPTURE, Job, Stage


class Pipeline(ABC):
    """A source, its stages, and the books.

    Use: ``start``; ``wait`` until it is true; ``finish``. ``stop`` is legal in every state and
    from every thread.

    Args:
        source: opened, read and closed by the pipeline.
        stages: in order; the last one emits.
        policy: of every queue; None lets the source decide, live or not.
        max_frames: end after so many frames from the source.
        meter: collects latency; give one to share it with a HUD.
        ledger: counts frames; give one to share it with a HUD.

    Attributes:
        info: what the source is, None until it is open.
        policy: None until the source is open, unless it was given.
    """

    def __init__(
        self,
        source: FrameSource,
        stages: Sequence[Stage],
        *,
        policy: Policy | None = None,
        max_frames: int | None = None,
        meter: Meter | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.info: SourceInfo | None = None
        self.policy = policy
        self.meter = meter or Meter()
        self.ledger = ledger or Ledger()
        self._source, self._stages = source, list(stages)
        self._max_frames = max_frames
        self._stop_requested = threading.Event()

    @abstractmethod
    def start(self) -> None:
        """Begin; returns at once. The source is opened by the thread that will read it."""

    @abstractmethod
    def stop(self) -> None:
        """Ask for an early, orderly end: frames in flight still reach the sinks if they can."""

    @abstractmethod
    def wait(self, timeout_seconds: float) -> bool:
        """Whether the pipeline has ended, waiting at most so long. Keep calling it."""

    @abstractmethod
    def finish(self) -> None:
        """After the end: raise the first error of any stage, PipelineError if a frame is lost."""

    def queue_statistics(self) -> dict[str, QueueStatistics]:
        """Stage to the queue before it; empty without queues."""
        return {}

    def _open_source(self) -> SourceInfo:
        self.info = self._source.open()
        if self.policy is None:
            self.policy = Policy.DROP_OLDEST if self.info.is_live else Policy.BLOCK
        return self.info

    def _next_job(self) -> Job | None:
        """The next captured frame, None at the end, after a stop or at ``max_frames``."""
        if self._stop_requested.is_set():
            return None
        if self._max_frames is not None and self.ledger.counts().captured >= self._max_frames:
            return None
        frame = self._source.read()
        if frame is None:
            return None
        self.ledger.captured()
        self.meter.captured(frame.captured_at)
        trace = FrameTrace(frame.captured_at)
        trace.began[CAPTURE], trace.ended[CAPTURE] = frame.captured_at, time.monotonic()
        return Job(frame, trace)

    def _process(self, stage: Stage, job: Job) -> None:
        """Run one stage; the last one completes the frame's account."""
        try:
            with job.trace.stage(stage.name):
                stage.process(job)
        except BaseException:
            self.ledger.failed()
            raise
        if stage is self._stages[-1]:
            self.ledger.emitted()
            self.meter.emitted(job.trace, len(job.detections or ()))

    def _check_ledger(self) -> None:
        counts = self.ledger.counts()
        if counts.in_flight != 0:
            raise PipelineError(
                f"{counts.in_flight} of {counts.captured} frames are unaccounted for: please "
                "report this as a bug."
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        while not self.wait(1.0):
            continue
