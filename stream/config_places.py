"""Zones and lines as they stand in a file: corners alone, or with the classes that count there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from stream.config_values import Point, Polygon, Section
from stream.zones import Line, Zone

_PLAIN, _FULL = "[plain]", "[full]"  # in brackets, so that no message names them
Classes = Annotated[tuple[str, ...], Field(min_length=1)]


class ZoneForm(Section):
    """A zone that does not count every class.

    Attributes:
        corners: of a polygon, [x, y] as parts of width and height.
        classes: that count; None for all.
    """

    corners: Polygon
    classes: Classes | None = None


class LineForm(Section):
    """A line that does not count every class.

    Attributes:
        start: one end, [x, y] as parts of width and height.
        end: the other.
        classes: that count; None for all.
    """

    start: Point
    end: Point
    classes: Classes | None = None


def _form(value: Any) -> str:
    return _FULL if isinstance(value, Mapping | Section) else _PLAIN


Zones = dict[
    str,
    Annotated[
        Annotated[Polygon, Tag(_PLAIN)] | Annotated[ZoneForm, Tag(_FULL)], Discriminator(_form)
    ],
]
Lines = dict[
    str,
    Annotated[
        Annotated[tuple[Point, Point], Tag(_PLAIN)] | Annotated[LineForm, Tag(_FULL)],
        Discriminator(_form),
    ],
]


def zones_in(forms: Zones) -> tuple[Zone, ...]:
    """What the forms mean.

    Raises:
        UsageError: if one is no area.
    """
    return tuple(
        Zone(name, tuple(form.corners), form.classes)
        if isinstance(form, ZoneForm)
        else Zone(name, tuple(form))
        for name, form in forms.items()
    )


def lines_in(forms: Lines) -> tuple[Line, ...]:
    """What the forms mean.

    Raises:
        UsageError: if one has no length.
    """
    return tuple(
        Line(name, form.start, form.end, form.classes)
        if isinstance(form, LineForm)
        else Line(name, *form)
        for name, form in forms.items()
    )


class PlacesForm(Section):
    """All zones and lines of one camera.

    Attributes:
        zones: by name.
        lines: by name.
    """

    zones: Zones = Field(default_factory=dict)
    lines: Lines = Field(default_factory=dict)

    @classmethod
    def of(cls, zones: Sequence[Zone], lines: Sequence[Line]) -> PlacesForm:
        """The form of zones and lines, as short as it may be."""
        return cls(
            zones={
                zone.name: list(zone.corners)
                if zone.classes is None
                else ZoneForm(corners=list(zone.corners), classes=zone.classes)
                for zone in zones
            },
            lines={
                line.name: (line.start, line.end)
                if line.classes is None
                else LineForm(start=line.start, end=line.end, classes=line.classes)
                for line in lines
            },
        )
