"""The queue between stages: order, bounds, policies, closing, and an account of every item."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed


def make(capacity: int, policy: Policy) -> tuple[BoundedQueue[int], list[tuple[int, str]]]:
    dropped: list[tuple[int, str]] = []
    return BoundedQueue(capacity, policy, lambda item, why: dropped.append((item, why))), dropped


class QueueMachine(RuleBasedStateMachine):
    """Compare with a plain list under every sequence of calls that does not block."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 3
        self.queue, self.dropped = make(self.capacity, Policy.DROP_OLDEST)
        self.model: list[int] = []
        self.expected_drops: list[tuple[int, str]] = []
        self.closed = False
        self.number = 0

    @rule()
    def put(self) -> None:
        self.number += 1
        if self.closed:
            with pytest.raises(QueueClosed):
                self.queue.put(self.number)
            return
        if len(self.model) == self.capacity:
            self.expected_drops.append((self.model.pop(0), "queue_full"))
        self.model.append(self.number)
        self.queue.put(self.number)

    @precondition(lambda self: self.model or self.closed)
    @rule()
    def get(self) -> None:
        if not self.model:
            with pytest.raises(QueueClosed):
                self.queue.get()
            return
        assert self.queue.get() == self.model.pop(0)

    @rule(discard=st.booleans())
    def close(self, discard: bool) -> None:
        self.queue.close(discard=discard)
        self.closed = True
        if discard:
            self.expected_drops += [(item, "stopped") for item in self.model]
            self.model = []

    @invariant()
    def accounts_for_every_item(self) -> None:
        assert self.dropped == self.expected_drops
        assert self.queue.statistics().depth == len(self.model) <= self.capacity


TestQueueMachine = QueueMachine.TestCase


@settings(max_examples=20, deadline=None)
@given(
    capacity=st.integers(1, 4),
    policy=st.sampled_from(Policy),
    producers=st.integers(1, 3),
    consumers=st.integers(1, 3),
    count=st.integers(0, 60),
)
def test_between_threads_every_item_is_got_or_dropped_once(
    capacity: int, policy: Policy, producers: int, consumers: int, count: int
) -> None:
    queue, dropped = make(capacity, policy)
    got: list[list[int]] = [[] for _ in range(consumers)]

    def produce(first: int) -> None:
        for number in range(count):
            queue.put(first * 1000 + number)

    def consume(number: int) -> None:
        got[number].extend(queue)

    writers = [threading.Thread(target=produce, args=(i,)) for i in range(producers)]
    readers = [threading.Thread(target=consume, args=(i,)) for i in range(consumers)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    queue.close()
    for thread in readers:
        thread.join()

    received = [item for items in got for item in items]
    everything = [first * 1000 + number for first in range(producers) for number in range(count)]
    assert sorted(received + [item for item, _ in dropped]) == everything
    if policy is Policy.BLOCK:
        assert dropped == []
    if consumers == 1:
        for first in range(producers):
            own = [item for item in received if item // 1000 == first]
            assert own == sorted(own)


def test_block_holds_the_producer_until_there_is_room() -> None:
    queue, dropped = make(1, Policy.BLOCK)
    queue.put(1)
    done = threading.Event()

    def put_second() -> None:
        queue.put(2)
        done.set()

    thread = threading.Thread(target=put_second)
    thread.start()
    assert not done.wait(0.1)
    assert queue.get() == 1
    assert done.wait(2)
    thread.join()
    assert queue.get() == 2
    assert dropped == []
    assert queue.statistics().blocked_put_seconds >= 0.09


@pytest.mark.parametrize("blocked", ["put", "get"])
def test_close_wakes_whoever_waits(blocked: str) -> None:
    queue, dropped = make(1, Policy.BLOCK)
    if blocked == "put":
        queue.put(1)
    outcome: list[type[BaseException]] = []

    def wait() -> None:
        try:
            queue.put(2) if blocked == "put" else queue.get()
        except QueueClosed as error:
            outcome.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    queue.close()
    thread.join(2)
    assert outcome == [QueueClosed]
    assert dropped == []  # a refused item stays the caller's


def test_a_closed_queue_still_hands_out_what_it_holds() -> None:
    queue, _ = make(3, Policy.BLOCK)
    queue.put(1)
    queue.put(2)
    queue.close()
    assert list(queue) == [1, 2]


def test_the_drop_callback_may_use_the_queue() -> None:
    """It runs outside of the lock, so a callback that looks at the queue does not deadlock."""
    depths: list[int] = []
    queue: BoundedQueue[int] = BoundedQueue(
        1, Policy.DROP_OLDEST, lambda item, why: depths.append(queue.statistics().depth)
    )
    queue.put(1)
    queue.put(2)
    assert depths == [1]


def test_an_empty_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make(0, Policy.BLOCK)
