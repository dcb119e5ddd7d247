"""A camera under control: a real pipeline over a drawn source, and a model that costs nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from pieces import NumberedSource

from models.detections import Detections
from models.letterbox import Letterbox
from models.runtimes.base import Canvas, Runtime
from stream.control.camera import CameraControl, CameraParts
from stream.control.controls import Controls
from stream.control.types import Places
from stream.control.zone_store import ZoneStore
from stream.live import Wanted
from stream.monitor.snapshot import Accounts, CameraSnapshot, status_of
from stream.scene import SceneSettings
from stream.sinks.base import Sink
from stream.sinks.segments import RecordingOptions
from stream.sinks.switched_recording import SwitchedRecording
from stream.sources.base import FrameSource
from stream.stages import Job, build_stages
from stream.threaded import ThreadedPipeline

CLASS_NAMES = ("__background__", "person", "dog", "cat")
PERSON, DOG = 0.9, 0.4  # scores
Found = TypeVar("Found")


class TwoObjects(Runtime):
    """Finds a person on the left, of score 0.9, and a dog on the right, of 0.4; both stand still.

    Args:
        count: of frames in which they are; None for all.
        holds_at: wait for ``release`` at this frame.
    """

    name, device, precision = "test", "cpu", "fp32"
    model_name, class_names = "two_objects", CLASS_NAMES

    def __init__(self, count: int | None = None, *, holds_at: int | None = None) -> None:
        self.count, self.holds_at, self.seen = count, holds_at, 0
        self.release = threading.Event()

    def preprocess(self, image: np.ndarray) -> Canvas:
        size = image.shape[1], image.shape[0]
        return Canvas(image, Letterbox(size, size))

    def infer(self, canvas: Canvas) -> Detections:
        if self.seen == self.holds_at:
            assert self.release.wait(60)
        self.seen += 1
        size = 0 if self.count is not None and self.seen > self.count else 2
        return Detections(
            boxes=np.array([[4, 8, 24, 40], [40, 20, 60, 44]], np.float32)[:size],
            labels=np.array([1, 2], np.int64)[:size],
            scores=np.array([PERSON, DOG], np.float32)[:size],
            class_names=CLASS_NAMES,
            masks=np.ones((size, 28, 28), np.float32),
        )

    def close(self) -> None:
        pass


class Names(Sink):
    """Keeps the classes of every frame that came, and whether it was drawn."""

    name = "names"

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []
        self.drawn: list[bool] = []

    def write(self, job: Job) -> None:
        assert job.detections is not None
        self.rows.append(tuple(job.detections.names()))
        self.drawn.append(job.picture is not None)

    def close(self) -> None:
        pass


@dataclass
class Controlled:
    """What a test holds of a running camera."""

    controls: Controls
    camera: CameraControl
    pipeline: ThreadedPipeline
    names: Names


def controls_in(folder: Path) -> Controls:
    """Everything below one folder."""
    return Controls(folder / "recordings", ZoneStore(folder / "cameras.zones.yaml"))


def join(
    controls: Controls,
    accounts: Accounts,
    snapshot: Callable[[], CameraSnapshot],
    *,
    is_recording: bool = False,
    options: RecordingOptions | None = None,
) -> CameraControl:
    """Control a camera called ``door``."""
    options = options or RecordingOptions()
    controls.zones.places("door", Places())
    recording = SwitchedRecording(
        lambda: controls.recordings.next_path("door", options), options, is_on=is_recording
    )
    parts = CameraParts(
        name="door",
        source="rtsp://***@camera/stream",
        model="two_objects",
        wanted=Wanted(min_score=0.3),
        recording=recording,
        hud_lines=None,
        snapshot=snapshot,
        meter=accounts.meter,
        save=lambda places: controls.zones.save("door", places),
    )
    camera = controls.add(parts)
    camera.meet(CLASS_NAMES)
    return camera


def pipeline_of(
    camera: CameraControl, source: FrameSource, runtime: Runtime, accounts: Accounts, names: Names
) -> ThreadedPipeline:
    """A pipeline of the camera; a camera that is started again gets another."""
    camera.recording.prepare()
    sinks = [camera.recording, *camera.sinks(), names]
    return ThreadedPipeline(
        source,
        build_stages(runtime, sinks, scene=SceneSettings(track=True), live=camera.live),
        meter=accounts.meter,
        ledger=accounts.ledger,
        observers=sinks,
    )


@contextmanager
def controlled(
    folder: Path,
    source: FrameSource | None = None,
    runtime: Runtime | None = None,
    *,
    is_recording: bool = False,
    options: RecordingOptions | None = None,
) -> Iterator[Controlled]:
    """A running camera; by default an endless one of 50 frames a second."""
    controls, accounts, names = controls_in(folder), Accounts(), Names()
    running: list[ThreadedPipeline] = []

    def snapshot() -> CameraSnapshot:
        return CameraSnapshot.of("door", status_of(running[0]), replace(accounts), running[0])

    camera = join(controls, accounts, snapshot, is_recording=is_recording, options=options)
    source = source or NumberedSource(None, is_live=True, period_seconds=0.02)
    running.append(pipeline_of(camera, source, runtime or TwoObjects(), accounts, names))
    try:
        with running[0]:
            yield Controlled(controls, camera, running[0], names)
        running[0].finish()
    finally:
        controls.close()


def wait_for(look: Callable[[], Found], seconds: float = 60.0) -> Found:
    """What is there at last; asserts that it comes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
    return found
