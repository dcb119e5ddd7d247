"""What happens before one camera, told to the history: who comes and goes, and how it fares."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from models.detections import UNTRACKED, Detections, Floats
from stream.control.history import (
    APPEARED,
    CLIP,
    CROSSED_IN,
    CROSSED_OUT,
    ENTERED_ZONE,
    LEFT,
    LEFT_ZONE,
    STATE,
    Better,
    Event,
    EventHistory,
)
from stream.frame import Frame, Image, wall_time_of
from stream.observer import ClipChange
from stream.scene import Scene
from stream.sinks.base import Sink
from stream.sources.status import SourceState, SourceStatus
from stream.tracking import LOST_SECONDS
from stream.zone_counts import ENTERED, IN, OUT
from stream.zone_counts import LEFT as LEFT_PLACE

if TYPE_CHECKING:
    from stream.stages import Job

CONFIRM_SECONDS = 0.5  # in sight for so long, before it is told that an object appeared
BETTER = 0.05  # so much higher a score is worth another picture
MOST_PICTURES = 2  # made of one frame
THUMBNAIL_SIDE = 160  # px of the longer side
JPEG_QUALITY = 80
_MARGIN = 0.15  # of the box, around it
_KINDS = {
    ENTERED: (ENTERED_ZONE, "entered"),
    LEFT_PLACE: (LEFT_ZONE, "left"),
    IN: (CROSSED_IN, "went in over"),
    OUT: (CROSSED_OUT, "went out over"),
}


@dataclass(slots=True)
class _Sight:
    """One object in sight.

    Attributes:
        token: of its event.
        track: its number.
        label: its class.
        first: presentation seconds.
        last: presentation seconds.
        first_at: UTC seconds.
        last_at: UTC seconds.
        score: the best so far.
        pictured_score: when the thumbnail was made; below 0 before the first.
        thumbnail: JPEG.
        is_told: whether it was told that it appeared.
    """

    token: str
    track: int
    label: str
    first: float
    last: float
    first_at: float
    last_at: float
    score: float = 0.0
    pictured_score: float = -1.0
    thumbnail: bytes | None = None
    is_told: bool = False

    def facts(self) -> dict[str, Any]:
        """What an event says of it."""
        return {
            "label": self.label,
            "score": round(self.score, 4),
            "track": self.track,
            "thumbnail": self.thumbnail,
        }


class EventWatch(Sink):
    """Watches one pipeline of a camera.

    Args:
        camera: its name.
        history: to keep events in.
    """

    name = "history"

    def __init__(self, camera: str, history: EventHistory) -> None:
        self._camera, self._history = camera, history
        self._run = secrets.token_hex(6)  # numbers of tracks begin anew in every pipeline
        self._sights: dict[int, _Sight] = {}
        self._state: SourceState | None = None

    def write(self, job: Job) -> None:
        found, frame = job.detections, job.frame
        if found is None or found.track_ids is None:
            return
        at = frame.arrival_wall_time if frame.wall_time is None else frame.wall_time
        pictures = MOST_PICTURES
        labels = found.names()
        for row in np.flatnonzero(found.track_ids != UNTRACKED).tolist():
            sight = self._seen(found, row, labels[row], frame.pts_seconds, at)
            if pictures and sight.score >= sight.pictured_score + BETTER:
                pictures -= 1
                self._picture(sight, frame.image, found.boxes[row])
            if not sight.is_told and sight.last - sight.first >= CONFIRM_SECONDS:
                sight.is_told = True
                facts = {"token": sight.token, **sight.facts()}
                self._tell(APPEARED, sight.first_at, f"{sight.label} appeared", **facts)
        if job.scene is not None:
            self._tell_changes(job.scene, at)
        self._forget(frame)

    def source_changed(self, status: SourceStatus) -> None:
        if status.state is self._state:
            return  # one attempt more
        self._state = status.state
        text = status.sentence() if not status.reason else f"{status.sentence()}: {status.reason}"
        self._tell(STATE, wall_time_of(status.at), text)

    def clip_changed(self, change: ClipChange) -> None:
        if change.state == "started":
            reasons = ", ".join(map(str, change.facts.get("reasons", ())))
            text = f"a clip of {reasons}" if reasons else "a clip"
            self._tell(CLIP, change.wall_time, text, clip=change.facts.get("video"))

    def close(self) -> None:
        """Whoever is still in sight has not left."""
        self._sights.clear()

    def _seen(self, found: Detections, row: int, label: str, seconds: float, at: float) -> _Sight:
        assert found.track_ids is not None
        number = int(found.track_ids[row])
        sight = self._sights.get(number)
        if sight is None:
            token = f"{self._run}-{number}"
            sight = self._sights[number] = _Sight(token, number, label, seconds, seconds, at, at)
        sight.label, sight.last, sight.last_at = label, seconds, at
        sight.score = max(sight.score, float(found.scores[row]))
        return sight

    def _picture(self, sight: _Sight, image: Image, box: Floats) -> None:
        sight.pictured_score, sight.thumbnail = sight.score, thumbnail_of(image, box)
        if sight.is_told and sight.thumbnail is not None:
            self._history.add(Better(sight.token, round(sight.score, 4), sight.thumbnail))

    def _tell_changes(self, scene: Scene, at: float) -> None:
        for change in scene.changes:
            kind, verb = _KINDS[change.kind]
            text = f"{change.label} {verb} {change.place}"
            sight = self._sights.get(change.track_id)
            facts = {"track": change.track_id} if sight is None else sight.facts()
            self._tell(kind, at, text, **{**facts, "label": change.label})

    def _forget(self, frame: Frame) -> None:
        """Tell of those that were not seen for long."""
        lost = [
            number
            for number, sight in self._sights.items()
            if frame.pts_seconds - sight.last > LOST_SECONDS
        ]
        for sight in map(self._sights.pop, lost):
            if sight.is_told:
                text = f"{sight.label} left after {sight.last - sight.first:.0f} s"
                self._tell(LEFT, sight.last_at, text, **sight.facts())

    def _tell(self, kind: str, at: float, text: str, **facts: Any) -> None:
        self._history.add(Event(camera=self._camera, at=at, kind=kind, text=text, **facts))


def thumbnail_of(image: Image, box: Floats) -> bytes | None:
    """A JPEG of what is in a box and a little around it; None if that is outside of the picture.

    Args:
        image: (H,W,3) RGB.
        box: (4,) xyxy px.
    """
    margin = _MARGIN * max(box[2] - box[0], box[3] - box[1])
    height, width = image.shape[:2]
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(width, int(box[2] + margin) + 1), min(height, int(box[3] + margin) + 1)
    if right <= left or bottom <= top:
        return None
    part = image[top:bottom, left:right]
    scale = min(1.0, THUMBNAIL_SIDE / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    return encoded.tobytes()
