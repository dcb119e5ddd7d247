"""Score and classes of a running camera, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from controlled import CLASS_NAMES, TwoObjects, controlled, wait_for
from pieces import Collector, NumberedSource

from stream.control.camera import lowest_score
from stream.control.types import LiveSettings
from stream.errors import SinkError, UsageError
from stream.live import LOWEST_LIVE_SCORE, Live, Wanted
from stream.scene import SceneSettings
from stream.serial import SerialPipeline
from stream.stages import Job, build_stages
from stream.tracking import Tracker


def test_score_and_classes_hold_from_the_next_frame_on(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        rows = door.names.rows
        wait_for(lambda: ("person", "dog") in rows)
        assert door.camera.settings == LiveSettings(0.3)
        for settings, expected in (
            (LiveSettings(0.5), ("person",)),
            (LiveSettings(0.95), ()),
            (LiveSettings(0.3, ("dog",)), ("dog",)),
            (LiveSettings(0.3, ("cat",)), ()),
            (LiveSettings(0.3, ()), ()),
            (LiveSettings(0.3), ("person", "dog")),
        ):
            assert door.camera.replace_settings(settings) == settings
            count = len(rows)
            wait_for(lambda count=count: len(rows) > count + 12)  # type: ignore[misc]
            # frames that had passed the filter, and a track's confirmation
            assert set(rows[count + 8 : count + 12]) == {expected}, settings
        assert door.camera.describe().settings == LiveSettings(0.3)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (LiveSettings(0.05), "give 0.1 to 1"),
        (LiveSettings(1.5), "give 0.1 to 1"),
        (LiveSettings(float("nan")), "give 0.1 to 1"),
        (LiveSettings(0.5, ("persn",)), "did you mean person"),
        (LiveSettings(0.5, ("__background__",)), "no class"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, settings: LiveSettings, complaint: str
) -> None:
    with controlled(tmp_path) as door:
        with pytest.raises(UsageError, match=complaint):
            door.camera.replace_settings(settings)
        assert door.camera.settings == LiveSettings(0.3)


def test_the_lowest_score_is_that_of_the_model() -> None:
    assert lowest_score(0.5) == LOWEST_LIVE_SCORE
    assert lowest_score(0.02) == 0.02


def test_one_setting_holds_for_all_stages_of_a_frame_in_order() -> None:
    """On one thread, a change between two frames splits the run exactly there."""
    live = Live(Wanted(min_score=0.3))

    class Changing(Collector):
        def write(self, job: Job) -> None:
            super().write(job)
            assert job.detections is not None
            counts.append(len(job.detections))
            if job.frame.index == 4:
                live.change(min_score=0.95)

    counts: list[int] = []
    stages = build_stages(TwoObjects(), [Changing()], scene=SceneSettings(track=True), live=live)
    pipeline = SerialPipeline(NumberedSource(10), stages)
    pipeline.start()
    wait_for(lambda: pipeline.wait(0.1))
    pipeline.finish()
    assert counts == [2] * 5 + [0] * 5


def test_a_track_keeps_its_number_over_a_change_of_the_score() -> None:
    tracker = Tracker(0.3)
    runtime = TwoObjects()
    canvas = runtime.preprocess(np.zeros((48, 64, 3), np.uint8))
    ids = [tracker.update(runtime.infer(canvas), k / 10).track_ids for k in range(5)]
    tracker.min_score = 0.6
    assert tracker.update(runtime.infer(canvas), 0.5).names() == ["person"]
    tracker.min_score = 0.3
    again = tracker.update(runtime.infer(canvas), 0.6)
    assert again.names() == ["person", "dog"]
    assert again.track_ids is not None
    assert ids[-1] is not None
    assert again.track_ids.tolist() == ids[-1].tolist()


def test_status_and_description(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        status = wait_for(
            lambda: s if (s := door.camera.status()).objects == {"person": 1, "dog": 1} else None
        )
        assert (status.state, status.sentence, status.attempt) == ("live", "live", 0)
        status = wait_for(lambda: s if (s := door.camera.status()).fps_out > 0 else None)
        assert 0 < status.age.p50 <= status.age.p95 <= status.age.p99
        assert {"model", "track", "sinks"} <= set(status.stages)
        assert "total" not in status.stages
        described = door.camera.describe()
        assert (described.width, described.height) == (64, 48)
        assert described.limits.class_names == CLASS_NAMES[1:]
        assert described.limits.lowest_score == LOWEST_LIVE_SCORE
        clean = door.camera.snapshot(annotated=False)
        drawn = door.camera.snapshot(annotated=True)
        assert clean.shape == drawn.shape == (48, 64, 3)
        assert len(np.unique(clean)) == 1
        assert len(np.unique(drawn)) > 5


def test_before_the_first_picture_there_is_no_snapshot(tmp_path: Path) -> None:
    with controlled(tmp_path, NumberedSource(0)) as door:
        with pytest.raises(SinkError, match="has not shown a picture yet"):
            door.camera.snapshot(annotated=True)
        described = door.camera.describe()
        assert (described.width, described.height, described.status.objects) == (0, 0, {})


def test_nothing_is_drawn_unless_it_is_wanted(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        drawn = door.names.drawn
        wait_for(lambda: len(drawn) > 5)
        assert not any(drawn)
        door.camera.set_recording(True)
        wait_for(lambda: drawn[-1])
        door.camera.set_recording(False)
        wait_for(lambda: not drawn[-1])
