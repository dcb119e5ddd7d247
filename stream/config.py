"""The file that ``rcnn-live cameras`` reads: which cameras, which models, what to keep.

    # cameras.yaml; relative paths start at this file's folder
    secrets: secrets.yaml         # NAME: value, a line each; nobody else may read it (chmod 600)
    batch_wait_ms: 10             # how long a model waits for frames of other cameras
    metrics: {port: 9100}         # Prometheus at /metrics, and /healthz, /readyz

    defaults:                     # for every camera that does not say otherwise
      score: 0.6
      record: recordings/{name}-{started}.mp4

    cameras:
      door:
        source: rtsp://admin:${DOOR_PASSWORD}@10.0.0.5/stream
        zones:
          step: [[0.1, 0.6], [0.9, 0.6], [0.9, 1.0], [0.1, 1.0]]
      yard:
        source: rtsp://10.0.0.6/stream
        model: maskrcnn_resnet50_fpn
        classes: [person, dog]
        events: events/{name}.jsonl

``${NAME}`` in any value is taken from the secrets file or else from the environment; in the user or
password of a URL it is escaped, so write it down as it is. Every field of ``Config`` and of
``CameraOptions`` below is a key.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from models.options import PRECISIONS, RUNTIMES
from stream.config_clips import RecordOn
from stream.config_places import Lines, Zones, lines_in, zones_in
from stream.config_publish import PublishTargets
from stream.config_values import (
    LARGEST_SIDE,
    SMALLEST_SIDE,
    Canvas,
    Section,
    as_value_error,
    check_places,
    known_model,
    one_or_more,
)
from stream.events.receivers import create_deliverer
from stream.events.target import is_target
from stream.privacy import hiding
from stream.scene import SceneSettings
from stream.sinks.clip_trigger import check_clips
from stream.sinks.qualities import AUTO, ENCODERS, MEDIUM, QUALITIES
from stream.sinks.rotation import Rotation
from stream.sinks.segments import RecordingOptions
from stream.sources.options import SourceOptions
from stream.web.settings import ServeSettings

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


class Metrics(Section):
    """Where Prometheus and health checks look.

    Attributes:
        port: of HTTP.
        host: to listen on; only this machine can ask unless it is another one.
    """

    port: int = Field(ge=1, le=65535)
    host: str = "127.0.0.1"


class Reconnect(Section):
    """How a live source is opened again.

    Attributes:
        first_seconds: the first wait; every further one is twice as long.
        longest_seconds: no wait is longer.
    """

    first_seconds: float = Field(default=0.5, gt=0, le=3600)
    longest_seconds: float = Field(default=30.0, gt=0, le=3600)


class CameraOptions(Section):
    """What may be said of a camera, and of all in ``defaults``.

    Attributes:
        model: as ``rcnn-live run --model``.
        weights: a local file for the model.
        runtime: what computes.
        device: where.
        precision: of the arithmetic.
        threads: to compute on; 0 for all cores.
        canvas: HEIGHTxWIDTH px that the model sees; by default what suits the camera's frames.
        canvas_side: only its shorter side.
        score: objects the model is less sure of are left out.
        classes: these only.
        record: an annotated video. ``{name}`` is the camera's, ``{started}`` the time in UTC. A
            file that is there is never overwritten: the next gets a number.
        segment: begin a new file every 10m, 1h or 500MB, with its time in its name; ``record``
            then has no ``{started}``.
        record_on: clips of the source's own packets while somebody is in sight.
        keep: remove old segments and clips: ``7d``, ``50GB`` or ``7d,50GB``.
        min_free: recordings stop while the disk has less left, such as ``2GB``.
        encoder: of the recording, as ``rcnn-live run --encoder``.
        quality: of the recording.
        sidecar: write what was found beside each file, as ``FILE.mp4.jsonl``.
        sound: record the source's sound, where there is any.
        events: what was found, in one place or a list of them, each as ``rcnn-live run --events``:
            files, named as ``record``; - for standard output; URLs to deliver to, where ``{name}``
            is the camera's, too.
        publish: where others can watch, in one place or a list of them, each as ``rcnn-live run
            --publish``; ``{name}`` is the camera's.
        rotate_events: when files of JSON lines are begun anew, as ``100M,1d,keep=7``.
        event_masks: add each mask to the events.
        hud: write FPS, latency and drops on the picture.
        track: give objects numbers that last.
        zones: name to the corners of a polygon, [x, y] as parts of width and height; who is in it,
            enters and leaves is counted; or {corners, classes} to count these only. Zones and
            lines make it track.
        lines: name to start and end, or {start, end, classes}; ``in`` is from its left to its
            right.
        blur: classes to hide inside their masks.
        pixelate: the same, in squares.
        blur_all_but: classes that are not hidden; everything else is.
        max_age_ms: frames that would be older when they are done are dropped.
        rtsp_transport: udp is for cameras that speak nothing else.
        open_timeout_seconds: how long it may take until the first frame.
        read_timeout_seconds: how long it may be silent.
        input_options: for FFmpeg, as they are.
        reconnect: how a live source is opened again.
    """

    model: Annotated[str, AfterValidator(known_model)] = "mask_rcnn_person"
    weights: Path | None = None
    runtime: Literal[RUNTIMES] = "auto"  # type: ignore[valid-type]  # one list, for both
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal[PRECISIONS] = "auto"  # type: ignore[valid-type]
    threads: int = Field(default=0, ge=0)
    canvas: Canvas | None = None
    canvas_side: int | None = Field(default=None, ge=SMALLEST_SIDE, le=LARGEST_SIDE)
    score: float = Field(default=0.5, ge=0, le=1)
    classes: tuple[str, ...] | None = Field(default=None, min_length=1)
    record: str | None = None
    record_on: RecordOn | None = None
    segment: str | None = None
    keep: str | None = None
    min_free: str | None = None
    encoder: Literal[ENCODERS] = AUTO  # type: ignore[valid-type]
    quality: Literal[QUALITIES] = MEDIUM  # type: ignore[valid-type]
    sidecar: bool = False
    sound: bool = True
    events: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(default=(), repr=False)
    publish: PublishTargets = Field(default=(), repr=False)
    rotate_events: str | None = None
    event_masks: bool = False
    hud: bool = True
    track: bool = False
    zones: Zones = Field(default_factory=dict)
    lines: Lines = Field(default_factory=dict)
    blur: tuple[str, ...] = ()
    pixelate: tuple[str, ...] = ()
    blur_all_but: tuple[str, ...] = ()
    max_age_ms: float | None = Field(default=None, gt=0)
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    read_timeout_seconds: float = Field(default=2.0, gt=0, le=3600)
    input_options: dict[str, str] = Field(default_factory=dict)
    reconnect: Reconnect = Reconnect()

    @field_validator("events")
    @classmethod
    def _are_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            check_places(target)
            if is_target(target):
                as_value_error(partial(create_deliverer, target, "any"))
        return targets

    @field_validator("rotate_events")
    @classmethod
    def _is_rotation(cls, value: str | None) -> str | None:
        if value is not None:
            as_value_error(partial(Rotation.parse, value, "rotate_events"))
        return value

    @field_validator("record")
    @classmethod
    def _is_video(cls, value: str | None) -> str | None:
        check_places(value or "")
        suffixes = (".mp4", ".m4v", ".mov", ".mkv")
        if value is not None and not value.lower().endswith(suffixes):
            raise ValueError(f"it has to end in {', '.join(suffixes)}")
        return value

    @model_validator(mode="after")
    def _one_canvas(self) -> Self:
        if self.canvas is not None and self.canvas_side is not None:
            raise ValueError("give either canvas or canvas_side")
        return self

    @model_validator(mode="after")
    def _is_a_scene(self) -> Self:
        as_value_error(self.scene)
        return self

    def scene(self) -> SceneSettings:
        """What to follow, count and hide."""
        return SceneSettings(
            track=self.track,
            zones=zones_in(self.zones),
            lines=lines_in(self.lines),
            privacy=hiding(blur=self.blur, pixelate=self.pixelate, blur_all_but=self.blur_all_but),
        )


class CameraSettings(CameraOptions):
    """One camera.

    Attributes:
        source: as ``rcnn-live run SOURCE``. Not in the repr: it may hold a password.
    """

    source: str = Field(min_length=1, repr=False)
    input_options: dict[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("source", mode="before")
    @classmethod
    def _webcam(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @model_validator(mode="after")
    def _is_a_recording(self) -> Self:
        as_value_error(self.recording)
        if self.segment is not None and "{started}" in (self.record or ""):
            raise ValueError("record: segments have their time in their names: leave out {started}")
        return self

    @model_validator(mode="after")
    def _clips_are_possible(self) -> Self:
        if self.record_on is not None:
            options = self.record_on.options(RecordingOptions(), Path())
            as_value_error(
                partial(
                    check_clips,
                    options,
                    option="record_on",
                    zones=tuple(self.zones),
                    classes=self.classes,
                    hides=bool(self.blur or self.pixelate or self.blur_all_but),
                )
            )
        return self

    def recording(self) -> RecordingOptions:
        """How to record."""
        return RecordingOptions.parse(
            segment=self.segment,
            keep=self.keep,
            min_free=self.min_free,
            encoder=self.encoder,
            quality=self.quality,
            sidecar=self.sidecar,
            sound=self.sound,
            has_clips=self.record_on is not None,
            prefix="",
        )

    def source_options(self) -> SourceOptions:
        """For ``create_source``."""
        return SourceOptions(
            open_timeout_seconds=self.open_timeout_seconds,
            read_timeout_seconds=self.read_timeout_seconds,
            rtsp_transport=self.rtsp_transport,
            input_options=self.input_options,
        )


class Config(Section):
    """The whole file.

    Attributes:
        secrets: a YAML file of NAME: value.
        batch_wait_ms: how long a frame waits for those of other cameras before the model runs.
        max_batch: frames the model takes at once; by default what it was made for: 1, unless it
            is a file of ``rcnn-live export --batch``. A CPU is no faster with more.
        metrics: where to serve them; not at all by default.
        serve: where to serve the live page; not at all by default.
        recordings: the folder that the page records to; by default one of that name.
        defaults: for every camera.
        cameras: by name.
    """

    secrets: Path | None = None
    batch_wait_ms: float = Field(default=10.0, ge=0, le=1000)
    max_batch: int | None = Field(default=None, ge=1, le=16)
    metrics: Metrics | None = None
    serve: ServeSettings | None = None
    recordings: Path | None = None
    defaults: CameraOptions = CameraOptions()
    cameras: dict[str, CameraSettings]

    @field_validator("cameras")
    @classmethod
    def _plain_names(cls, cameras: dict[str, CameraSettings]) -> dict[str, CameraSettings]:
        if not cameras:
            raise ValueError("it needs one camera at least")
        for name in cameras:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"the name {name!r} is not allowed: letters, digits, dot, hyphen and "
                    "underscore are, 64 at most"
                )
        return cameras
