"""What is made of a frame's detections before they are drawn and told: tracks, zones, privacy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.detections import Detections
from stream import privacy, tracking
from stream.frame import Frame
from stream.live import Live
from stream.privacy import PrivacySettings
from stream.tracking import Tracker, Trails
from stream.zone_counts import Change, Counts, ZoneCounter
from stream.zones import Line, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSettings:
    """What to follow, count and hide.

    Attributes:
        track: give objects numbers that last.
        zones: to count in; objects are tracked then.
        lines: to count over; the same.
        privacy: what to hide, None for nothing.
    """

    track: bool = False
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    privacy: PrivacySettings | None = None

    @property
    def tracks(self) -> bool:
        """Whether objects are tracked."""
        return self.track or bool(self.zones or self.lines)

    def model_score(self, min_score: float) -> float:
        """From which score on the model has to report objects, for outputs from ``min_score``."""
        lowest = min_score
        if self.tracks:
            lowest = min(lowest, tracking.LOWEST_SCORE)
        if self.privacy is not None:
            lowest = min(lowest, privacy.LOWEST_SCORE)
        return lowest

    def counted_classes(self) -> list[str]:
        """Names that zones and lines speak of."""
        chosen = [zone.classes for zone in self.zones] + [line.classes for line in self.lines]
        return [name for classes in chosen for name in classes or ()]


NO_SCENE = SceneSettings()


@dataclass(frozen=True, slots=True)
class Scene:
    """What tracks and zones say of one frame, beside its detections.

    Attributes:
        trails: way of each object in sight, by track id.
        zones: all there are.
        lines: all there are.
        counts: of both.
        changes: who has gone in or out in this frame.
        zones_of: names of the zones that each object is in, by track id.
    """

    trails: Trails = field(default_factory=lambda: MappingProxyType({}))
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    counts: Counts = field(default_factory=lambda: Counts({}, {}))
    changes: tuple[Change, ...] = ()
    zones_of: dict[int, list[str]] = field(default_factory=dict)


class Follower:
    """Tracks and counts for one camera; ``follow`` is called by one thread.

    Args:
        live: where to count, and the score of objects in the outputs; those that are tracked may
            have less.

    Attributes:
        counter: its ``counts`` may be read by any thread.

    Raises:
        UsageError: if two zones or lines have the same name.
    """

    def __init__(self, live: Live) -> None:
        self._live, self._wanted = live, live.wanted
        self._tracker = Tracker(self._wanted.min_score)
        self.counter = ZoneCounter(self._wanted.zones, self._wanted.lines)

    def follow(self, found: Detections, frame: Frame) -> tuple[Detections, Scene]:
        """The frame's objects with their numbers, and what is to be said of them."""
        if self._live.wanted is not self._wanted:
            self._wanted = self._live.wanted
            self._tracker.min_score = self._wanted.min_score
            self.counter = ZoneCounter(self._wanted.zones, self._wanted.lines, self.counter)
        at_seconds, counter = frame.pts_seconds, self.counter
        tracked = self._tracker.update(found, at_seconds)
        changes = counter.update(tracked, frame.size, at_seconds)
        assert tracked.track_ids is not None
        zones_of = {
            number: names
            for number in tracked.track_ids.tolist()
            if (names := counter.zones_of(number))
        }
        return tracked, Scene(
            self._tracker.trails(),
            counter.zones,
            counter.lines,
            counter.counts,
            changes,
            zones_of,
        )


class Chooser:
    """Leaves out the classes and scores that are not wanted; called by one thread.

    Args:
        class_names: of the model.
        live: what is wanted.
        scene: whose tracker needs objects of lower scores, as long as it knows them.
    """

    def __init__(self, class_names: Sequence[str], live: Live, scene: SceneSettings) -> None:
        self._class_names, self._live, self._scene = class_names, live, scene

    def __call__(self, found: Detections) -> Detections:
        """What is to be kept."""
        wanted = self._live.wanted
        lowest = wanted.min_score
        if self._scene.tracks:
            lowest = self._scene.model_score(lowest)
        keep = found.scores >= lowest
        if wanted.classes is not None:
            keep &= np.isin(found.labels, labels_of(wanted.classes, self._class_names))
        return found if keep.all() else found.select(keep)


def labels_of(classes: Sequence[str], class_names: Sequence[str]) -> npt.NDArray[np.int64]:
    """(K,) indices of these classes among ``class_names``."""
    names = list(class_names)
    return np.array([names.index(name) for name in classes], np.int64)
