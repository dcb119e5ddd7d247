"""The shapes world as a source: video whose objects are exactly known."""

from __future__ import annotations

from models.shapes.settings import SOURCE_WORDS, parse_shapes
from models.shapes.world import World
from stream.sources.drawn import Drawn

FRAME_RATE = 25


class Shapes(Drawn):
    """A world of ``models.shapes``, whose ``World(seed, size=size).truth(pts)`` is the truth.

    Args:
        uri: ``shapes`` or ``shapes:seed=7,size=640x480,frames=100,live``.

    Raises:
        UsageError: if it says something else.
    """

    def __init__(self, uri: str) -> None:
        settings = parse_shapes(uri, SOURCE_WORDS)
        super().__init__(
            uri,
            lambda: World(settings.seed, size=settings.size).draw,
            size=settings.size,
            frame_rate=FRAME_RATE,
            frame_count=settings.frames,
            is_live=settings.is_live,
        )
