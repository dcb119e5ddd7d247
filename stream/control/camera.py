"""One running camera, as it is asked and changed from outside of its pipeline."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.control.event_watch import EventWatch
from stream.control.history import EventHistory
from stream.control.types import (
    CameraState,
    CameraStatus,
    LiveSettings,
    Places,
    RecordingState,
    SettingsLimits,
)
from stream.errors import SinkError, UsageError
from stream.frame import Image
from stream.live import LOWEST_LIVE_SCORE, Live, Wanted
from stream.metrics import TOTAL, Latency, Meter
from stream.model_pool import check_classes
from stream.monitor.snapshot import ENDED, LIVE, RESTARTING, STARTING, STOPPED, CameraSnapshot
from stream.sinks.base import Sink
from stream.sinks.live_view import LiveView
from stream.sinks.switched_recording import SwitchedRecording
from stream.sources.status import SourceState
from stream.zone_counts import ZoneCounter
from stream.zones import Line, Zone

# A camera whose pipeline does not run at the moment, in the words of one whose pipeline does
_STATES = {
    STARTING: SourceState.CONNECTING.value,
    RESTARTING: SourceState.RECONNECTING.value,
    STOPPED: ENDED,
}
_NOTHING = Latency(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraParts:
    """What a camera's control is made of.

    Attributes:
        name: of the camera.
        source: free of credentials.
        model: its name.
        wanted: to begin with.
        recording: that is switched.
        hud_lines: text for the corner of the picture; None for none.
        snapshot: tells its figures; from any thread.
        meter: of its pipelines.
        save: stores zones and lines for the next run; raises SinkError if it cannot.
    """

    name: str
    source: str
    model: str
    wanted: Wanted
    recording: SwitchedRecording
    hud_lines: Callable[[], list[str]] | None
    snapshot: Callable[[], CameraSnapshot]
    meter: Meter
    save: Callable[[Places], None]


class CameraControl:
    """Says of one camera how it fares, and changes it while it runs. Safe to use from any thread.

    It outlives the camera's pipelines: what was changed holds when the camera is started again.

    Args:
        parts: of the camera.
        history: where its events go.

    Attributes:
        name: of the camera.
        live: what its stages look at.
        frames: its newest frame, for who watches.
        recording: to be switched by ``set_recording``.
    """

    def __init__(self, parts: CameraParts, history: EventHistory) -> None:
        self.name, self.live, self.recording = parts.name, Live(parts.wanted), parts.recording
        self.frames = LiveView(parts.hud_lines)
        self._parts, self._history = parts, history
        self._lowest_score = lowest_score(parts.wanted.min_score)
        self._class_names: tuple[str, ...] = ()
        self._placing = threading.Lock()  # what is stored is what is in force

    # ── for who runs the camera ──

    def meet(self, class_names: Sequence[str]) -> None:
        """The model is loaded: these are its classes, the background first."""
        self._class_names = tuple(class_names[1:])

    def sinks(self) -> list[Sink]:
        """For a new pipeline; they come after the recording."""
        return [EventWatch(self.name, self._history), self.frames]

    # ── for who watches it ──

    def describe(self) -> CameraState:
        """What it is and how it is set."""
        newest = self.frames.newest
        width, height = (0, 0) if newest is None else newest.job.frame.size
        return CameraState(
            name=self.name,
            source=self._parts.source,
            width=width,
            height=height,
            model=self._parts.model,
            settings=self.settings,
            limits=SettingsLimits(self._lowest_score, self._class_names),
            places=self.places,
            status=self.status(),
        )

    def status(self) -> CameraStatus:
        """Its figures now."""
        snapshot = self._parts.snapshot()
        latency = self._parts.meter.recent_latency()
        state = _STATES.get(snapshot.status.state, snapshot.status.state)
        counts = snapshot.zones
        return CameraStatus(
            state=state,
            sentence=_sentence(state, snapshot.status.attempt, snapshot.status.reason),
            attempt=snapshot.status.attempt,
            fps_in=snapshot.rates[0],
            fps_out=snapshot.rates[1],
            age=latency.pop(TOTAL, _NOTHING),
            stages=latency,
            drops=snapshot.counts.dropped_by_reason(),
            objects=self._objects() if state == LIVE else {},
            zones={} if counts is None else {name: z.inside for name, z in counts.zones.items()},
            lines={} if counts is None else counts.lines,
            recording=self._recording_state(),
        )

    def snapshot(self, *, annotated: bool) -> Image:
        """(H,W,3) uint8 RGB: the newest frame, with what was found drawn on it or without.

        Raises:
            SinkError: if there is none yet.
        """
        newest = self.frames.newest
        if newest is None:
            raise SinkError(f"{self.name} has not shown a picture yet.")
        return self.frames.annotated(newest) if annotated else newest.job.frame.image

    # ── for who changes it ──

    @property
    def settings(self) -> LiveSettings:
        """In force."""
        wanted = self.live.wanted
        return LiveSettings(wanted.min_score, wanted.classes)

    def replace_settings(self, settings: LiveSettings) -> LiveSettings:
        """Report other objects from the next frame on.

        Returns:
            what is in force now.

        Raises:
            UsageError: if the model has no such class, or reports nothing below that score.
        """
        if not self._lowest_score <= settings.score <= 1:
            raise UsageError(
                f"The score {settings.score:g} cannot be had: give {self._lowest_score:g} to 1."
            )
        self._check_classes(settings.classes or ())
        self.live.change(min_score=settings.score, classes=settings.classes)
        return self.settings

    @property
    def places(self) -> Places:
        """Zones and lines in force."""
        wanted = self.live.wanted
        return Places(wanted.zones, wanted.lines)

    def replace_places(self, places: Places) -> Places:
        """Count elsewhere from the next frame on; a zone that stays as it was goes on counting.

        Returns:
            what is in force now, and stored for the next run.

        Raises:
            UsageError: if two have one name, or the model has no such class.
            SinkError: if they cannot be stored; they are not in force then.
        """
        ZoneCounter(places.zones, places.lines)  # refuses names that are taken
        drawn: list[Zone | Line] = [*places.zones, *places.lines]
        for place in drawn:
            self._check_classes(place.classes or ())
        with self._placing:
            self._parts.save(places)
            self.live.change(zones=places.zones, lines=places.lines)
        return places

    def set_recording(self, on: bool) -> RecordingState:
        """Begin or end a recording; an ended one is finished when this returns.

        Without pictures, it begins with the first one.

        Raises:
            SinkError: if that cannot be now, in a sentence.
        """
        self.recording.switch(on)
        return self._recording_state()

    def _check_classes(self, classes: Sequence[str]) -> None:
        if classes and not self._class_names:
            raise UsageError("The model is not loaded yet: try again when there are pictures.")
        check_classes(self._parts.model, classes, self._class_names)

    def _objects(self) -> dict[str, int]:
        newest = self.frames.newest
        found = None if newest is None else newest.job.detections
        return {} if found is None else dict(Counter(found.names()))

    def _recording_state(self) -> RecordingState:
        recording = self.recording
        statistics, path = recording.current_statistics(), recording.path
        if statistics is None or path is None:
            return RecordingState(on=recording.is_on)
        return RecordingState(
            on=recording.is_on,
            reason="" if statistics.is_going else statistics.trouble,
            file=path.name if statistics.files else None,
            written=statistics.written,
            dropped=statistics.dropped + statistics.unrecorded,
        )


def lowest_score(min_score: float) -> float:
    """From which on a model reports objects, so that the score can be changed meanwhile."""
    return min(min_score, LOWEST_LIVE_SCORE)


def _sentence(state: str, attempt: int, reason: str) -> str:
    """``reconnecting, attempt 3: the server does not answer``."""
    text = f"{state}, attempt {attempt}" if attempt else state
    return f"{text}: {reason}" if reason else text
