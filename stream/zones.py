"""Areas and lines in the picture, as they are written down; ``zone_counts.py`` counts in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from stream.errors import UsageError

Point = tuple[float, float]  # x and y as parts of the picture's width and height


@dataclass(frozen=True, slots=True)
class Zone:
    """An area.

    Attributes:
        name: shown, and written to events.
        corners: of a polygon whose sides do not cross.
        classes: names to count; None for all.

    Raises:
        UsageError: if that is no area.
    """

    name: str
    corners: tuple[Point, ...]
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_points(self.name, self.corners)
        if len(self.corners) < 3:
            raise UsageError(f"The zone {self.name} needs at least 3 corners.")
        polygon = shapely.Polygon(self.corners)
        if not polygon.is_valid or polygon.area < 1e-6:
            raise UsageError(
                f"The zone {self.name} is no area: list its corners in order, so that no side "
                "crosses another."
            )


@dataclass(frozen=True, slots=True)
class Line:
    """A line to cross: ``in`` from its left to its right, for who looks from start to end.

    A line drawn from left to right is crossed ``in`` on the way down the picture.

    Attributes:
        name: shown, and written to events.
        start: one end.
        end: the other.
        classes: names to count; None for all.

    Raises:
        UsageError: if it has no length.
    """

    name: str
    start: Point
    end: Point
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_points(self.name, (self.start, self.end))
        if self.start == self.end:
            raise UsageError(f"The line {self.name} starts where it ends.")


def _check_points(name: str, points: Sequence[Point]) -> None:
    for x, y in points:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise UsageError(
                f"{name} has the point {x:g},{y:g}: both have to be from 0 to 1, parts of the "
                "picture's width and height."
            )


def parse_zone(text: str) -> Zone:
    """A zone from ``name=x,y x,y x,y …``.

    Raises:
        UsageError: if it is none.
    """
    name, points = _parse(text, "--zone", "door=0.1,0.5 0.4,0.5 0.4,1 0.1,1")
    return Zone(name, points)


def parse_line(text: str) -> Line:
    """A line from ``name=x,y x,y``.

    Raises:
        UsageError: if it is none.
    """
    name, points = _parse(text, "--line", "gate=0,0.6 1,0.6")
    if len(points) != 2:
        raise UsageError(f"--line {name} needs a start and an end, not {len(points)} points.")
    return Line(name, *points)


def _parse(text: str, option: str, example: str) -> tuple[str, tuple[Point, ...]]:
    name, _, points = text.partition("=")
    try:
        pairs = [point.split(",") for point in points.split()]
        parsed = tuple((float(x), float(y)) for x, y in pairs)
    except ValueError:
        parsed = ()
    if not name.strip() or not parsed:
        raise UsageError(f"{option} takes NAME=X,Y X,Y …, such as {example!r}, not {text!r}.")
    return name.strip(), parsed
