"""What was found in each frame, one JSON line a frame, the same in every run over the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.events.schema import EventForm
from stream.observer import ClipChange
from stream.sinks.base import Sink
from stream.sinks.json_lines import JsonLines
from stream.sinks.rotation import Rotation
from stream.sources.base import SourceInfo
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.stages import Job


class EventLog(Sink):
    """Writes one line a frame, and one at each change of a live source.

    ``stream/events/event.schema.json`` says what is in them: of a frame ``source``, ``index``,
    ``pts_seconds``, ``size`` and ``detections``, and of a live source's also ``time``.

    Args:
        target: a path, or ``-`` for standard output.
        masks: add each mask.
        source: its name, for changes before it is open.
        rotation: when the file is put aside for a new one; None for never.
    """

    name = "events"

    def __init__(
        self,
        target: str,
        *,
        masks: bool = False,
        source: str | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        self._lines = JsonLines(target, "--events", rotation)
        self._form = EventForm(masks=masks, source=source)

    def open(self, info: SourceInfo) -> None:
        self._form.open(info)

    def source_changed(self, status: SourceStatus) -> None:
        self._lines.note(self._form.of_source(status))

    def clip_changed(self, change: ClipChange) -> None:
        self._lines.note(self._form.of_clip(change))

    def write(self, job: Job) -> None:
        self._lines.write(self._form.of_frame(job))

    def close(self) -> None:
        self._lines.close()
