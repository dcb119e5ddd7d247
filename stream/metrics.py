"""Latency and frame rate, as they were, for every frame that came through."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ddsketch import DDSketch

from stream.frame import FrameTrace

RECENT_FRAMES = 120  # what the live view and the HUD look back on
QUANTILES = (0.50, 0.95, 0.99)
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one stage's milliseconds."""

    p50: float
    p95: float
    p99: float


class Meter:
    """Collects the traces of emitted frames. Safe to use from any thread.

    Percentiles over a whole run come from a DDSketch (Masson et al., 2019): within 1 % of the
    true value and of bounded size however long the run is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sketches: dict[str, DDSketch] = {}
        self._gpu_sketches: dict[str, DDSketch] = {}
        self._recent: deque[dict[str, float]] = deque(maxlen=RECENT_FRAMES)
        self._captured_at: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._emitted_at: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._emitted = self._objects = 0
        self._first_captured_at: float | None = None

    def captured(self, captured_at: float) -> None:
        """A frame's packet arrived at this monotonic time."""
        with self._lock:
            self._captured_at.append(captured_at)
            if self._first_captured_at is None:
                self._first_captured_at = captured_at

    def emitted(self, trace: FrameTrace, objects: int) -> None:
        """A frame with so many objects went through every sink."""
        times = {**trace.stage_ms(), TOTAL: trace.age_ms()}
        with self._lock:
            _add(self._sketches, times)
            _add(self._gpu_sketches, trace.gpu_ms or {})
            self._recent.append(times)
            self._emitted_at.append(trace.captured_at + times[TOTAL] / 1e3)
            self._emitted += 1
            self._objects += objects

    @property
    def objects(self) -> int:
        """Objects in all emitted frames."""
        return self._objects

    def rates(self) -> tuple[float, float]:
        """Recent frames per second, captured and emitted; 0 before the second frame."""
        with self._lock:
            return _rate(self._captured_at), _rate(self._emitted_at)

    def mean_rate(self) -> float:
        """Frames per second from the first packet to the last emitted frame."""
        with self._lock:
            if self._first_captured_at is None or not self._emitted_at:
                return 0.0
            return self._emitted / max(self._emitted_at[-1] - self._first_captured_at, 1e-9)

    def latency(self) -> dict[str, Latency]:
        """Percentiles over the whole run: ``total`` (packet arrival to last sink), each stage."""
        with self._lock:
            found = _percentiles(self._sketches)
        return dict(sorted(found.items(), key=lambda item: item[0] != TOTAL))

    def gpu_latency(self) -> dict[str, Latency]:
        """The same of each step on a GPU, by the GPU's own clock; empty without one."""
        with self._lock:
            return _percentiles(self._gpu_sketches)

    def recent_latency(self) -> dict[str, Latency]:
        """As ``latency``, but over the recent frames; empty before the first."""
        with self._lock:
            recent = list(self._recent)
        names = dict.fromkeys(name for times in recent for name in times)
        values = {name: [times[name] for times in recent if name in times] for name in names}
        return {
            name: Latency(*np.quantile(times, QUANTILES).tolist()) for name, times in values.items()
        }

    def recent_ms(self, name: str) -> float:
        """The median of a stage, or of ``total``, over the recent frames; 0 before the first."""
        with self._lock:
            values = sorted(times[name] for times in self._recent if name in times)
        return values[len(values) // 2] if values else 0.0


def _add(sketches: dict[str, DDSketch], times: Mapping[str, float]) -> None:
    for name, value in times.items():
        sketches.setdefault(name, DDSketch(0.01)).add(value)


def _percentiles(sketches: dict[str, DDSketch]) -> dict[str, Latency]:
    return {
        name: Latency(*(sketch.get_quantile_value(q) or 0.0 for q in QUANTILES))
        for name, sketch in sketches.items()
    }


def _rate(times: deque[float]) -> float:
    if len(times) < 2:
        return 0.0
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)
