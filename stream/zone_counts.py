"""Who is in an area of the picture, and who crosses a line.

An object is where its feet are: the middle of its box's bottom edge. It has changed sides once it
was seen on the other one for ``SETTLE_SECONDS``, so that a box that trembles on a border is not
counted again and again. Only objects with a track number count, each by the class of its track.

For a zone ``entered - left = inside`` always holds, class by class: whoever appears in it has
entered, and whoever was out of sight for ``tracking.LOST_SECONDS`` has left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from models.detections import UNTRACKED, Detections, Floats
from stream.errors import UsageError
from stream.tracking import LOST_SECONDS, feet
from stream.zones import Line, Zone

SETTLE_SECONDS = 0.2
ENTERED, LEFT, IN, OUT = "entered", "left", "in", "out"

Tally = Mapping[str, int]  # class name to how many
Object = tuple[int, str]  # track id and class name


@dataclass(frozen=True, slots=True)
class ZoneTally:
    """What was counted in a zone, by class."""

    inside: Tally
    entered: Tally
    left: Tally


@dataclass(frozen=True, slots=True)
class LineTally:
    """What crossed a line, by class."""

    inwards: Tally
    outwards: Tally


@dataclass(frozen=True, slots=True)
class Counts:
    """All zones and lines at one moment, by name; never changes."""

    zones: Mapping[str, ZoneTally]
    lines: Mapping[str, LineTally]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: ``zones`` with ``inside, entered, left``, ``lines`` with ``in, out``."""
        zones = {
            name: {
                "inside": dict(tally.inside),
                ENTERED: dict(tally.entered),
                LEFT: dict(tally.left),
            }
            for name, tally in self.zones.items()
        }
        lines = {
            name: {IN: dict(tally.inwards), OUT: dict(tally.outwards)}
            for name, tally in self.lines.items()
        }
        return {"zones": zones, "lines": lines}


@dataclass(frozen=True, slots=True)
class Change:
    """One object has gone in or out.

    Attributes:
        at_seconds: presentation time of the frame that settled it.
        place: name of the zone or line.
        kind: ``entered`` or ``left`` a zone, ``in`` or ``out`` over a line.
        track_id: of the object.
        label: its class name.
    """

    at_seconds: float
    place: str
    kind: str
    track_id: int
    label: str


class ZoneCounter:
    """Counts for one camera. One thread updates it; ``counts`` may be read by any.

    Args:
        zones: to count in.
        lines: to count over.
        before: what counted until now: what it has of the same zones and lines goes on.

    Attributes:
        counts: as of the latest frame; replaced as a whole.

    Raises:
        UsageError: if two have the same name.
    """

    def __init__(
        self,
        zones: Sequence[Zone] = (),
        lines: Sequence[Line] = (),
        before: ZoneCounter | None = None,
    ) -> None:
        names = [zone.name for zone in zones] + [line.name for line in lines]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"Two zones or lines are called {name}: give each its own name.")
        self.zones, self.lines = tuple(zones), tuple(lines)
        in_old: dict[Zone, _InZone] = {}
        over_old: dict[Line, _OverLine] = {}
        if before is not None:
            in_old = dict(zip(before.zones, before._zones, strict=True))
            over_old = dict(zip(before.lines, before._lines, strict=True))
        self._zones: list[_InZone] = [in_old.get(zone) or _InZone(zone) for zone in zones]
        self._lines: list[_OverLine] = [over_old.get(line) or _OverLine(line) for line in lines]
        self.counts = self._snapshot()

    def update(
        self, found: Detections, frame_size: tuple[int, int], at_seconds: float
    ) -> tuple[Change, ...]:
        """Count the next frame.

        Args:
            found: with ``track_ids``.
            frame_size: (width, height) px of the frame.
            at_seconds: presentation time, later than that of the frame before.

        Returns:
            what has changed.
        """
        assert found.track_ids is not None, "zones need tracks"
        tracked = found.select(found.track_ids != UNTRACKED)
        assert tracked.track_ids is not None
        points = np.asarray(feet(tracked.boxes) / np.array(frame_size), np.float32)
        objects = list(zip(tracked.track_ids.tolist(), tracked.names(), strict=True))
        places: list[_InZone | _OverLine] = [*self._zones, *self._lines]
        changes = [
            Change(at_seconds, place.name, kind, *which)
            for place in places
            for kind, which in place.update(*_counted(place, objects, points), at_seconds)
        ]
        if changes:
            self.counts = self._snapshot()
        return tuple(changes)

    def zones_of(self, track_id: int) -> list[str]:
        """Names of the zones that an object is in."""
        return [zone.name for zone in self._zones if zone.holds(track_id)]

    def _snapshot(self) -> Counts:
        return Counts(
            {zone.name: zone.tally() for zone in self._zones},
            {line.name: line.tally() for line in self._lines},
        )


