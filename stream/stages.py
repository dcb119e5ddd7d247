"""The stages a frame passes between the source and the sinks, in this order.

No stage knows of threads or queues: ``pipeline.py`` puts each on a thread of its own,
``serial.py`` runs them one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.detections import Detections
from models.runtimes.base import Canvas, Runtime
from stream.frame import Frame, FrameTrace, Image
from stream.live import Live, Wanted
from stream.overlay import draw_trails, draw_zones
from stream.privacy import Privacy
from stream.render import draw_detections, draw_hud
from stream.scene import NO_SCENE, Chooser, Follower, Scene, SceneSettings
from stream.sinks.base import Sink
from stream.sources.base import SourceInfo
from stream.zone_counts import Counts

CAPTURE = "capture"
Choose = Callable[[Detections], Detections]


@dataclass(slots=True, eq=False)
class Job:
    """One frame on its way, owned by one stage at a time.

    Attributes:
        frame: as captured, but for what hide has hidden; its picture is never drawn on.
        trace: when it passed each stage.
        canvas: set by preprocess, cleared by postprocess.
        detections: set by infer in canvas px, brought to source px by postprocess, numbered by
            track.
        scene: set by track; None where nothing tracks.
        picture: the annotated copy, set by render if a sink wants it; else None.
    """

    frame: Frame
    trace: FrameTrace
    canvas: Canvas | None = None
    detections: Detections | None = None
    scene: Scene | None = None
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
        job.canvas = self._runtime.preprocess_decoded(job.frame.image, job.frame.planes)


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
        job.trace.gpu_ms = self._runtime.gpu_ms

    def close(self) -> None:
        self._runtime.close()


class Postprocess(Stage):
    """Bring detections to the source frame and keep what was asked for.

    Args:
        runtime: whose detections they are.
        choose: what to keep; None for all.
    """

    name = "postprocess"

    def __init__(self, runtime: Runtime, choose: Choose | None = None) -> None:
        self._runtime, self._choose = runtime, choose

    def process(self, job: Job) -> None:
        assert job.canvas is not None
        assert job.detections is not None
        job.detections = self._runtime.postprocess(job.detections, job.canvas)
        if self._choose is not None:
            job.detections = self._choose(job.detections)
        job.canvas = None


class Hide(Stage):
    """Give the frame another picture, before anything else sees it.

    Args:
        privacy: what hides; it is shown all that was found.
        choose: what to keep after that.
    """

    name = "hide"

    def __init__(self, privacy: Privacy, choose: Choose) -> None:
        self._privacy, self._choose = privacy, choose

    def process(self, job: Job) -> None:
        assert job.detections is not None
        job.frame = self._privacy.hide(job.frame, job.detections)
        job.detections = self._choose(job.detections)


class Track(Stage):
    """Number the objects and count those in zones.

    Args:
        follower: of this camera.
    """

    name = "track"

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    @property
    def counts(self) -> Counts | None:
        """Of the newest frame; None without zones and lines. From any thread."""
        counter = self._follower.counter
        return counter.counts if counter.zones or counter.lines else None

    def process(self, job: Job) -> None:
        assert job.detections is not None
        job.detections, job.scene = self._follower.follow(job.detections, job.frame)


class Render(Stage):
    """Draw on a copy of the frame.

    Args:
        hud_lines: text for the corner of the picture, asked once a frame; None for no HUD.
        viewers: sinks to draw for, when one of them wants it; None draws every frame.
    """

    name = "render"

    def __init__(
        self,
        hud_lines: Callable[[], list[str]] | None = None,
        viewers: Sequence[Sink] | None = None,
    ) -> None:
        self._hud_lines, self._viewers = hud_lines, viewers

    def process(self, job: Job) -> None:
        if self._viewers is not None and not any(sink.wants_picture for sink in self._viewers):
            return
        assert job.detections is not None
        job.picture = job.frame.image.copy()
        scene = job.scene
        if scene is not None:
            draw_zones(job.picture, scene.zones, scene.lines, scene.counts)
            draw_trails(job.picture, scene.trails)
        draw_detections(job.picture, job.detections)
        if self._hud_lines is not None:
            draw_hud(job.picture, self._hud_lines())


class Emit(Stage):
    """Give the frame to every sink, in order."""

    name = "sinks"

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks

    def open(self, info: SourceInfo) -> None:
        for sink in self.sinks:
            sink.open(info)

    def process(self, job: Job) -> None:
        for sink in self.sinks:
            with job.trace.stage(f"sink {sink.name}"):
                sink.write(job)

    def close(self) -> None:
        """Close every sink; the first error is raised when all are closed."""
        errors: list[Exception] = []
        for sink in self.sinks:
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
    scene: SceneSettings = NO_SCENE,
    min_score: float = 0.0,
    live: Live | None = None,
) -> list[Stage]:
    """The usual stages; without a sink that shows pictures nothing is rendered.

    Args:
        runtime: of the model, which reports objects from ``scene.model_score`` on.
        sinks: in order.
        classes: to keep, None for all; what is hidden is chosen by ``scene`` alone.
        hud_lines: text for the corner of the picture, asked once a frame.
        scene: what to follow, count and hide.
        min_score: of objects in the outputs.
        live: what may change meanwhile, in place of the classes, the zones and the score.

    Raises:
        UsageError: if a class is to be hidden that the model does not have, or two zones have one
            name.
    """
    if live is None:
        kept = None if classes is None else tuple(classes)
        live = Live(Wanted(min_score=min_score, classes=kept, zones=scene.zones, lines=scene.lines))
    choose = Chooser(runtime.class_names, live, scene)
    stages: list[Stage] = [Preprocess(runtime), Infer(runtime)]
    if scene.privacy is None:
        stages.append(Postprocess(runtime, choose))
    else:
        privacy = Privacy(scene.privacy, runtime.class_names)
        stages += [Postprocess(runtime), Hide(privacy, choose)]
    if scene.tracks:
        stages.append(Track(Follower(live)))
    if any(sink.may_want_picture for sink in sinks):
        stages.append(Render(hud_lines, sinks))
    return [*stages, Emit(sinks)]
