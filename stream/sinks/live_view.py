"""The newest frame of a camera, for whoever watches it at the moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.frame import Image
from stream.sinks.base import Sink
from stream.sources.status import SourceStatus
from stream.stages import Render

if TYPE_CHECKING:
    from stream.stages import Job

Listener = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame as the sinks got it.

    Attributes:
        number: of the frame in this view, from 1; it goes on when the pipeline begins anew.
        job: kept by the view, so nobody changes it.
    """

    number: int
    job: Job


class LiveView(Sink):
    """Keeps the newest frame and tells those who watch that there is one.

    It outlives a pipeline: a camera that is started again goes on with the same view. While nobody
    watches, a frame costs one assignment, and nothing is drawn for it.

    Args:
        hud_lines: text for the corner of the annotated picture; None for no HUD.
    """

    name = "live"

    def __init__(self, hud_lines: Callable[[], list[str]] | None = None) -> None:
        self._render = Render(hud_lines)
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._newest: LiveFrame | None = None
        self._number = 0

    @property
    def newest(self) -> LiveFrame | None:
        """The latest frame, None before the first; from any thread."""
        return self._newest

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at every frame and every change of the source, until it is taken back.

        It is called by the pipeline's threads: it returns at once and raises nothing.

        Returns:
            what takes it back.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unwatch() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unwatch

    def annotated(self, frame: LiveFrame) -> Image:
        """The picture as other sinks get it, drawn now if none of them wanted it.

        Returns:
            (H,W,3) uint8 RGB; nobody changes it.
        """
        if frame.job.picture is not None:
            return frame.job.picture
        job = replace(frame.job)
        self._render.process(job)
        assert job.picture is not None
        return job.picture

    def write(self, job: Job) -> None:
        # what the model was shown is not needed any more, and as large as the picture
        kept = replace(job, frame=replace(job.frame, planes=None), canvas=None)
        self._number += 1
        self._newest = LiveFrame(self._number, kept)
        self._tell()

    def source_changed(self, status: SourceStatus) -> None:
        self._tell()

    def close(self) -> None:
        """The newest frame stays: it is what was last seen."""
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