def _counted(
    place: _InZone | _OverLine, objects: Sequence[Object], points: Floats
) -> tuple[Sequence[Object], Floats]:
    """Those of the classes that count there."""
    classes = place.classes
    if classes is None:
        return objects, points
    rows = [row for row, (_, label) in enumerate(objects) if label in classes]
    return [objects[row] for row in rows], points[rows]


@dataclass(slots=True)
class _Side:
    """On which side one object is, after it has settled there.

    Attributes:
        is_in: the settled side.
        seen_seconds: when the object was last seen.
        label: its class when it came in.
        point: where it was last seen on the settled side.
        other_since: since when it is seen on the other side; None while it is not.
        has_crossed: whether its way there led over the line.
    """

    is_in: bool
    seen_seconds: float
    label: str
    point: Floats
    other_since: float | None = None
    has_crossed: bool = False

    def settles(self, is_in: bool, at_seconds: float) -> bool:
        """Take a side that was seen; True if the object has changed to it for good."""
        self.seen_seconds = at_seconds
        if is_in == self.is_in:
            self.other_since = None
            return False
        if self.other_since is None:
            self.other_since = at_seconds
        if at_seconds - self.other_since < SETTLE_SECONDS:
            return False
        self.is_in, self.other_since = is_in, None
        return True

    def is_lost(self, at_seconds: float) -> bool:
        return at_seconds - self.seen_seconds > LOST_SECONDS


class _InZone:
    """Everybody towards one zone."""

    def __init__(self, zone: Zone) -> None:
        self.name, self.classes = zone.name, zone.classes
        self._polygon = shapely.Polygon(zone.corners)
        shapely.prepare(self._polygon)
        self._sides: dict[int, _Side] = {}
        self._entered: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def update(
        self, objects: Sequence[Object], points: Floats, at_seconds: float
    ) -> Iterator[tuple[str, Object]]:
        is_in: npt.NDArray[np.bool_] = shapely.intersects_xy(self._polygon, points)
        for (track_id, label), point, is_inside in zip(objects, points, is_in, strict=True):
            side = self._sides.setdefault(track_id, _Side(False, at_seconds, label, point))
            if side.settles(bool(is_inside), at_seconds):
                if side.is_in:
                    side.label = label
                yield self._count(track_id, side)
        for track_id in [one for one, side in self._sides.items() if side.is_lost(at_seconds)]:
            side = self._sides.pop(track_id)
            if side.is_in:
                side.is_in = False
                yield self._count(track_id, side)

    def _count(self, track_id: int, side: _Side) -> tuple[str, Object]:
        (self._entered if side.is_in else self._left)[side.label] += 1
        return ENTERED if side.is_in else LEFT, (track_id, side.label)

    def holds(self, track_id: int) -> bool:
        return track_id in self._sides and self._sides[track_id].is_in

    def tally(self) -> ZoneTally:
        inside = self._entered - self._left
        return ZoneTally(dict(inside), dict(self._entered), dict(self._left))


class _OverLine:
    """Everybody towards one line; who is right of it is in."""

    def __init__(self, line: Line) -> None:
        self.name, self.classes = line.name, line.classes
        self._start, self._along = np.array(line.start), np.subtract(line.end, line.start)
        self._line = shapely.LineString([line.start, line.end])
        self._sides: dict[int, _Side] = {}
        self._inwards: Counter[str] = Counter()
        self._outwards: Counter[str] = Counter()

    def update(
        self, objects: Sequence[Object], points: Floats, at_seconds: float
    ) -> Iterator[tuple[str, Object]]:
        x, y = (points - self._start).T
        is_right = self._along[0] * y - self._along[1] * x > 0  # y points down
        for (track_id, label), point, is_in in zip(objects, points, is_right.tolist(), strict=True):
            side = self._sides.setdefault(track_id, _Side(is_in, at_seconds, label, point))
            has_settled = side.settles(is_in, at_seconds)
            if side.other_since == at_seconds:
                way = shapely.LineString([side.point, point])
                side.has_crossed = bool(shapely.intersects(self._line, way))
            elif is_in == side.is_in:
                side.point = point
            if has_settled and side.has_crossed:
                (self._inwards if is_in else self._outwards)[label] += 1
                yield IN if is_in else OUT, (track_id, label)
        for track_id in [one for one, side in self._sides.items() if side.is_lost(at_seconds)]:
            del self._sides[track_id]

    def tally(self) -> LineTally:
        return LineTally(dict(self._inwards), dict(self._outwards))
