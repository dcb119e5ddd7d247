"""The same number for the same object in every frame.

The method is BoT-SORT (Aharon et al., 2022) for a camera that stands still, as Roboflow's
``trackers`` has it: boxes are predicted by a Kalman filter and matched by overlap, first those the
model is sure of, then, for objects that were just seen, the others (ByteTrack's idea, Zhang et al.,
2022). That second round needs objects below ``min_score``: ask the model for them from
``model_score`` on.

All times are presentation times. A track that was not seen for ``LOST_SECONDS`` is over, however
many frames or few that was; a camera that comes back after a minute starts new ones. Numbers are
never used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.detections import UNTRACKED, Detections, Floats

if TYPE_CHECKING:
    from trackers import BoTSORTTracker

LOST_SECONDS = 2.0  # how long an object may be out of sight and keep its number
TRAIL_SECONDS = 2.0  # how long its way is remembered
LOWEST_SCORE = 0.2  # an object that is tracked already is believed from here on
_REFERENCE_RATE = 30  # frames per second that the library's noise and buffer are made for
_MOST_TRAIL_POINTS = 120

Trails = Mapping[int, Floats]


def model_score(min_score: float) -> float:
    """From which score on the model is to report objects, for a tracker with ``min_score``."""
    return min(min_score, LOWEST_SCORE)


def feet(boxes: Floats) -> Floats:
    """(N,2) px: the middle of each box's bottom edge, where an object stands."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)


@dataclass(slots=True)
class _Track:
    """What is remembered of one object.

    Attributes:
        votes: sum of scores of each label it was given.
        best_score: it was ever given.
        way: presentation time and feet, oldest first.
    """

    votes: dict[int, float] = field(default_factory=dict)
    way: deque[tuple[float, float, float]] = field(
        default_factory=lambda: deque(maxlen=_MOST_TRAIL_POINTS)
    )
    seen_seconds: float = 0.0
    best_score: float = 0.0

    def see(self, label: int, score: float, at_seconds: float, point: Floats) -> None:
        self.votes[label] = self.votes.get(label, 0.0) + score
        self.best_score = max(self.best_score, score)
        self.way.append((at_seconds, float(point[0]), float(point[1])))
        while at_seconds - self.way[0][0] > TRAIL_SECONDS:
            self.way.popleft()
        self.seen_seconds = at_seconds

    def label(self) -> int:
        return max(self.votes, key=lambda label: self.votes[label])


class Tracker:
    """Follows the objects of one camera; all calls come from one thread.

    Args:
        min_score: an object starts a track from this score on, and is reported below it only while
            it belongs to one that has had it.
    """

    def __init__(self, min_score: float = 0.5) -> None:
        self._min_score = min_score
        self._at_seconds = 0.0  # of the latest frame
        self._tracks: dict[int, _Track] = {}
        self._matcher = _matcher(min_score)

    @property
    def min_score(self) -> float:
        """See the class; setting it keeps all numbers."""
        return self._min_score

    @min_score.setter
    def min_score(self, min_score: float) -> None:
        self._min_score = min_score
        self._matcher.track_activation_threshold = min_score
        self._matcher.high_conf_det_threshold = min_score

    def update(self, found: Detections, at_seconds: float) -> Detections:
        """Number the objects of the next frame.

        Args:
            found: in source px, from ``model_score`` on.
            at_seconds: presentation time of the frame, later than that of the frame before.

        Returns:
            those of ``min_score`` and those that belong to a track, with ``track_ids``; the label
            of a tracked object is the one its track was given most, weighted by score. Highest
            score first, as before.
        """
        self._at_seconds = at_seconds
        ids = self._match(found, at_seconds)
        labels = self._note(found, ids, at_seconds)
        self._forget(at_seconds)
        tracked = replace(found, labels=labels, track_ids=ids)
        best = [
            max(score, self._tracks[number].best_score if number != UNTRACKED else 0.0)
            for number, score in zip(ids.tolist(), found.scores.tolist(), strict=True)
        ]
        return tracked.select(np.array(best, np.float32) >= self._min_score)

    def trails(self) -> Trails:
        """The way of each object seen in the latest frame: (K,2) px of its feet, oldest first."""
        ways = {
            number: np.array([point[1:] for point in track.way], np.float32)
            for number, track in self._tracks.items()
            if track.seen_seconds == self._at_seconds
        }
        return MappingProxyType(ways)

    def _match(self, found: Detections, at_seconds: float) -> npt.NDArray[np.int64]:
        import supervision

        theirs = supervision.Detections(
            xyxy=found.boxes,
            confidence=found.scores,
            class_id=np.arange(len(found)),  # they come back in another order
        )
        matched = self._matcher.update(theirs, timestamp=at_seconds)
        ids = np.full(len(found), UNTRACKED, np.int64)
        if len(matched):
            assert matched.class_id is not None
            assert matched.tracker_id is not None
            numbers = np.asarray(matched.tracker_id, np.int64)
            ids[matched.class_id] = np.where(numbers < 0, UNTRACKED, numbers + 1)
        return ids

    def _note(
        self, found: Detections, ids: npt.NDArray[np.int64], at_seconds: float
    ) -> npt.NDArray[np.int64]:
        """Remember what was seen; the label of each object, after its track's vote."""
        labels, points = found.labels.copy(), feet(found.boxes)
        for i in np.flatnonzero(ids != UNTRACKED):
            track = self._tracks.setdefault(int(ids[i]), _Track())
            track.see(int(found.labels[i]), float(found.scores[i]), at_seconds, points[i])
            labels[i] = track.label()
        return labels

    def _forget(self, at_seconds: float) -> None:
        over = [
            number
            for number, track in self._tracks.items()
            if at_seconds - track.seen_seconds > LOST_SECONDS
        ]
        for number in over:
            del self._tracks[number]


def _matcher(min_score: float) -> BoTSORTTracker:
    from trackers import BoTSORTTracker  # it takes a second

    return BoTSORTTracker(
        lost_track_buffer=round(LOST_SECONDS * _REFERENCE_RATE),
        frame_rate=_REFERENCE_RATE,
        track_activation_threshold=min_score,
        high_conf_det_threshold=min_score,
        enable_cmc=False,
        instant_first_frame_activation=False,
    )
