"""Frames that would be too old by the time they are shown are not worth the model's time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

from stream.errors import UsageError

logger = logging.getLogger(__name__)


class AgeLimit:
    """Decides which frames go on. Safe to use from any thread.

    Before the model a frame is given up if its age, and the time that the model and what follows
    took of late, come to more than the limit. Before the last stage it is given up if it is older
    than the limit: none that is too old is ever shown.

    What the model takes shows only by the frames that it gets: while none passes nobody would
    notice that it has become faster, so one frame a second is let through to find out.

    Args:
        limit_seconds: how old a frame may be when it reaches the last stage.
        stages: names of all stages in order.
        costly: name of the stage not to be troubled in vain; without it, the first.
        clock: monotonic seconds, for tests.
    """

    _LOOKBACK = 15  # frames, of which the median counts
    _TRIAL_SECONDS = 1.0

    def __init__(
        self,
        limit_seconds: float,
        stages: Sequence[str],
        costly: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < limit_seconds < float("inf"):
            raise UsageError("A frame's greatest age has to be a number above 0 ms.")
        self._limit_seconds, self._clock = limit_seconds, clock
        self._last = stages[-1]
        self._costly = costly if costly in stages else stages[0]
        self._ahead = stages[stages.index(self._costly) : -1]
        self._took: dict[str, deque[float]] = {
            stage: deque(maxlen=self._LOOKBACK) for stage in self._ahead
        }
        self._lock = threading.Lock()
        self._tried_at = clock()
        self._has_warned = False

    def note(self, stage: str, seconds: float) -> None:
        """A stage took so long for one frame."""
        if stage in self._took:
            with self._lock:
                self._took[stage].append(seconds)

    def rules_out(self, stage: str, captured_at: float) -> bool:
        """Whether a frame captured at this monotonic time is to be given up before ``stage``."""
        age = self._clock() - captured_at
        if stage == self._last:
            return age > self._limit_seconds
        if stage != self._costly:
            return False
        with self._lock:
            to_come = sum(median(took) for took in self._took.values() if took)
        if age + to_come <= self._limit_seconds:
            self._tried_at = self._clock()
            return False
        return age > self._limit_seconds or not self._is_trial(to_come)

    def _is_trial(self, to_come: float) -> bool:
        if to_come > self._limit_seconds and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "No frame can be shown at an age of %.0f ms at most: the model and what follows "
                "take %.0f ms.",
                self._limit_seconds * 1e3,
                to_come * 1e3,
            )
        if self._clock() - self._tried_at < self._TRIAL_SECONDS:
            return False
        self._tried_at = self._clock()
        return True
