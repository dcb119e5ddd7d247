from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.detections import UNTRACKED, Detections
from stream.tracking import LOST_SECONDS, TRAIL_SECONDS, Tracker, model_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts/bench"))
import walkers
from walkers import BICYCLE, CROSSING, PERSON

NAMES = walkers.CLASS_NAMES


def one(x: float, *, score: float = 0.9, label: int = PERSON) -> Detections:
    """A person of 40x100 px whose left side is at ``x``."""
    return Detections(
        boxes=np.array([[x, 100, x + 40, 200]], np.float32),
        labels=np.array([label]),
        scores=np.array([score], np.float32),
        class_names=NAMES,
    )


def ids_of(found: Detections) -> list[int]:
    assert found.track_ids is not None
    return found.track_ids.tolist()


@pytest.mark.parametrize("rate", [30, 25, 10])
@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_taken_for_another_when_they_cross(rate: int, seed: int) -> None:
    moments = walkers.truth(CROSSING, np.arange(0, 8, 1 / rate))
    tracker = Tracker()
    reports = walkers.detected(moments, seed)
    tracked = [
        tracker.update(report, moment.at_seconds)
        for report, moment in zip(reports, moments, strict=True)
    ]
    figures = walkers.evaluate(moments, tracked)
    assert figures["switches"] == 0
    assert figures["MOTA"] > 0.82
    assert figures["IDF1"] > 0.88
    assert figures["HOTA"] > 0.75


def test_the_truth_is_what_it_claims_to_be() -> None:
    """Tracked without a mistake it scores 1, so what the tracker loses is its own loss."""
    moments = walkers.truth(CROSSING, np.arange(0, 8, 0.1))
    perfect = [
        Detections(
            boxes=moment.boxes,
            labels=np.full(len(moment.boxes), PERSON),
            scores=np.ones(len(moment.boxes), np.float32),
            class_names=NAMES,
            track_ids=moment.numbers + 1,
        )
        for moment in moments
    ]
    figures = walkers.evaluate(moments, perfect)
    assert [figures[name] for name in ("MOTA", "IDF1", "HOTA")] == pytest.approx([1, 1, 1])
    amid = [moment for moment in moments if 2 < moment.at_seconds < 5]
    hidden = [set(range(len(CROSSING))) - set(moment.numbers.tolist()) for moment in amid]
    assert set().union(*hidden) == {1, 2, 3, 4, 5}  # all but the nearest
    for frame in perfect[40:]:
        assert frame.track_ids is not None
        first, second = frame.track_ids == 1, frame.track_ids == 2
        frame.track_ids[first], frame.track_ids[second] = 2, 1
    assert walkers.evaluate(moments, perfect)["switches"] == 2


def test_an_object_has_its_number_from_the_second_frame_on() -> None:
    tracker = Tracker()
    seen = [ids_of(tracker.update(one(10 + 2 * k), k * 0.04)) for k in range(5)]
    assert seen == [[UNTRACKED], [1], [1], [1], [1]]


def test_gaps_count_in_seconds_not_frames() -> None:
    """Two frames a second, and then nothing for a little less or more than a track may be lost."""
    for gap, is_kept in ((LOST_SECONDS - 0.2, True), (LOST_SECONDS + 0.2, False)):
        for rate in (2, 30):
            tracker, number = Tracker(), 0
            for number in range(2 * rate):
                tracker.update(one(100), number / rate)
            at_seconds = number / rate + gap
            again = [tracker.update(one(100), at_seconds + k / rate) for k in range(2)]
            assert ids_of(again[1]) == ([1] if is_kept else [2]), (gap, rate)


def test_numbers_are_not_used_again() -> None:
    tracker = Tracker()
    seen: set[int] = set()
    for life in range(5):
        for k in range(4):
            seen.update(ids_of(tracker.update(one(100), life * 60 + k * 0.04)))
    assert seen == {UNTRACKED, 1, 2, 3, 4, 5}


def test_what_is_tracked_may_become_uncertain_and_nothing_else() -> None:
    tracker = Tracker(min_score=0.5)
    assert model_score(0.5) < 0.3
    assert len(tracker.update(one(100, score=0.3), 0.0)) == 0
    for k in range(3):
        tracker.update(one(100), 0.04 * (k + 1))
    assert ids_of(tracker.update(one(101, score=0.3), 0.16)) == [1]
    elsewhere = tracker.update(one(400, score=0.3), 0.2)
    assert len(elsewhere) == 0


def test_a_track_votes_on_its_class() -> None:
    tracker = Tracker()
    labels = [PERSON, PERSON, PERSON, BICYCLE, PERSON, BICYCLE]
    seen = [
        tracker.update(one(100, label=label), k * 0.04).names()[0] for k, label in enumerate(labels)
    ]
    assert set(seen) == {"person"}
    sure = Tracker()
    sure.update(one(100, label=BICYCLE, score=0.95), 0.0)
    sure.update(one(100, label=BICYCLE, score=0.95), 0.04)
    assert sure.update(one(100, label=PERSON, score=0.5), 0.08).names() == ["bicycle"]


def test_rows_stay_together_and_highest_score_first() -> None:
    moments = walkers.truth(CROSSING, np.arange(2, 4, 0.04))
    tracker = Tracker()
    for moment, report in zip(moments, walkers.detected(moments), strict=True):
        marked = Detections(
            boxes=report.boxes,
            labels=report.labels,
            scores=report.scores,
            class_names=NAMES,
            masks=np.tile(report.boxes[:, :1, None], (1, 28, 28)),
        )
        tracked = tracker.update(marked, moment.at_seconds)
        assert tracked.masks is not None
        np.testing.assert_array_equal(tracked.masks[:, 0, 0], tracked.boxes[:, 0])
        assert np.all(np.diff(tracked.scores) <= 0)
        real = [number for number in ids_of(tracked) if number != UNTRACKED]
        assert len(set(real)) == len(real)


def test_trails_are_the_way_of_late_of_those_in_sight() -> None:
    tracker = Tracker()
    for k in range(100):
        tracker.update(one(10 + k), k * 0.04)
    (trail,) = tracker.trails().values()
    assert trail[-1].tolist() == [10 + 99 + 20, 200]
    assert len(trail) == pytest.approx(TRAIL_SECONDS / 0.04, abs=2)
    assert np.all(np.diff(trail[:, 0]) == 1)
    tracker.update(Detections.empty(NAMES), 4.0)
    assert not tracker.trails()


def test_memory_does_not_grow() -> None:
    tracker = Tracker()
    for k in range(300):
        tracker.update(one(0 if k % 20 < 10 else 400), k * 0.5)
    assert len(tracker._tracks) <= 2
