"""What the server says; each class is one schema of the OpenAPI page."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from stream.control.types import (
    CameraState,
    CameraStatus,
    EventEntry,
    LiveSettings,
    RecordingEntry,
    RecordingState,
)
from stream.frame import iso_utc
from stream.metrics import Latency
from stream.web.forms import ZonesForm
from stream.web.users import Role
from stream.zone_counts import LineTally


class Answer(BaseModel):
    """What the server says."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)


class Problem(Answer):
    """What went wrong, in one sentence."""

    detail: str


class SessionView(Answer):
    """Who asks."""

    user: str | None
    role: Role | None
    needs_login: bool
    webrtc: bool


class SettingsView(Answer):
    """Which objects are reported."""

    score: float
    classes: list[str] | None

    @classmethod
    def of(cls, settings: LiveSettings) -> Self:
        classes = None if settings.classes is None else list(settings.classes)
        return cls(score=settings.score, classes=classes)


class RecordingView(Answer):
    """How the recording of a camera stands."""

    on: bool
    possible: bool
    reason: str
    file: str | None
    written: int
    dropped: int

    @classmethod
    def of(cls, state: RecordingState) -> Self:
        return cls.model_validate(state, from_attributes=True)


class CameraView(Answer):
    """What a camera is, and how it is set."""

    name: str
    source: str
    state: str
    sentence: str
    attempt: int
    width: int
    height: int
    fps: float
    model: str
    classes: list[str]
    lowest_score: float
    settings: SettingsView
    recording: RecordingView
    counts: dict[str, int]
    zones: ZonesForm

    @classmethod
    def of(cls, camera: CameraState) -> Self:
        status = camera.status
        return cls(
            name=camera.name,
            source=camera.source,
            state=status.state,
            sentence=status.sentence,
            attempt=status.attempt,
            width=camera.width,
            height=camera.height,
            fps=round(status.fps_out, 2),
            model=camera.model,
            classes=list(camera.limits.class_names),
            lowest_score=camera.limits.lowest_score,
            settings=SettingsView.of(camera.settings),
            recording=RecordingView.of(status.recording),
            counts=dict(status.objects),
            zones=ZonesForm.of(camera.places),
        )


class Quantiles(Answer):
    """Recent milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, latency: Latency) -> Self:
        p50, p95, p99 = (round(one, 2) for one in (latency.p50, latency.p95, latency.p99))
        return cls(p50=p50, p95=p95, p99=p99)


class StageQuantiles(Answer):
    """Recent milliseconds of one stage's work."""

    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latency: Latency) -> Self:
        p50, p95, p99 = (round(one, 2) for one in (latency.p50, latency.p95, latency.p99))
        return cls(p50_ms=p50, p95_ms=p95, p99_ms=p99)


class Crossed(Answer):
    """Who has crossed a line, by class."""

    inwards: dict[str, int] = Field(alias="in")
    outwards: dict[str, int] = Field(alias="out")

    @classmethod
    def of(cls, tally: LineTally) -> Self:
        return cls.model_validate({"in": dict(tally.inwards), "out": dict(tally.outwards)})


class StatusView(Answer):
    """The figures of a camera at one moment."""

    state: str
    sentence: str
    attempt: int
    fps_in: float
    fps_out: float
    age_ms: Quantiles
    stages: dict[str, StageQuantiles]
    drops: dict[str, int]
    objects: dict[str, int]
    zones: dict[str, dict[str, int]]
    lines: dict[str, Crossed]
    recording: RecordingView

    @classmethod
    def of(cls, status: CameraStatus) -> Self:
        return cls(
            state=status.state,
            sentence=status.sentence,
            attempt=status.attempt,
            fps_in=round(status.fps_in, 2),
            fps_out=round(status.fps_out, 2),
            age_ms=Quantiles.of(status.age),
            stages={name: StageQuantiles.of(one) for name, one in status.stages.items()},
            drops=dict(status.drops),
            objects=dict(status.objects),
            zones={name: dict(tally) for name, tally in status.zones.items()},
            lines={name: Crossed.of(tally) for name, tally in status.lines.items()},
            recording=RecordingView.of(status.recording),
        )


class Figures(Answer):
    """The figures of all cameras."""

    cameras: dict[str, StatusView]


class RecordingFile(Answer):
    """One recording."""

    id: str
    camera: str
    file: str
    started: str
    seconds: float
    bytes: int
    url: str
    is_growing: bool

    @classmethod
    def of(cls, entry: RecordingEntry) -> Self:
        return cls(
            id=entry.id,
            camera=entry.camera,
            file=entry.file,
            started=iso_utc(entry.started_at),
            seconds=round(entry.seconds, 3),
            bytes=entry.bytes,
            url=f"/api/recordings/{entry.id}/video",
            is_growing=entry.is_growing,
        )


class Moment(Answer):
    """A place in a recording."""

    id: str
    at_seconds: float


class EventView(Answer):
    """Something that happened; ``clip`` is the id of the recording that was made of it."""

    id: int
    camera: str
    time: str
    kind: str
    label: str | None
    score: float | None
    track: int | None
    text: str
    thumbnail: str | None
    clip: str | None
    recording: Moment | None

    @classmethod
    def of(cls, entry: EventEntry) -> Self:
        moment = entry.recording
        return cls(
            id=entry.id,
            camera=entry.camera,
            time=iso_utc(entry.at),
            kind=entry.kind,
            label=entry.label,
            score=None if entry.score is None else round(entry.score, 3),
            track=entry.track,
            text=entry.text,
            thumbnail=f"/api/events/{entry.id}/thumbnail.jpg" if entry.has_thumbnail else None,
            clip=entry.clip,
            recording=None
            if moment is None
            else Moment(id=moment.id, at_seconds=round(moment.at_seconds, 3)),
        )


class WebRtcAnswer(Answer):
    """The server's session description."""

    sdp: str
    type: Literal["answer"]
