"""The stages a frame passes between the source and the sinks, in this order.

No stage knows of threads or queues: ``pipeline.py`` puts each on a thread of its own,
``serial.py`` runs them one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.detections import Detections
from models.runtimes.base import Canvas, Runtime
from stream.frame import Frame, FrameTrace, Image
from stream.render import draw_detections, draw_hud
from stream.sinks.base import Sink
from stream.sources.base import SourceInfo

CAPTURE = "capture"


@dataclass(slots=True, eq=False)
class Job:
    """One frame on its way, owned by one stage at a time.

    Attributes:
        frame: as captured; its picture is never drawn on.
        trace: when it passed each stage.
        canvas: set by preprocess, cleared by postprocess.
        detections: set by infer in canvas px, brought to source px by postprocess.
        picture: the annotated copy, set by render if a sink wants it.
    """

    frame: Frame
    trace: FrameTrace
    canvas: Canvas | None = None
    detections: Detections | None = None
    picture: Image | None = None


class Stage(ABC):
    """One step of the way. All methods are called by one thread."""

    name: str

    def open(self, info: SourceInfo) -> None:
        """Get ready; called once, before the first frame."""

    @abstractmethod
    def process(self, job: Job) -> None:
        """Do this stage's work on one frame."""

    def close(self) -> None:
        """Finish; called once, whatever happened."""


class Preprocess(Stage):
    """Resize and lay out the frame for the model."""

    name = "preprocess"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def process(self, job: Job) -> None:
        job.canvas = self._runtime.preprocess(job.frame.image)


class Infer(Stage):
    """Run the model."""

    name = "model"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def open(self, info: SourceInfo) -> None:
        self._runtime.warm_up((info.width, info.height))

    def process(self, job: Job) -> None:
        assert job.canvas is not None
        job.detections = self._runtime.infer(job.canvas)

    def close(self) -> None:
        self._runtime.close()


class Postprocess(Stage):
    """Bring detections to the source frame and keep what was asked for.

    Args:
        runtime: whose detections they are.
        classes: class names to keep, or None for all.
    """

    name = "postprocess"

    def __init__(self, runtime: Runtime, classes: Sequence[str] | None = None) -> None:
        self._runtime = runtime
        self._labels = (
            None
            if classes is None
            else np.array([runtime.class_names.index(name) for name in classes])
        )

    def process(self, job: Job) -> None:
        assert job.canvas is not None
        assert job.detections is not None
        job.detections = self._runtime.postprocess(job.detections, job.canvas)
        if self._labels is not None:
            job.detections = job.detections.select(np.isin(job.detections.labels, self._labels))
        job.canvas = None


class Render(Stage):
    """Draw on a copy of the frame.

    Args:
        hud_lines: text for the corner of the picture, asked once a frame; None for no HUD.
    """

    name = "render"

    def __init__(self, hud_lines: Callable[[], list[str]] | None = None) -> None:
        self._hud_lines = hud_lines

    def process(self, job: Job) -> None:
        assert job.detections is not None
        job.picture = job.frame.image.copy()
        draw_detections(job.picture, job.detections)
        if self._hud_lines is not None:
            draw_hud(job.picture, self._hud_lines())


class Emit(Stage):
    """Give the frame to every sink, in order."""

    name = "sinks"

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def open(self, info: SourceInfo) -> None:
        for sink in self._sinks:
            sink.open(info)

    def process(self, job: Job) -> None:
        for sink in self._sinks:
            with job.trace.stage(f"sink {sink.name}"):
                sink.write(job)

    def close(self) -> None:
        """Close every sink; the first error is raised when all are closed."""
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - the other sinks must be closed first
                errors.append(error)
        if errors:
            raise errors[0]


def build_stages(
    runtime: Runtime,
    sinks: Sequence[Sink],
    *,
    classes: Sequence[str] | None = None,
    hud_lines: Callable[[], list[str]] | None = None,
) -> list[Stage]:
    """The usual stages; without a sink that shows pictures nothing is rendered."""
    stages: list[Stage] = [Preprocess(runtime), Infer(runtime), Postprocess(runtime, classes)]
    if any(sink.wants_picture for sink in sinks):
        stages.append(Render(hud_lines))
    return [*stages, Emit(sinks)]
