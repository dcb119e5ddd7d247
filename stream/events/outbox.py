"""From the pipeline to one receiver: at least once, in order, and never in the pipeline's way.

    put ─▶ bounded queue ─ spool thread ─▶ spool on disk ─ deliver thread ─▶ receiver

The pipeline waits for neither: a disk that is too slow costs events out of the queue, a receiver
that is away costs the oldest events of the spool, and both are counted and told.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.errors import SinkError, ThreadLeftBehind
from stream.events.deliverer import Deliverer, DeliveryFailed
from stream.events.spool import Spool, SpooledEvent
from stream.redact import redact
from stream.worker import Worker

logger = logging.getLogger(__name__)

QUEUE_CAPACITY = 1000  # events, on their way to the disk
SYNC_SECONDS = 1.0  # what a power cut may cost
IDLE_SECONDS = 1.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
DRAIN_SECONDS = 1.0  # what an end gives the receiver to take what still waits
END_SECONDS = 2.0  # what it then gives the threads


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """How a receiver fared. Every event is one of the first four, those of an earlier run included.

    Attributes:
        delivered: confirmed by the receiver.
        waiting: on disk, for this run or the next.
        lost: given up, because the spool or the way to it was full or the disk failed.
        refused: the receiver will never take them.
        retried: had to be tried again; an event counts once for every failed attempt.
        waiting_bytes: what those that wait take on disk, about.
        is_connected: whether the last attempt succeeded.
    """

    delivered: int
    waiting: int
    lost: int
    refused: int
    retried: int
    waiting_bytes: int
    is_connected: bool


class Outbox:
    """Spools events and delivers them, on two threads of its own, from ``start`` to ``join``.

    Args:
        deliverer: used and closed by the outbox.
        spool: its file; what is left in it from an earlier run is delivered first.
        max_bytes: of events in the spool.
        chance: for tests.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        spool: Path,
        max_bytes: int,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.name = deliverer.name
        self._deliverer, self._path, self._max_bytes = deliverer, spool, max_bytes
        self._chance = chance
        self._queue = BoundedQueue[tuple[str, str]](QUEUE_CAPACITY, Policy.DROP_OLDEST, self._drop)
        self._spool: Spool | None = None
        self._workers = [
            Worker(f"spool {self.name}", self._spool_all),
            Worker(f"deliver {self.name}", self._deliver_all),
        ]
        self._arrived = threading.Event()  # something to deliver, or the end
        self._ending = threading.Event()
        self._drained_by = float("inf")  # monotonic: nothing is begun after it
        self._delivered = self._refused = self._lost = self._retried = self._overflown = 0
        self._lost_told: int | None = None
        self._is_connected = True

    def start(self) -> None:
        """Open the spool and start the threads; once.

        Raises:
            SinkError: if the spool cannot be used.
        """
        self._spool = Spool(self._path, self._max_bytes)
        if len(self._spool):
            logger.warning(
                "%d events of an earlier run wait for %s: they go first.",
                len(self._spool),
                self.name,
            )
        for worker in self._workers:
            worker.start()

    def put(self, event_id: str, body: str) -> None:
        """Take one event; returns at once. Before ``start``, too; after ``end`` it is lost."""
        try:
            self._queue.put((event_id, body))
        except QueueClosed:
            self._lost += 1

    def end(self) -> None:
        """Ask for the end; returns at once. What is not delivered by then stays in the spool."""
        self._queue.close()

    def join(self) -> None:
        """Wait for the end, a few seconds at most.

        Raises:
            ThreadLeftBehind: if a thread would not end.
        """
        if self._spool is None:
            return
        self._workers[0].join(DRAIN_SECONDS)
        self._drained_by = time.monotonic() + (DRAIN_SECONDS if self._is_connected else 0.0)
        self._ending.set()
        self._arrived.set()
        if not self._workers[1].join(DRAIN_SECONDS):
            self._deliverer.interrupt()
        until = time.monotonic() + END_SECONDS
        left = [
            worker.name
            for worker in self._workers
            if not worker.join(max(0.0, until - time.monotonic()))
        ]
        if left:
            raise ThreadLeftBehind(f"{' and '.join(left)} did not end in time.")
        self._spool.close()
        if count := len(self._spool):
            logger.warning(
                "%d events for %s wait in %s, for the next run over the same source.",
                count,
                self.name,
                self._path,
            )

    def statistics(self) -> OutboxStatistics:
        """A snapshot; from any thread."""
        spool = self._spool
        return OutboxStatistics(
            self._delivered,
            0 if spool is None else len(spool),
            self._lost + (0 if spool is None else spool.lost),
            self._refused,
            self._retried,
            0 if spool is None else spool.size_bytes,
            self._is_connected,
        )

    def _drop(self, _event: tuple[str, str], _reason: str) -> None:
        self._lost += 1
        self._overflown += 1

    # ── the spool thread ──

    def _spool_all(self) -> None:
        assert self._spool is not None
        is_synced, sync_at = True, 0.0
        while True:
            try:
                if is_synced:
                    events = [self._queue.get()]
                else:
                    events = [self._queue.get(max(0.0, sync_at - time.monotonic()))]
            except TimeoutError:
                events = []
            except QueueClosed:
                break
            if events:
                self._append(events)
                if is_synced:
                    is_synced, sync_at = False, time.monotonic() + SYNC_SECONDS
            if not is_synced and time.monotonic() >= sync_at:
                is_synced = self._sync()
        if not is_synced:
            self._sync()

    def _append(self, events: list[tuple[str, str]]) -> None:
        """Add the event and all that came since it to the spool."""
        assert self._spool is not None
        # as this thread alone takes from the queue, what waits now can be had at once
        events += [self._queue.get() for _ in range(self._queue.statistics().depth)]
        try:
            self._spool.append(events)
        except SinkError as error:
            self._lost += len(events)
            self._tell_lost(str(error))
        else:
            if self._spool.lost:
                self._tell_lost(f"The spool {self._path} is full, and its oldest events go.")
            elif self._overflown:
                self._tell_lost(f"The disk of the spool {self._path} is too slow.")
        self._arrived.set()

    def _sync(self) -> bool:
        assert self._spool is not None
        try:
            self._spool.sync()
        except SinkError as error:
            self._tell_lost(str(error))
        return True

    def _tell_lost(self, reason: str) -> None:
        """Tell of trouble with the disk: at first, and every time the losses have doubled."""
        lost = self.statistics().lost
        if self._lost_told is None or lost >= 2 * max(1, self._lost_told):
            self._lost_told = lost
            logger.warning("%d events for %s are lost. %s", lost, self.name, reason)

    # ── the deliver thread ──

    def _deliver_all(self) -> None:
        failures = 0
        try:
            while time.monotonic() < self._drained_by:
                batch = self._take()
                if batch:
                    failures, wait_seconds = self._attempt(batch, failures)
                    if wait_seconds and self._ending.wait(wait_seconds):
                        return
                elif self._ending.is_set():
                    return
                elif not self._arrived.wait(IDLE_SECONDS):
                    self._deliverer.idle()
        finally:
            self._deliverer.close()

    def _take(self) -> list[SpooledEvent]:
        assert self._spool is not None
        self._arrived.clear()
        try:
            return self._spool.take(self._deliverer.batch)
        except SinkError as error:
            self._tell_lost(str(error))
            return []

    def _attempt(self, batch: list[SpooledEvent], failures: int) -> tuple[int, float]:
        """Deliver; gives how many attempts failed in a row, and the seconds to wait."""
        try:
            self._deliverer.deliver(batch)
        except DeliveryFailed as error:
            return self._note_failure(batch, failures, error)
        except Exception as error:  # noqa: BLE001 - a library's surprise must not end deliveries
            surprise = DeliveryFailed(f"unexpected {type(error).__name__}: {redact(str(error))}")
            return self._note_failure(batch, failures, surprise)
        if not self._is_connected:
            self._is_connected = True
            logger.warning("%s takes events again.", self.name)
        return 0, (0.0 if self._confirm(batch) else FIRST_WAIT_SECONDS)

    def _note_failure(
        self, batch: list[SpooledEvent], failures: int, error: DeliveryFailed
    ) -> tuple[int, float]:
        done = error.delivered
        self._confirm(batch[:done])
        if error.is_refused:
            self._confirm(batch[done : done + 1], is_refused=True)
            logger.warning("%s refuses event %s for good: %s.", self.name, batch[done].id, error)
            return 0, 0.0
        failures = 1 if done else failures + 1
        self._retried += len(batch) - done
        self._tell_away(error)
        longest = min(FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 10), LONGEST_WAIT_SECONDS)
        return failures, max(self._chance(longest / 2, longest), error.wait_seconds)

    def _tell_away(self, error: DeliveryFailed) -> None:
        if self._is_connected and not self._ending.is_set():
            logger.warning("%s: %s; events wait on disk until it is back.", self.name, error)
        self._is_connected = False

    def _confirm(self, events: list[SpooledEvent], *, is_refused: bool = False) -> bool:
        assert self._spool is not None
        if is_refused:
            self._refused += len(events)
        else:
            self._delivered += len(events)
        try:
            self._spool.confirm(events)
        except SinkError as error:  # they will come twice, with the same ids
            self._tell_lost(str(error))
            return False
        return True
