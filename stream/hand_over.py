"""From the pipeline's last thread to the one that iterates over ``open_pipeline``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from models.detections import Detections
from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sources.base import SourceInfo
from stream.zone_counts import Counts

if TYPE_CHECKING:
    from stream.stages import Job

Result = tuple[Frame, Detections]


class HandOver(Sink):
    """Gives frames from the pipeline's last thread to the caller's.

    A file waits for the caller; of a live source the newest frame is kept.
    """

    name = "python"

    def __init__(self) -> None:
        self.skipped = 0
        self.counts = Counts({}, {})
        self._opened = threading.Event()
        self._queue: BoundedQueue[Result] | None = None
        self._lock = threading.Lock()
        self._has_left = False

    def open(self, info: SourceInfo) -> None:
        policy = Policy.DROP_OLDEST if info.is_live else Policy.BLOCK
        with self._lock:
            self._queue = BoundedQueue(1, policy, self._skip)
            if self._has_left:
                self._queue.close(discard=True)
        self._opened.set()

    def write(self, job: Job) -> None:
        assert self._queue is not None
        assert job.detections is not None
        if job.scene is not None:
            self.counts = job.scene.counts
        try:
            self._queue.put((job.frame, job.detections))
        except QueueClosed:
            return  # nobody waits for it any more; other sinks still get theirs

    def _skip(self, result: Result, reason: str) -> None:
        self.skipped += 1

    def close(self) -> None:
        self.end()

    def take(self) -> Result | None:
        """The next frame, waiting for it; None at the end. Called by the caller's thread."""
        self._opened.wait()
        if self._queue is None:
            return None
        try:
            return self._queue.get()
        except QueueClosed:
            return None

    def end(self) -> None:
        """Nothing more will come; what is there can still be taken."""
        if self._queue is not None:
            self._queue.close()
        self._opened.set()

    def leave(self) -> None:
        """Nobody will take anything any more."""
        with self._lock:
            self._has_left = True
            if self._queue is not None:
                self._queue.close(discard=True)
