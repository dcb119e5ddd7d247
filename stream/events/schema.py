"""The one form of an event, wherever it goes; ``event.schema.json`` beside this file checks it.

A plain file is the same in every run over the same video, so its events have no ``id`` and, unless
the source is live, no ``time``. What is delivered to a broker has both: an id is unique, and ids of
one run sort in the order of the events, so that a receiver can leave out what comes twice.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.detections import UNTRACKED, Detections
from models.roi_masks import to_rle
from stream.frame import Frame, iso_utc, wall_time_of
from stream.observer import ClipChange
from stream.scene import Scene
from stream.sources.base import SourceInfo
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.stages import Job

VERSION = 1  # of the schema; a field more leaves it, another meaning of a field raises it
SCHEMA_FILE = Path(__file__).with_name("event.schema.json")


class EventForm:
    """Makes the events of one source in one run.

    Args:
        masks: add each mask, as COCO RLE.
        identified: whether each event gets its ``id`` and its ``time``.
        source: name of the source until it is open; free of credentials.
    """

    def __init__(
        self,
        *,
        masks: bool = False,
        identified: bool = False,
        source: str | None = None,
    ) -> None:
        self._masks, self._source = masks, source
        self._run = _run_id() if identified else None
        self._is_live = False

    def open(self, info: SourceInfo) -> None:
        """Learn what the source is."""
        self._is_live, self._source = info.is_live, info.name

    def of_frame(self, job: Job, sequence: int = 0) -> dict[str, Any]:
        """What was found in one frame.

        Args:
            job: that has passed the model.
            sequence: number of the event in this run, for its id.
        """
        assert job.detections is not None
        frame = job.frame
        return {
            **self._head("frame", sequence),
            "source": frame.source_id,
            "index": frame.index,
            "pts_seconds": round(frame.pts_seconds, 6),
            **self._times(frame),
            "size": list(frame.size),
            "detections": detection_rows(
                job.detections, frame.size, masks=self._masks, scene=job.scene
            ),
            **_counted(job.scene),
        }

    def of_source(self, status: SourceStatus, sequence: int = 0) -> dict[str, Any]:
        """A change of the source. Arguments as ``of_frame``; from any thread."""
        named = {} if self._source is None else {"source": self._source}
        return {
            **self._head("source", sequence),
            **named,
            "time": iso_utc(wall_time_of(status.at)),
            "state": status.state.value,
            "attempt": status.attempt,
            "reason": status.reason,
            "next_attempt_in_seconds": round(status.next_attempt_in_seconds, 3),
        }

    def of_clip(self, change: ClipChange, sequence: int = 0) -> dict[str, Any]:
        """A clip that was begun or has ended. Arguments as ``of_frame``; from any thread."""
        return {
            **self._head("clip", sequence),
            "source": self._source,
            "time": iso_utc(change.wall_time),
            "state": change.state,
            **change.facts,
        }

    def _head(self, kind: str, sequence: int) -> dict[str, Any]:
        head: dict[str, Any] = {"schema": VERSION, "type": kind}
        if self._run is not None:
            head["id"] = f"{self._run}-{sequence:010d}"
        return head

    def _times(self, frame: Frame) -> dict[str, Any]:
        if frame.wall_time is not None:
            times: dict[str, Any] = {"time": iso_utc(frame.wall_time), "time_is": "source"}
        elif self._is_live or self._run is not None:
            times = {"time": iso_utc(frame.arrival_wall_time), "time_is": "arrival"}
        else:
            return {}
        if frame.gap_seconds:
            times["gap_seconds"] = round(frame.gap_seconds, 3)
        return times


def _counted(scene: Scene | None) -> dict[str, Any]:
    """Who is in the zones and has crossed the lines, and what of that is new."""
    if scene is None or not (scene.zones or scene.lines):
        return {}
    changes = [
        {"place": one.place, "kind": one.kind, "track_id": one.track_id, "label": one.label}
        for one in scene.changes
    ]
    return {"counts": scene.counts.as_json(), **({"changes": changes} if changes else {})}


def detection_rows(
    found: Detections,
    size: tuple[int, int],
    *,
    masks: bool = False,
    scene: Scene | None = None,
) -> list[dict[str, Any]]:
    """The objects of one frame, JSON-ready.

    Args:
        found: in source px.
        size: (width, height) px of the frame.
        masks: add each mask, as COCO RLE.
        scene: of the frame, for the zones that objects are in.
    """
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(found.names()):
        row: dict[str, Any] = {
            "label": name,
            "score": round(float(found.scores[i]), 4),
            "box": [round(float(side), 2) for side in found.boxes[i]],
        }
        if found.track_ids is not None and (number := int(found.track_ids[i])) != UNTRACKED:
            row["track_id"] = number
            if scene is not None and number in scene.zones_of:
                row["zones"] = scene.zones_of[number]
        if found.keypoints is not None:
            row["keypoints"] = found.keypoints[i].round(2).tolist()
        if masks and found.masks is not None:
            row["mask"] = to_rle(found.masks[i], found.boxes[i], size)
        rows.append(row)
    return rows


def encode(event: Mapping[str, Any]) -> str:
    """An event as one line of JSON, without the line's end."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def _run_id() -> str:
    """Sorts by the time it was made; the rest tells runs of the same millisecond apart."""
    began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return f"{began}Z-{secrets.token_hex(4)}"
