"""Every stage on a named thread, with a bounded queue before it.

    source ─ capture ─▶ queue ─ preprocess ─▶ queue ─ model ─▶ … ─▶ queue ─ sinks

A stage that ends, for whatever reason, drops what waits in its inbox and refuses more, finishes
its own output, and ends the stream in its outbox. That one rule carries the end of a file, a stop
and an error through the whole pipeline: what lies downstream is finished, what lies upstream is
given up, and the sinks are always closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed, QueueStatistics
from stream.errors import ThreadLeftBehind
from stream.pipeline import Pipeline
from stream.sources.base import SourceInfo
from stream.stages import CAPTURE, Job, Stage
from stream.worker import Worker

QUEUE_CAPACITY = 1  # beside the frame in each stage's hands; more adds latency, not throughput
DRAIN_SECONDS = 2.0  # what a stop gives the frames in flight to reach the sinks
STOP_SECONDS = 5.0  # what a stop gives all threads to end


class ThreadedPipeline(Pipeline):
    """See the module; arguments as ``Pipeline``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._queues: list[BoundedQueue[Job]] = []
        self._workers = [Worker(CAPTURE, self._capture)]
        self._errors: list[BaseException] = []  # in the order they happened
        self._stopped_at: float | None = None  # monotonic
        self._abandoned: list[str] = []

    def start(self) -> None:
        self._workers[0].start()

    def stop(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        self._stop_requested.set()
        self._source.interrupt()

    def wait(self, timeout_seconds: float) -> bool:
        until = time.monotonic() + timeout_seconds
        while running := [worker for worker in list(self._workers) if not worker.join(0)]:
            if self._errors:
                self.stop()
            if self._stopped_at is not None and self._is_overdue(running):
                return True
            remaining = until - time.monotonic()
            if remaining <= 0:
                return False
            running[0].join(min(remaining, 0.05))
        return True

    def _is_overdue(self, running: list[Worker]) -> bool:
        """Hurry a stop that takes long; True once it has taken too long."""
        assert self._stopped_at is not None
        elapsed = time.monotonic() - self._stopped_at
        if elapsed > DRAIN_SECONDS:
            for queue in self._queues:
                queue.close(discard=True)
        if elapsed > STOP_SECONDS:
            self._abandoned = [worker.name for worker in running]
        return bool(self._abandoned)

    def finish(self) -> None:
        first = next(iter(self._errors), None)
        left = [str(error) for error in self._errors if isinstance(error, ThreadLeftBehind)]
        if self._abandoned:
            left.append(
                f"{' and '.join(self._abandoned)} did not stop within {STOP_SECONDS:g} s and was "
                "left behind."
            )
        if left:  # whatever else went wrong: the program must not end as if nothing ran any more
            said = [str(first), *left] if first is not None else left
            raise ThreadLeftBehind(" ".join(dict.fromkeys(said))) from first
        if first is not None:
            raise first
        self._check_ledger()

    def queue_statistics(self) -> dict[str, QueueStatistics]:
        queues = zip(self._stages, self._queues, strict=False)
        return {stage.name: queue.statistics() for stage, queue in queues}

    def _attempt(self, step: Callable[[], None]) -> None:
        """Run a step of a worker; its error is kept for ``finish`` and the next step still runs."""
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._errors.append(error)

    # ── the capture thread ──

    def _capture(self) -> None:
        self._attempt(self._read_source)
        self._attempt(self._source.close)
        if self._queues:
            self._queues[0].close()

    def _read_source(self) -> None:
        info = self._open_source()
        if info is None:
            return
        self._start_stages(info)
        while (job := self._next_job()) is not None:
            if not self._hand_over(job, 0):
                return

    def _start_stages(self, info: SourceInfo) -> None:
        assert self.policy is not None
        for stage in self._stages:
            self._queues.append(BoundedQueue(QUEUE_CAPACITY, self.policy, self._dropper(stage)))
        ready = [threading.Event() for _ in self._stages]
        for number, stage in enumerate(self._stages):
            run = partial(self._run_stage, number, info, ready[number])
            self._workers.append(Worker(stage.name, run))
            self._workers[-1].start()
        if self.policy is Policy.BLOCK:
            # a file can wait; frames read while the model warms up would only look late
            for event in ready:
                event.wait()

    def _dropper(self, stage: Stage) -> Callable[[Job, str], None]:
        return lambda job, reason: self._drop(job, stage, reason)

    def _hand_over(self, job: Job, number: int) -> bool:
        """Put a job before stage ``number``; False, and dropped, if that stage has ended."""
        try:
            self._queues[number].put(job)
        except QueueClosed:
            self._drop(job, self._stages[number], "stopped")
            return False
        return True

    # ── the thread of each stage ──

    def _run_stage(self, number: int, info: SourceInfo, ready: threading.Event) -> None:
        stage, inbox = self._stages[number], self._queues[number]
        is_last = number + 1 == len(self._stages)

        def work() -> None:
            try:
                stage.open(info)
            finally:
                ready.set()
            for job in inbox:
                goes_on = self._process(stage, job) and not is_last
                if goes_on and not self._hand_over(job, number + 1):
                    return

        self._attempt(work)
        inbox.close(discard=True)
        self._attempt(stage.close)
        if not is_last:
            self._queues[number + 1].close()
