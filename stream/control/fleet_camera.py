"""How a camera of cameras.yaml joins the controls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream.camera_files import file_of, unused_file_of
from stream.config import CameraSettings
from stream.control.camera import CameraControl, CameraParts
from stream.control.controls import Controls
from stream.control.library import Place
from stream.control.types import Places
from stream.live import Wanted
from stream.metrics import Meter
from stream.monitor.snapshot import CameraSnapshot
from stream.redact import redact
from stream.sinks.switched_recording import SwitchedRecording


def control_camera(
    controls: Controls,
    name: str,
    settings: CameraSettings,
    *,
    hud_lines: Callable[[], list[str]],
    snapshot: Callable[[], CameraSnapshot],
    meter: Meter,
    save: Callable[[Places], None],
) -> CameraControl:
    """Control a camera from now on, in place of one of its name.

    Args:
        controls: of all cameras.
        name: of the camera.
        settings: of the camera.
        hud_lines: text for the corner of the picture, if the settings want it.
        snapshot: tells its figures; from any thread.
        meter: of its pipelines.
        save: stores what was drawn for the next run.
    """
    scene, options = settings.scene(), settings.recording()

    def next_path() -> Path:
        if settings.record is None:
            return controls.recordings.next_path(name, options)
        return (unused_file_of if options.segment is None else file_of)(settings.record, name)

    clips = settings.record_on
    templates = [settings.record, None if clips is None else f"{clips.folder}/{{name}}.mp4"]
    places = [Place.of_template(name, one) for one in templates if one is not None]
    parts = CameraParts(
        name=name,
        source=redact(settings.source),
        model=settings.model,
        wanted=Wanted(
            min_score=settings.score,
            classes=settings.classes,
            zones=scene.zones,
            lines=scene.lines,
        ),
        recording=SwitchedRecording(next_path, options, is_on=settings.record is not None),
        hud_lines=hud_lines if settings.hud else None,
        snapshot=snapshot,
        meter=meter,
        save=save,
    )
    return controls.add(parts, [place for place in places if place is not None])
