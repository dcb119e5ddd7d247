"""One clip: what is in it, and what is told of it."""

from __future__ import annotations

import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream.frame import Image, iso_utc
from stream.render import draw_detections
from stream.sinks.clip_trigger import Sighting
from stream.sinks.kept_packet import Cut, KeptPacket
from stream.sinks.remux import KeptStreams

DESCRIPTION_SUFFIX, THUMBNAIL_SUFFIX = ".json", ".jpg"  # after the clip's own name
THUMBNAIL_SIDE = 480  # px of the longer side
JPEG_QUALITY = 85


class Clip:
    """Grows on the sink's thread while it is written by another.

    Args:
        cut: what it takes of the ring.
        first: the packet it begins with.
        kept: what its file is made of.
        wall_zero: UTC seconds since 1970 of the source's time 0.

    Attributes:
        path: None until it is known.
    """

    def __init__(self, cut: Cut, first: KeptPacket, kept: KeptStreams, wall_zero: float) -> None:
        self.cut, self.first, self.kept = cut, first, kept
        self.path: Path | None = None
        self._wall_zero = wall_zero
        self._lock = threading.Lock()
        self._event_seconds: Fraction | None = None
        self._sightings = 0
        self._reasons: dict[str, None] = {}
        self._scores: dict[str, float] = {}
        self._most: Counter[str] = Counter()
        self._tracks: dict[str, set[int]] = {}
        self._best: Sighting | None = None

    @property
    def begin_wall_time(self) -> float:
        """UTC seconds since 1970 of its first picture."""
        return self.wall_time_of(self.first.shown_seconds)

    def wall_time_of(self, seconds: Fraction) -> float:
        """UTC seconds since 1970 of a moment in the source's time."""
        return self._wall_zero + float(seconds)

    def see(self, sighting: Sighting) -> None:
        """Add what was seen in one more of its frames."""
        found = sighting.found
        with self._lock:
            if self._event_seconds is None:
                self._event_seconds = sighting.seconds
            self._sightings += 1
            self._reasons |= dict.fromkeys(sighting.reasons)
            names = found.names()
            for name, score in zip(names, found.scores.tolist(), strict=True):
                self._scores[name] = max(score, self._scores.get(name, 0.0))
            self._most |= Counter(names)
            if found.track_ids is not None:
                for name, number in zip(names, found.track_ids.tolist(), strict=True):
                    if number > 0:
                        self._tracks.setdefault(name, set()).add(number)
            if self._best is None or found.scores.max() > self._best.found.scores.max():
                self._best = sighting

    def facts(self, end: Fraction | None = None) -> dict[str, Any]:
        """JSON-ready; ``event.schema.json`` says what is in it.

        Args:
            end: of its last picture, in the source's time; None while it is written.
        """
        assert self.path is not None
        begin = self.first.shown_seconds
        with self._lock:
            best = self._best
            facts: dict[str, Any] = {
                "clip": self.path.stem,
                "video": self.path.name,
                "start": iso_utc(self.begin_wall_time),
                "reasons": list(self._reasons),
                "classes": {
                    name: {
                        "best_score": round(score, 4),
                        "most_at_once": self._most[name],
                        "track_ids": sorted(self._tracks.get(name, ())),
                    }
                    for name, score in self._scores.items()
                },
                "sightings": self._sightings,
            }
            if self._event_seconds is not None:
                facts["event_seconds"] = round(float(self._event_seconds - begin), 3)
            if best is not None:
                facts["best_score"] = round(float(best.found.scores.max()), 4)
                facts["best_seconds"] = round(float(best.seconds - begin), 3)
        if end is not None:
            facts["end"] = iso_utc(self.wall_time_of(end))
            facts["seconds"] = round(float(end - begin), 3)
            facts["missed_packets"] = self.cut.missed
        return facts

    def thumbnail(self) -> bytes | None:
        """The best frame as JPEG; None without any."""
        with self._lock:
            best = self._best
        if best is None:
            return None
        picture = best.frame.image.copy()
        draw_detections(picture, best.found)
        return _jpeg(picture)


def _jpeg(picture: Image) -> bytes:
    height, width = picture.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(small[..., ::-1])
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def beside(path: Path, suffix: str) -> Path:
    """The file of this kind that belongs to a clip."""
    return path.with_name(path.name + suffix)
