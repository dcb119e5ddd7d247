"""What clients send; each class is one schema of the OpenAPI page."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from stream.control.types import Places
from stream.zones import Line, Zone

MOST_PLACES, MOST_CORNERS, MOST_CLASSES = 64, 256, 1000
Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = tuple[Part, Part]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Classes = Annotated[list[Name] | None, Field(min_length=1, max_length=MOST_CLASSES)]  # None: all


class Asked(BaseModel):
    """What a client says: nothing that is not known."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True, populate_by_name=True)


class Login(Asked):
    """Either the token or a user with a password."""

    token: str | None = Field(default=None, max_length=1024)
    user: str = Field(default="", max_length=64)
    password: str = Field(default="", max_length=1024)


class SettingsChange(Asked):
    """What is left out stays as it is; ``classes: null`` is all of them."""

    score: Part | None = None
    classes: list[Name] | None = Field(default=None, max_length=MOST_CLASSES)


class ZoneForm(Asked):
    """An area; its corners are parts of the frame's width and height."""

    name: Name
    polygon: list[Point] = Field(min_length=3, max_length=MOST_CORNERS)
    classes: Classes = None


class LineForm(Asked):
    """A line to cross, in from its left to its right."""

    name: Name
    start: Point = Field(alias="from")
    end: Point = Field(alias="to")
    classes: Classes = None


class ZonesForm(Asked):
    """All zones and lines of a camera."""

    zones: list[ZoneForm] = Field(default=[], max_length=MOST_PLACES)
    lines: list[LineForm] = Field(default=[], max_length=MOST_PLACES)

    @classmethod
    def of(cls, places: Places) -> Self:
        return cls(
            zones=[
                ZoneForm(name=one.name, polygon=list(one.corners), classes=_listed(one.classes))
                for one in places.zones
            ],
            lines=[
                LineForm.model_validate(
                    {
                        "name": one.name,
                        "from": one.start,
                        "to": one.end,
                        "classes": _listed(one.classes),
                    }
                )
                for one in places.lines
            ],
        )

    def places(self) -> Places:
        """As the pipeline has them.

        Raises:
            UsageError: if one is no area, or has no length.
        """
        return Places(
            tuple(Zone(one.name, tuple(one.polygon), _kept(one.classes)) for one in self.zones),
            tuple(Line(one.name, one.start, one.end, _kept(one.classes)) for one in self.lines),
        )


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _kept(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


class RecordingSwitch(Asked):
    """On or off."""

    on: bool


class Offer(Asked):
    """A session description of a browser."""

    sdp: str = Field(min_length=1, max_length=64 * 1024)
    type: Literal["offer"]
