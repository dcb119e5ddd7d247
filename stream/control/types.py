"""What is said of running cameras and asked of them: plain values that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.metrics import Latency
from stream.zone_counts import LineTally, Tally
from stream.zones import Line, Zone


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Which objects a camera reports.

    Attributes:
        score: objects the model is less sure of are left out.
        classes: names to keep; None for all, empty for none.
    """

    score: float
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SettingsLimits:
    """What may be chosen.

    Attributes:
        lowest_score: below it the model reports nothing.
        class_names: of the model, without its background; empty until it is loaded.
    """

    lowest_score: float
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where a camera counts.

    Attributes:
        zones: areas.
        lines: to cross.
    """

    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingState:
    """How the recording of a camera stands.

    Attributes:
        on: whether it is switched on.
        possible: whether it could be.
        reason: why not, or why nothing is written at the moment; a sentence or empty.
        file: name of the file that is being written, without its folder.
        written: frames since it was switched on.
        dropped: frames that are missing since then.
    """

    on: bool = False
    possible: bool = True
    reason: str = ""
    file: str | None = None
    written: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """The figures of a camera at one moment.

    Attributes:
        state: ``connecting``, ``live``, ``stalled``, ``reconnecting``, ``failed`` or ``ended``.
        sentence: the same for people, with the reason, without credentials.
        attempt: number of the attempt to connect, 0 while it is live.
        fps_in: recent frames per second that came.
        fps_out: recent frames per second that went through.
        age: of recent frames when the last sink had them.
        stages: recent milliseconds of each stage's and each sink's work.
        drops: reason to frames, since the program began.
        objects: in the newest frame; empty while it is not live.
        zones: zone to who is inside.
        lines: line to who has crossed it.
        recording: see there.
    """

    state: str
    sentence: str
    attempt: int = 0
    fps_in: float = 0.0
    fps_out: float = 0.0
    age: Latency = Latency(0.0, 0.0, 0.0)  # noqa: RUF009 - it is frozen
    stages: Mapping[str, Latency] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    objects: Tally = field(default_factory=dict)
    zones: Mapping[str, Tally] = field(default_factory=dict)
    lines: Mapping[str, LineTally] = field(default_factory=dict)
    recording: RecordingState = RecordingState()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """What a camera is and how it is set.

    Attributes:
        source: free of credentials.
        width: px of the newest frame, 0 before the first.
        height: px of the newest frame, 0 before the first.
        model: its name.
        settings: in force.
        limits: of the settings.
        places: in force.
        status: its figures.
    """

    name: str
    source: str
    width: int
    height: int
    model: str
    settings: LiveSettings
    limits: SettingsLimits
    places: Places
    status: CameraStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingEntry:
    """One recorded file.

    Attributes:
        id: opaque; means nothing outside of the library that gave it.
        camera: whose it is.
        file: its name, without its folder.
        started_at: UTC seconds since 1970 of its first frame.
        seconds: how long it plays; so far, if it is growing.
        bytes: its size.
        is_growing: whether it is being written.
    """

    id: str
    camera: str
    file: str
    started_at: float
    seconds: float
    bytes: int
    is_growing: bool


@dataclass(frozen=True, slots=True)
class RecordingMoment:
    """A place in a recording.

    Attributes:
        id: of the recording.
        at_seconds: after its beginning.
    """

    id: str
    at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEntry:
    """Something that happened.

    Attributes:
        id: larger for later events; never used again.
        camera: where.
        at: UTC seconds since 1970.
        kind: one of ``stream.control.history.KINDS``.
        label: class of the object; None where there is none.
        score: the best of the object so far; None where there is none.
        track: number of the object; None where there is none.
        text: a sentence for people, without credentials.
        has_thumbnail: whether there is a picture of it.
        recording: where to see it; None if it was not recorded.
        clip: id of the recording that was made of it; None if there is none.
    """

    id: int
    camera: str
    at: float
    kind: str
    text: str
    label: str | None = None
    score: float | None = None
    track: int | None = None
    has_thumbnail: bool = False
    recording: RecordingMoment | None = None
    clip: str | None = None
