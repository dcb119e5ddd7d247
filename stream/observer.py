"""What may be told about a running pipeline, beside its frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.frame import Frame
from stream.sources.status import SourceStatus


@dataclass(frozen=True, slots=True)
class ClipChange:
    """A clip was begun or has ended.

    Attributes:
        state: ``started`` or ``ended``.
        wall_time: UTC seconds since 1970 of its first picture, or of its end.
        facts: JSON-ready, as ``event.schema.json`` says.
    """

    state: str
    wall_time: float
    facts: Mapping[str, Any]


class Observer:
    """Learns of what happens to a source and to frames that get nowhere.

    The methods are called by whichever thread it happens on, at any time between ``start`` and
    the end of the pipeline: they return at once, raise nothing and are safe to call from several
    threads. None of them has to be implemented.
    """

    def source_changed(self, status: SourceStatus) -> None:
        """A live source was connected, lost, or tried again."""

    def frame_dropped(self, frame: Frame, stage: str, reason: str) -> None:
        """A frame was given up on its way into ``stage``."""

    def clip_changed(self, change: ClipChange) -> None:
        """A clip of an event was begun or has ended; its file is there."""
