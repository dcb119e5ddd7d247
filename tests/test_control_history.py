"""What happened before a camera: told, pictured, bounded and found again."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from controlled import TwoObjects, controlled, wait_for
from pieces import NumberedSource

from stream.control import history
from stream.control.event_watch import EventWatch, thumbnail_of
from stream.control.history import Better, Event, EventHistory
from stream.control.library import Finder
from stream.control.types import EventEntry, Places
from stream.observer import ClipChange
from stream.sources.status import SourceState, SourceStatus
from stream.zones import Zone

WHOLE = Zone("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))


def a_history(folder: Path, most: int = 1000) -> EventHistory:
    return EventHistory(folder / "events.sqlite3", lambda: Finder([]), most=most)


def event(number: int, **more: object) -> Event:
    facts = {"camera": "door", "at": float(number), "kind": "state", "text": f"event {number}"}
    return Event(**{**facts, **more})  # type: ignore[arg-type]


def by_kind(entries: list[EventEntry], kind: str) -> dict[str | None, EventEntry]:
    return {entry.label: entry for entry in entries if entry.kind == kind}


def test_who_comes_and_goes_is_told_with_a_picture(tmp_path: Path) -> None:
    source = NumberedSource(150)  # 6 s, in which both are there for the first 2 s
    with controlled(tmp_path, source, TwoObjects(50)) as door:
        door.camera.replace_places(Places((WHOLE,)))
        wait_for(lambda: door.pipeline.wait(0.05))
        events = door.controls.events
        left = wait_for(
            lambda: found if len(found := by_kind(events.entries(), "left")) == 2 else None
        )
        entries = events.entries()
        appeared = by_kind(entries, "appeared")
        assert set(appeared) == {"person", "dog"}
        assert appeared["person"].score == pytest.approx(0.9)
        assert appeared["person"].track != appeared["dog"].track
        assert left["dog"].text == "dog left after 2 s"
        assert left["dog"].track == appeared["dog"].track
        entered = by_kind(entries, "zone_entered")
        assert entered["person"].text == "person entered all"
        assert set(by_kind(entries, "zone_left")) == {"person", "dog"}
        assert [one.text for one in entries if one.kind == "state"] == ["live"] or not [
            one for one in entries if one.kind == "state"
        ]
        for entry in (*appeared.values(), *left.values()):
            assert entry.has_thumbnail
            picture = cv2.imdecode(
                np.frombuffer(events.thumbnail(entry.id), np.uint8), cv2.IMREAD_COLOR
            )
            assert picture is not None
            assert max(picture.shape) <= 160
        ids = [entry.id for entry in entries]
        assert ids == sorted(ids, reverse=True)
        assert {entry.id for entry in events.entries(label="dog")} < set(ids)


def test_an_event_is_linked_to_its_recording(tmp_path: Path) -> None:
    source = NumberedSource(None, is_live=True, period_seconds=0.02)
    with controlled(tmp_path, source, is_recording=True) as door:
        events = door.controls.events
        appeared = wait_for(
            lambda: found if len(found := by_kind(events.entries(), "appeared")) == 2 else None
        )
        [entry] = door.controls.recordings.entries()
        for one in appeared.values():
            assert one.recording is not None
            assert one.recording.id == entry.id
            assert 0 <= one.recording.at_seconds < 60


def test_pages_filters_and_the_bound(tmp_path: Path) -> None:
    kept = a_history(tmp_path, most=300)
    for number in range(400):
        kept.add(event(number, camera=("door", "yard")[number % 2], label=None))
    kept.close()
    again = a_history(tmp_path, most=300)  # another run sees them
    page = again.entries(limit=50)
    assert [entry.at for entry in page] == [float(k) for k in range(399, 349, -1)]
    older = again.entries(before=page[-1].id, limit=10_000)
    assert len(older) == history.LONGEST_PAGE
    assert older[0].at == 349.0
    assert len(again.entries(camera="yard")) == 150
    oldest = again.entries(before=older[-1].id)
    assert oldest[-1].at == 100.0  # the first hundred are gone
    assert again.entries(limit=-5) == again.entries(camera="'; DROP TABLE events; --") == []
    assert again.entries(before=2**80) == []  # no number of SQLite's
    again.add(event(1000))
    assert wait_for(lambda: e if (e := again.entries(limit=1))[0].at == 1000 else None)[0].id > 400
    again.close()


def test_a_better_look_replaces_the_picture(tmp_path: Path) -> None:
    kept = a_history(tmp_path)
    kept.add(event(1, token="a", label="dog", score=0.5, thumbnail=b"first"))
    kept.add(event(2))
    kept.add(Better("a", 0.8, b"second"))
    found = wait_for(lambda: e if (e := kept.entries(label="dog")) and e[0].score == 0.8 else None)
    assert kept.thumbnail(found[0].id) == b"second"
    with pytest.raises(KeyError):
        kept.thumbnail(found[0].id + 1)  # it has none
    with pytest.raises(KeyError):
        kept.thumbnail(99)
    kept.close()
    kept.add(event(3))  # too late: nothing happens
    kept.close()


def test_a_file_that_is_no_database_costs_only_the_past(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events.sqlite3").write_bytes(b"this is no database, " * 100)
    kept = a_history(tmp_path)
    with caplog.at_level(logging.WARNING):
        kept.add(event(1))
        assert len(wait_for(kept.entries)) == 1
    assert "kept in memory" in caplog.text
    kept.close()
    assert (tmp_path / "events.sqlite3").read_bytes().startswith(b"this is no database")


def test_a_disk_that_is_full_at_the_end_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(database: sqlite3.Connection, most: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    kept = a_history(tmp_path)
    kept.add(event(1))
    wait_for(kept.entries)
    monkeypatch.setattr(history, "_trim", fail)
    kept.close()
    again = a_history(tmp_path)
    assert len(again.entries()) == 1
    again.close()


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    kept = a_history(tmp_path / "later")
    assert kept.entries() == []
    kept.close()
    assert not (tmp_path / "later").exists()


def test_states_are_told_once_and_clips_with_their_file(tmp_path: Path) -> None:
    kept = a_history(tmp_path)
    watch = EventWatch("door", kept)
    away = SourceStatus(state=SourceState.RECONNECTING, attempt=1, reason="It is gone.")
    for status in (
        SourceStatus(state=SourceState.LIVE),
        away,
        SourceStatus(state=SourceState.RECONNECTING, attempt=2, reason="It is still gone."),
        SourceStatus(state=SourceState.LIVE),
    ):
        watch.source_changed(status)
    facts = {"reasons": ["person"], "video": "door-20260301T120000.000Z.mp4"}
    watch.clip_changed(ClipChange("started", 5.0, facts))
    watch.clip_changed(ClipChange("ended", 9.0, facts))
    entries = wait_for(lambda: e if len(e := kept.entries()) == 4 else None)
    assert [entry.text for entry in entries] == [
        "a clip of person",
        "live",
        "no signal: reconnecting, attempt 1: It is gone.",
        "live",
    ]
    assert entries[0].at == 5.0
    kept.close()


def test_a_box_outside_of_the_picture_has_no_thumbnail() -> None:
    picture = np.full((48, 64, 3), 200, np.uint8)
    assert thumbnail_of(picture, np.array([100, 100, 120, 120], np.float32)) is None
    assert thumbnail_of(picture, np.array([-5, -5, 4, 4], np.float32)) is not None
