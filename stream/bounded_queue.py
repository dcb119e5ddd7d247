"""The queue between two stages: bounded, closable, and honest about what it drops."""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Policy(enum.Enum):
    """What ``put`` does when the queue is full."""

    BLOCK = "block"  # wait for room: nothing is lost, the source is slowed down
    DROP_OLDEST = "drop-oldest"  # make room: the newest wins, what is read is never stale


class QueueClosed(Exception):
    """Nothing more can be put, or nothing more will come: an end, not an error."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How a queue fared; which of the two waits is long tells where the bottleneck is.

    Attributes:
        depth: items waiting now.
        capacity: items that may wait.
        blocked_put_seconds: producers waited this long for room: the consumer is slower.
        blocked_get_seconds: consumers waited this long for an item: the producer is slower.
    """

    depth: int
    capacity: int
    blocked_put_seconds: float
    blocked_get_seconds: float


class BoundedQueue(Generic[Item]):
    """A FIFO of at most ``capacity`` items between threads.

    Every item put is either got once or passed to ``on_drop`` once with the reason: ``queue_full``
    when a newer one took its place, ``stopped`` when the queue was closed and discarded with it
    inside. ``on_drop`` is called on the thread that caused the drop, outside of the lock.

    Args:
        capacity: at least 1.
        policy: what to do when full.
        on_drop: called with each dropped item and the reason.
    """

    def __init__(self, capacity: int, policy: Policy, on_drop: Callable[[Item, str], None]) -> None:
        if capacity < 1:
            raise ValueError(f"a queue holds at least 1 item, not {capacity}")
        self._capacity, self._policy, self._on_drop = capacity, policy, on_drop
        self._items: deque[Item] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._blocked_put_seconds = 0.0
        self._blocked_get_seconds = 0.0

    def put(self, item: Item) -> None:
        """Add an item, under the queue's policy when it is full.

        Raises:
            QueueClosed: if the queue is closed; the item stays the caller's.
        """
        dropped: Item | None = None
        with self._changed:
            if self._policy is Policy.BLOCK and len(self._items) >= self._capacity:
                began = time.monotonic()
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
                self._blocked_put_seconds += time.monotonic() - began
            if self._closed:
                raise QueueClosed
            if len(self._items) >= self._capacity:
                dropped = self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
        if dropped is not None:
            self._on_drop(dropped, "queue_full")
            # a producer that never waits would otherwise starve its consumers on a single core;
            # to sleep for no time at all would not make the kernel look for another thread
            time.sleep(1e-6)

    def get(self, timeout_seconds: float | None = None) -> Item:
        """The oldest item; waits for one.

        Args:
            timeout_seconds: wait no longer; None for as long as it takes.

        Raises:
            QueueClosed: if the queue is closed and empty.
            TimeoutError: if nothing came in time.
        """
        with self._changed:
            if not self._items and not self._closed:
                began = time.monotonic()
                self._changed.wait_for(lambda: self._closed or self._items, timeout_seconds)
                self._blocked_get_seconds += time.monotonic() - began
            if not self._items:
                raise QueueClosed if self._closed else TimeoutError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Item]:
        """Items until the queue is closed and empty."""
        while True:
            try:
                yield self.get()
            except QueueClosed:
                return

    def close(self, *, discard: bool = False) -> None:
        """End the stream: puts are refused from now on. Legal any number of times.

        Args:
            discard: drop what still waits instead of leaving it to the consumer.
        """
        with self._changed:
            self._closed = True
            leftover = list(self._items) if discard else []
            if discard:
                self._items.clear()
            self._changed.notify_all()
        for item in leftover:
            self._on_drop(item, "stopped")

    def statistics(self) -> QueueStatistics:
        """A snapshot."""
        with self._changed:
            return QueueStatistics(
                len(self._items),
                self._capacity,
                self._blocked_put_seconds,
                self._blocked_get_seconds,
            )
