"""Values of ``rcnn-live cameras``' file that need more than a type to be checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stream.errors import UsageError

_CANVAS = re.compile(r"(\d{2,4})x(\d{2,4})")
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096  # px
Point = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]


class Section(BaseModel):
    """A part of the file: its keys are known, its values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _canvas_of(value: Any) -> Any:
    found = _CANVAS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("it has to be HEIGHTxWIDTH in px, such as 360x640")
    sides = int(found[1]), int(found[2])
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides):
        raise ValueError(f"each side has to be {SMALLEST_SIDE} to {LARGEST_SIDE} px")
    return sides


def _area(polygon: list[Point]) -> list[Point]:
    shifted = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    if abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in shifted)) < 1e-9:
        raise ValueError("it has to enclose an area")
    return polygon


def known_model(name: str) -> str:
    """A name in the zoo or the lineage, or a file that was exported."""
    from models.lineage.systems import SYSTEMS  # they import torch, which takes seconds
    from models.runtimes.exported import SUFFIXES
    from models.zoo import model_names

    names = [*model_names(), *SYSTEMS]
    if Path(name).suffix.lower() not in SUFFIXES and name not in names:
        near = difflib.get_close_matches(name, names, n=2) or names[:1]
        raise ValueError(f"there is no such model, did you mean {' or '.join(near)}")
    return name


def one_or_more(value: Any) -> Any:
    """A text alone as a list of one."""
    return (value,) if isinstance(value, str) else value


def as_value_error(check: Callable[[], object]) -> None:
    """What the rest of the program calls wrong usage is a mistake in the file here."""
    try:
        check()
    except UsageError as error:
        sentence = str(error).removeprefix("--events ").removeprefix("publish ")
        raise ValueError(sentence.rstrip(".")) from error


def check_places(text: str) -> None:
    """Only names that will be filled in may stand in braces."""
    for place in re.findall(r"\{[^}]*\}?|\}", text):
        if place not in ("{name}", "{started}"):
            raise ValueError(f"{place} means nothing: allowed are {{name}} and {{started}}")


Polygon = Annotated[list[Point], Field(min_length=3), AfterValidator(_area)]
Canvas = Annotated[tuple[int, int], BeforeValidator(_canvas_of)]
