"""Options of what to follow, count and hide. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from stream.scene import SceneSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def scene_options(command: _Command) -> _Command:
    """``--track``, ``--zone``, ``--line``, ``--blur``, ``--pixelate`` and ``--blur-all-but``."""
    options = (
        click.option("--track", is_flag=True, help="Give objects numbers that last."),
        click.option(
            "--zone",
            "zones",
            multiple=True,
            metavar="NAME=X,Y X,Y …",
            help="Count who is in a polygon, enters and leaves; x and y from 0 to 1. Repeatable.",
        ),
        click.option(
            "--line",
            "lines",
            multiple=True,
            metavar="NAME=X,Y X,Y",
            help="Count who crosses it: in is from its left to its right. Repeatable.",
        ),
        click.option(
            "--blur", metavar="CLASSES", help="Hide them inside their masks, separated by commas."
        ),
        click.option("--pixelate", metavar="CLASSES", help="The same, in squares."),
        click.option("--blur-all-but", metavar="CLASSES", help="Hide everything else."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def scene_of(flags: dict[str, Any]) -> SceneSettings:
    """Take these options out of a command's flags.

    Raises:
        UsageError: if one of them makes no sense.
    """
    from stream.privacy import hiding  # OpenCV and shapely take a moment to import
    from stream.scene import SceneSettings
    from stream.zones import parse_line, parse_zone

    return SceneSettings(
        track=flags.pop("track"),
        zones=tuple(parse_zone(text) for text in flags.pop("zones")),
        lines=tuple(parse_line(text) for text in flags.pop("lines")),
        privacy=hiding(
            blur=_classes(flags.pop("blur")),
            pixelate=_classes(flags.pop("pixelate")),
            blur_all_but=_classes(flags.pop("blur_all_but")),
        ),
    )


def _classes(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()
