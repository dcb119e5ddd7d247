"""What makes a clip: one of some classes in sight, or somebody in a zone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.detections import Detections
from stream.errors import UsageError
from stream.frame import Frame
from stream.sinks.segments import Limit

if TYPE_CHECKING:
    from stream.stages import Job

ZONE_PREFIX = "zone:"
CONFIRM_FRAMES, WINDOW_FRAMES = 3, 5  # seen in so many of the latest ones that were judged
MEMORY_BYTES = 64_000_000
LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Which clips are written, and where.

    Attributes:
        classes: names, one of which is to be seen.
        zones: names, in one of which somebody is to be.
        pre_seconds: before the first sighting.
        post_seconds: after the last one.
        longest_seconds: a longer one goes on in another clip.
        folder: of the clips; made when the first one is.
        memory_bytes: of the packets kept for ``pre_seconds``, at most.
        keep: how old clips may get and how large all of them together; None for all.
        min_free_bytes: that the disk has to have for clips to be written.
    """

    classes: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    pre_seconds: float = 5.0
    post_seconds: float = 10.0
    longest_seconds: float = LONGEST_SECONDS
    folder: Path = Path("clips")
    memory_bytes: int = MEMORY_BYTES
    keep: Limit | None = None
    min_free_bytes: int = 0


def check_clips(
    options: ClipOptions,
    *,
    option: str,
    zones: tuple[str, ...],
    classes: tuple[str, ...] | None,
    hides: bool,
) -> None:
    """Refuse what could never be, or must not be.

    Args:
        options: to check.
        option: they were given with, for messages.
        zones: names of those there are.
        classes: that are reported at all; None for all.
        hides: whether something in the picture is to be hidden.

    Raises:
        UsageError: in a sentence.
    """
    if hides:
        raise UsageError(
            f"{option} copies the picture as it comes and would show what is to be hidden: record "
            "all of it, which hides it."
        )
    for zone in options.zones:
        if zone not in zones:
            known = f"there are {', '.join(zones)}" if zones else "there are none"
            raise UsageError(f"{option}: there is no zone {zone!r}, {known}.")
    for name in options.classes:
        if classes is not None and name not in classes:
            raise UsageError(
                f"{option} {name} waits for what is left out: add {name} to the classes to keep, "
                f"which are {', '.join(classes)}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Of one frame, what counts.

    Attributes:
        seconds: of the frame, in the source's time.
        run: of its packet.
        frame: it.
        found: objects that count; at least one.
        reasons: classes in sight, and zones that somebody is in, as ``zone:NAME``.
    """

    seconds: Fraction
    run: int
    frame: Frame
    found: Detections
    reasons: tuple[str, ...]


class Trigger:
    """Finds in each frame what counts; one thread calls it.

    Args:
        options: what that is.
    """

    def __init__(self, options: ClipOptions) -> None:
        self._classes, self._zones = options.classes, options.zones

    def look(self, job: Job, run: int, seconds: Fraction) -> Sighting | None:
        """What counts in a frame; None if there is nothing."""
        found = job.detections
        assert found is not None
        names, zones_of = found.names(), self._zones_of(job)
        rows = [
            [
                *([name] if name in self._classes else []),
                *(f"{ZONE_PREFIX}{zone}" for zone in self._zones if zone in zones_of(place)),
            ]
            for place, name in enumerate(names)
        ]
        counts = np.array([bool(row) for row in rows], np.bool_)
        if not counts.any():
            return None
        reasons = tuple(dict.fromkeys(reason for row in rows for reason in row))
        frame = replace(job.frame, planes=None)  # as large again as its picture
        return Sighting(seconds, run, frame, found.select(counts), reasons)

    @staticmethod
    def _zones_of(job: Job) -> Callable[[int], list[str]]:
        found, scene = job.detections, job.scene
        if scene is None or found is None or found.track_ids is None:
            return lambda _place: []
        numbers = found.track_ids.tolist()
        return lambda place: scene.zones_of.get(numbers[place], [])


class Confirmation:
    """Waits until something was seen in enough of the latest frames, so that no flicker counts."""

    def __init__(self) -> None:
        self._latest: deque[tuple[int, Fraction, Sighting | None]] = deque(maxlen=WINDOW_FRAMES)

    def note(self, run: int, seconds: Fraction, sighting: Sighting | None) -> None:
        """Take the next frame; another run begins anew."""
        if self._latest and self._latest[-1][0] != run:
            self._latest.clear()
        self._latest.append((run, seconds, sighting))

    @property
    def earliest_seconds(self) -> Fraction:
        """Of the frames that may still turn out to count."""
        return self._latest[0][1]

    def confirmed(self) -> list[Sighting]:
        """The sightings, oldest first, if they are enough; else none."""
        seen = [sighting for _, _, sighting in self._latest if sighting is not None]
        return seen if len(seen) >= CONFIRM_FRAMES else []

    def forget(self) -> None:
        """What was seen belongs to a clip that is over."""
        self._latest.clear()
