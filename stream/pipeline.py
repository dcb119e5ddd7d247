"""What a pipeline promises, and how it accounts for every frame.

``threaded.py`` runs each stage on a thread of its own, ``serial.py`` all of them on the caller's:
the same stages, the same output.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from stream.age_limit import AgeLimit
from stream.bounded_queue import Policy, QueueStatistics
from stream.errors import PipelineError, SourceError
from stream.frame import FrameTrace
from stream.ledger import Ledger
from stream.metrics import Meter
from stream.observer import Observer
from stream.sinks.base import Sink
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.status import SourceState, SourceStatus
from stream.stages import CAPTURE, Emit, Infer, Job, Stage, Track
from stream.zone_counts import Counts


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
        max_age_ms: give up frames, as ``too_old``, that would be older than this when they reach
            the last stage; None for no limit.
        observers: told of the source's state and of frames given up.

    Attributes:
        info: what the source is, None until it is open.
        policy: None until the source is open, unless it was given.
        status: how the source fares; replaced as a whole, so that any thread may read it.
        corrupt_packets: how many packets of the source were damaged and gave no picture.
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
        max_age_ms: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.info: SourceInfo | None = None
        self.policy = policy
        self.meter = meter or Meter()
        self.ledger = ledger or Ledger()
        self._source, self._stages = source, list(stages)
        self._max_frames = max_frames
        self._age_limit = (
            None
            if max_age_ms is None
            else AgeLimit(max_age_ms / 1e3, [stage.name for stage in stages], Infer.name)
        )
        self._observers = list(observers)
        self._untold_gaps: deque[tuple[int, float]] = deque()  # index, seconds: of dropped frames
        self.status = SourceStatus(state=SourceState.CONNECTING)
        self.corrupt_packets = 0
        source.watch(self._note_status)
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

    def zone_counts(self) -> Counts | None:
        """Who is in the zones and has crossed the lines; None without any."""
        return next((stage.counts for stage in self._stages if isinstance(stage, Track)), None)

    @property
    def sinks(self) -> Sequence[Sink]:
        """Its outputs, in order."""
        return next((stage.sinks for stage in self._stages if isinstance(stage, Emit)), ())

    def _note_status(self, status: SourceStatus) -> None:
        self.status = status
        for observer in self._observers:
            observer.source_changed(status)

    def _open_source(self) -> SourceInfo | None:
        """Open the source; None if it did not open before a stop, which is no failure."""
        try:
            self.info = self._source.open()
        except SourceError:
            if self._stop_requested.is_set():
                return None
            raise
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
        self.corrupt_packets = self._source.corrupt_packets
        if frame is None:
            return None
        if not self.status.is_live:  # a source that tells nothing of itself
            self.status = SourceStatus(
                state=SourceState.LIVE, at=frame.captured_at, since=frame.captured_at
            )
        self.ledger.captured()
        self.meter.captured(frame.captured_at)
        trace = FrameTrace(frame.captured_at)
        trace.began[CAPTURE], trace.ended[CAPTURE] = frame.captured_at, time.monotonic()
        return Job(frame, trace)

    def _process(self, stage: Stage, job: Job) -> bool:
        """Run one stage, of which the last completes the frame's account.

        Returns:
            whether the frame goes on: not if it is too old.
        """
        limit = self._age_limit
        if limit is not None and limit.rules_out(stage.name, job.frame.captured_at):
            self._drop(job, stage, "too_old")
            return False
        if stage is self._stages[-1]:
            self._tell_gap(job)
        try:
            with job.trace.stage(stage.name):
                stage.process(job)
        except BaseException:
            self.ledger.failed()
            raise
        if limit is not None:
            limit.note(stage.name, job.trace.ended[stage.name] - job.trace.began[stage.name])
        if stage is self._stages[-1]:
            self.ledger.emitted()
            self.meter.emitted(job.trace, len(job.detections or ()))
        return True

    def _tell_gap(self, job: Job) -> None:
        """A gap before a frame that was dropped is one before the next frame that is not."""
        gap_seconds = job.frame.gap_seconds
        while self._untold_gaps and self._untold_gaps[0][0] < job.frame.index:
            gap_seconds += self._untold_gaps.popleft()[1]
        if gap_seconds != job.frame.gap_seconds:
            job.frame = replace(job.frame, gap_seconds=gap_seconds)

    def _drop(self, job: Job, stage: Stage, reason: str) -> None:
        """Give up a frame on its way into ``stage``."""
        if job.frame.gap_seconds:
            self._untold_gaps.append((job.frame.index, job.frame.gap_seconds))
        self.ledger.dropped(stage.name, reason)
        for observer in self._observers:
            observer.frame_dropped(job.frame, stage.name, reason)

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
