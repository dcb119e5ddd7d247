"""When to try again, and when silence is too long."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from stream.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectOptions:
    """How a source comes back.

    Attributes:
        first_delay_seconds: before the second attempt; it doubles with each one after. The first
            attempt after a connection that had proved itself is made at once.
        longest_delay_seconds: it never becomes longer; also the delay after a wrong password.
        proven_seconds: a connection that showed pictures for so long starts the delays over.
        attempts: give up after so many in a row without a picture, None for never.
        waits_for_first: try again, too, when the very first attempt fails.
    """

    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30.0
    proven_seconds: float = 1.0
    attempts: int | None = None
    waits_for_first: bool = False

    def __post_init__(self) -> None:
        for name in ("first_delay_seconds", "longest_delay_seconds", "proven_seconds"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value}, but it has to be a number above 0.")
        if self.attempts is not None and self.attempts < 1:
            raise UsageError(f"attempts is {self.attempts}, but it has to be at least 1.")


class Backoff:
    """Exponentially growing delays, each shortened by chance.

    The chance keeps all the cameras of a switch that was off from knocking at the same moment.

    Args:
        options: the delays.
        chance: for tests.
    """

    def __init__(self, options: ReconnectOptions, chance: random.Random | None = None) -> None:
        self._options = options
        self._chance = chance or random.Random()
        self._failures = 0
        self._is_proven = False

    def prove(self) -> None:
        """The connection has proved itself: the delays start over."""
        self._failures, self._is_proven = 0, True

    def next_delay(self, *, is_denied: bool = False) -> float:
        """Seconds to wait after one more failure.

        Args:
            is_denied: the password is wrong; asking often would only lock the user out.
        """
        self._failures += 1
        if is_denied:
            return self._options.longest_delay_seconds
        if self._is_proven and self._failures == 1:
            return 0.0
        doublings = min(max(0, self._failures - 2), 30)
        delay = self._options.first_delay_seconds * 2.0**doublings
        return min(delay, self._options.longest_delay_seconds) * self._chance.uniform(0.5, 1.0)


class Pace:
    """How long a source may be silent, by how often its pictures come.

    Args:
        floor_seconds: never less than this.
    """

    _FRAMES = 50  # it looks back on
    _INTERVALS = 10  # without a picture are no pause any more

    def __init__(self, floor_seconds: float) -> None:
        self._floor_seconds = floor_seconds
        self._arrivals: deque[float] = deque(maxlen=self._FRAMES)

    def note(self, captured_at: float) -> None:
        """A picture came at this monotonic time."""
        self._arrivals.append(captured_at)

    def begin(self) -> None:
        """A new connection: the time without one is no part of its pace."""
        self._arrivals.clear()

    def limit_seconds(self) -> float:
        """Silence that is longer means that the source has stalled."""
        if len(self._arrivals) < 2:
            return self._floor_seconds
        interval = (self._arrivals[-1] - self._arrivals[0]) / (len(self._arrivals) - 1)
        return max(self._floor_seconds, self._INTERVALS * interval)
