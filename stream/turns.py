"""Several models on the same cores: one computes at a time, whose frame has waited longest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count


class Turns:
    """Keeps cameras of different models as fair to each other as those of one.

    A model that takes all cores would only be slowed down by another one beside it, and of two
    models with a thread each the one with fewer cameras would give each of them more turns.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: set[tuple[float, int]] = set()
        self._numbers = count()
        self._is_taken = False

    @contextmanager
    def turn(self, came_at: float) -> Iterator[None]:
        """Wait for the turn of a frame that came at this monotonic time; it ends with the block."""
        ticket = came_at, next(self._numbers)
        with self._changed:
            self._waiting.add(ticket)
            self._changed.wait_for(lambda: not self._is_taken and min(self._waiting) == ticket)
            self._waiting.remove(ticket)
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
