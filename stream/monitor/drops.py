"""Dropped frames, told a line at a time and not a line a frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from stream.monitor.snapshot import CameraSnapshot

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
INTERVALS_SECONDS = (1.0, 10.0, 60.0)  # between two lines of a camera that goes on dropping


class DropReports:
    """Logs ``door: dropped 37 frames in the last second``, ever more rarely while it goes on.

    Args:
        cameras: asked once a second.
    """

    def __init__(self, cameras: Callable[[], Sequence[CameraSnapshot]]) -> None:
        self._cameras = cameras
        self._looked_at = time.monotonic()
        self._seen: dict[str, tuple[float, dict[str, int]]] = {}  # told at, counts by reason then
        self._told: dict[str, int] = {}  # lines since the camera last had a quiet interval

    def pump(self) -> None:
        """Look if it is time to. Call often."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for camera in self._cameras():
            self._look(camera, now)

    def _look(self, camera: CameraSnapshot, now: float) -> None:
        dropped = camera.counts.dropped_by_reason()
        told_at, before = self._seen.setdefault(camera.name, (now, dropped))
        times = self._told.get(camera.name, 0)
        interval = INTERVALS_SECONDS[min(times, len(INTERVALS_SECONDS) - 1)]
        if now - told_at < interval:
            return
        new = {reason: count - before.get(reason, 0) for reason, count in dropped.items()}
        new = {reason: count for reason, count in new.items() if count > 0}
        self._seen[camera.name] = now, dropped
        self._told[camera.name] = times + 1 if new else 0
        if new:
            period = "second" if interval == 1 else f"{interval:.0f} s"
            logger.info(
                "%s: dropped %d frames in the last %s (%s)",
                camera.name,
                sum(new.values()),
                period,
                ", ".join(f"{reason} {count}" for reason, count in new.items()),
                extra={"camera": camera.name, "dropped": new},
            )
