"""A meter that also keeps what a dashboard asks for."""

from __future__ import annotations

import bisect
import time
from collections import deque
from dataclasses import dataclass

from stream.frame import FrameTrace
from stream.metrics import RECENT_FRAMES, Meter

# seconds; upper bounds of the histogram, as Prometheus has them
BUCKETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Ages:
    """How old frames were when the last sink had them.

    Attributes:
        p50_ms: the median of the recent ones; 0 before the first.
        p95_ms: of the recent ones, too.
        buckets: of all frames, how many were at most as old as each of ``BUCKETS``; then all.
        sum_seconds: of all frames.
        since_last_seconds: since the latest one was done; None before the first.
    """

    p50_ms: float
    p95_ms: float
    buckets: tuple[int, ...]
    sum_seconds: float
    since_last_seconds: float | None


class AgeMeter(Meter):
    """See the module. Safe to use from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._recent_ages_ms: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._in_bucket = [0] * (len(BUCKETS) + 1)
        self._sum_seconds = 0.0
        self._last_at: float | None = None

    def emitted(self, trace: FrameTrace, objects: int) -> None:
        super().emitted(trace, objects)
        age_ms = trace.age_ms()
        with self._lock:
            self._recent_ages_ms.append(age_ms)
            self._in_bucket[bisect.bisect_left(BUCKETS, age_ms / 1e3)] += 1
            self._sum_seconds += age_ms / 1e3
            self._last_at = trace.captured_at + age_ms / 1e3

    def ages(self) -> Ages:
        """A snapshot."""
        with self._lock:
            recent = sorted(self._recent_ages_ms)
            counts, total = [], 0
            for count in self._in_bucket:
                total += count
                counts.append(total)
            since = None if self._last_at is None else time.monotonic() - self._last_at
            return Ages(
                _quantile(recent, 0.5), _quantile(recent, 0.95), tuple(counts), self._sum_seconds,
                since,
            )  # fmt: skip


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
