"""How the one camera of ``rcnn-live run`` joins the controls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from models.paths import state_folder
from stream.clip_options import clip_name
from stream.control.camera import CameraControl, CameraParts
from stream.control.controls import Controls
from stream.control.library import Place
from stream.control.options import recordings_folder
from stream.control.types import Places
from stream.control.zone_store import ZoneStore
from stream.errors import UsageError
from stream.live import Wanted
from stream.metrics import Meter
from stream.monitor.snapshot import CameraSnapshot
from stream.redact import redact
from stream.sinks.switched_recording import SwitchedRecording

if TYPE_CHECKING:
    from stream.run import RunSettings


def controls_of_run(settings: RunSettings) -> Controls | None:
    """None if nothing is served.

    Zones that are drawn are kept for the next run of the same source.

    Raises:
        UsageError: if there can be no recordings where they are wanted.
    """
    if settings.serve is None:
        if settings.recordings is not None:
            raise UsageError("--recordings is for the live page: give --serve, too.")
        return None
    key = hashlib.sha256(settings.source.encode()).hexdigest()[:12]
    zones = state_folder() / "zones" / f"{camera_name(settings.source)}-{key}.yaml"
    return Controls(recordings_folder(settings.recordings, Path()), ZoneStore(zones))


def control_run(
    controls: Controls,
    settings: RunSettings,
    *,
    hud_lines: Callable[[], list[str]],
    snapshot: Callable[[], CameraSnapshot],
    meter: Meter,
) -> CameraControl:
    """Control the camera of a run.

    Args:
        controls: to join.
        settings: of the run.
        hud_lines: text for the corner of the picture, if the settings want it.
        snapshot: tells its figures; from any thread.
        meter: of its pipeline.

    Raises:
        UsageError: if the zones that were drawn before cannot be read.
    """
    name, options, record = camera_name(settings.source), settings.recording, settings.record
    numbers = count()

    def next_path() -> Path:
        is_first = next(numbers) == 0
        if record is not None and (is_first or options.segment is not None):
            return record
        return controls.recordings.next_path(name, options)

    drawn = controls.zones.places(name, Places(settings.scene.zones, settings.scene.lines))
    clips = settings.clips
    templates = [record, None if clips is None else clips.folder / f"{name}.mp4"]
    places = [Place.of_template(name, str(one)) for one in templates if one is not None]
    parts = CameraParts(
        name=name,
        source=redact(settings.source),
        model=settings.model,
        wanted=Wanted(
            min_score=settings.min_score,
            classes=settings.classes,
            zones=drawn.zones,
            lines=drawn.lines,
        ),
        recording=SwitchedRecording(
            next_path,
            options,
            is_on=record is not None,
            is_threaded=not settings.single_thread,
        ),
        hud_lines=hud_lines if settings.hud else None,
        snapshot=snapshot,
        meter=meter,
        save=lambda drawn: controls.zones.save(name, drawn),
    )
    return controls.add(parts, [place for place in places if place is not None])


def camera_name(source: str) -> str:
    """A name that may be one in cameras.yaml: of the host, or of the file."""
    return clip_name(source).lstrip("_") or "camera"
