"""The conservation law of a pipeline: captured = emitted + dropped + failed + in flight."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """A snapshot of the ledger.

    Attributes:
        captured: frames the source gave.
        emitted: frames that every sink has taken.
        dropped: (stage, reason) to frames given up before that stage.
        failed: frames whose stage raised an error.
    """

    captured: int
    emitted: int
    dropped: dict[tuple[str, str], int]
    failed: int

    @property
    def in_flight(self) -> int:
        """Frames captured and not yet accounted for; 0 once the pipeline has ended."""
        return self.captured - self.emitted - sum(self.dropped.values()) - self.failed

    def dropped_by_reason(self) -> dict[str, int]:
        """Reason to frames, all stages together."""
        return self._sum_dropped(1)

    def dropped_by_stage(self) -> dict[str, int]:
        """Stage to frames, all reasons together."""
        return self._sum_dropped(0)

    def _sum_dropped(self, key_part: int) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for key, count in self.dropped.items():
            sums[key[key_part]] += count
        return dict(sums)


class Ledger:
    """Counts what became of each frame. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = self._emitted = self._failed = 0
        self._dropped: Counter[tuple[str, str]] = Counter()

    def captured(self) -> None:
        """A frame came out of the source."""
        with self._lock:
            self._captured += 1

    def emitted(self) -> None:
        """A frame went through every sink."""
        with self._lock:
            self._emitted += 1

    def dropped(self, stage: str, reason: str) -> None:
        """A frame was given up on its way into ``stage``."""
        with self._lock:
            self._dropped[stage, reason] += 1

    def failed(self) -> None:
        """A stage raised an error over a frame."""
        with self._lock:
            self._failed += 1

    def counts(self) -> LedgerCounts:
        """A consistent snapshot."""
        with self._lock:
            return LedgerCounts(self._captured, self._emitted, dict(self._dropped), self._failed)
