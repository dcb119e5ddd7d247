"""Recording switched on and off while a camera runs, and the library of what was recorded."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from controlled import (
    Names,
    TwoObjects,
    controlled,
    controls_in,
    join,
    pipeline_of,
    wait_for,
)
from flash_and_beep import BEEP_SECONDS, beeps, flashes, write_clip
from pieces import NumberedSource

from stream.control.library import SETTLED_SECONDS, Place, RecordingLibrary
from stream.errors import SinkError
from stream.frame import FrameTrace
from stream.monitor.snapshot import Accounts, CameraSnapshot, CameraStatus
from stream.sinks.segments import Limit, RecordingOptions
from stream.sinks.switched_recording import PATIENCE_SECONDS, SwitchedRecording
from stream.sources import SourceOptions, create_source
from stream.stages import Job


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def settle(path: Path) -> None:
    """As if it had been finished a minute ago."""
    os.utime(path, (time.time() - 60, time.time() - 60))


def a_recording(path: Path, seconds: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5 * seconds):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = number, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    settle(path)
    return path


def test_each_switching_on_makes_a_file_that_plays(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        camera, library = door.camera, door.controls.recordings
        wait_for(lambda: door.names.rows)
        assert not camera.status().recording.on
        for number in (1, 2):
            assert camera.set_recording(True).on
            camera.set_recording(True)  # it is on already
            state = wait_for(lambda: s if (s := camera.status().recording).written > 10 else None)
            assert state.reason == ""
            growing = [entry for entry in library.entries() if entry.is_growing]
            assert state.file in [entry.file for entry in growing]
            with pytest.raises(SinkError, match="is being written"):
                library.delete(library.entries()[0].id)
            off = camera.set_recording(False)
            assert (off.on, off.file) == (False, None)
            entries = library.entries("door")
            assert len(entries) == number
            assert frames_in(library.path_of(entries[0].id)) >= 10  # finished when it returned
        statistics = camera.recording.statistics()
        assert statistics is not None
        assert statistics.files == 2
        assert (
            statistics.written + statistics.dropped
            == sum(frames_in(library.path_of(entry.id)) for entry in library.entries())
            + statistics.dropped
        )
        for entry in library.entries():
            settle(library.path_of(entry.id))
        found = library.entries()
        assert not any(entry.is_growing for entry in found)
        assert all(0.1 < entry.seconds < 60 for entry in found)
        assert all(abs(entry.started_at - time.time()) < 120 for entry in found)
        library.delete(found[0].id)
        assert [entry.id for entry in library.entries()] == [found[1].id]


def test_a_run_that_ends_finishes_what_is_recorded(tmp_path: Path) -> None:
    with controlled(tmp_path, NumberedSource(40), is_recording=True) as door:
        wait_for(lambda: door.pipeline.wait(0.05))
    [entry] = door.controls.recordings.entries()
    assert frames_in(door.controls.recordings.path_of(entry.id)) == 40  # a file waits
    statistics = door.camera.recording.statistics()
    assert statistics is not None
    assert statistics.written == 40


def test_it_goes_on_in_another_file_when_the_camera_is_started_again(tmp_path: Path) -> None:
    controls, accounts = controls_in(tmp_path), Accounts()

    def snapshot() -> CameraSnapshot:
        return CameraSnapshot.of("door", CameraStatus("live"), replace(accounts), None)

    camera = join(controls, accounts, snapshot)
    camera.set_recording(True)  # before there is a pipeline: with the first picture
    for count in (10, 15):
        source = NumberedSource(count)
        pipeline = pipeline_of(camera, source, TwoObjects(), accounts, Names())
        pipeline.start()
        wait_for(lambda pipeline=pipeline: pipeline.wait(0.05))  # type: ignore[misc]
        pipeline.finish()
    controls.close()
    library = controls.recordings
    counts = [frames_in(library.path_of(entry.id)) for entry in library.entries()]
    assert sorted(counts) == [10, 15]


def test_segments_are_named_and_listed_alike(tmp_path: Path) -> None:
    options = RecordingOptions(segment=Limit(seconds=0.5))
    source = NumberedSource(50)
    with controlled(tmp_path, source, is_recording=True, options=options) as door:
        wait_for(lambda: door.pipeline.wait(0.05))
    entries = door.controls.recordings.entries("door")
    assert len(entries) == 4  # 2 s
    assert all(entry.camera == "door" for entry in entries)


def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file is in its place")
    with controlled(tmp_path) as door:
        wait_for(lambda: door.names.rows)
        with pytest.raises(SinkError, match="recordings"):
            door.camera.set_recording(True)
        assert not door.camera.status().recording.on
        count = len(door.names.rows)
        wait_for(lambda: len(door.names.rows) > count + 5)


def test_sound_is_recorded_whenever_it_is_switched_on(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(0, 8000, 40))
    controls, accounts = controls_in(tmp_path), Accounts()

    def snapshot() -> CameraSnapshot:
        return CameraSnapshot.of("door", CameraStatus("live"), replace(accounts), None)

    camera = join(controls, accounts, snapshot)
    options = SourceOptions(tap=camera.recording.tap)
    source, runtime = create_source(str(clip), options=options), TwoObjects(0, holds_at=60)
    names = Names()
    pipeline = pipeline_of(camera, source, runtime, accounts, names)
    pipeline.start()
    wait_for(lambda: len(names.rows) >= 60 - 4)  # some are on their way
    camera.set_recording(True)
    runtime.release.set()
    wait_for(lambda: pipeline.wait(0.05))
    pipeline.finish()
    controls.close()
    [entry] = controls.recordings.entries()
    path = controls.recordings.path_of(entry.id)
    shown, heard = flashes(path), beeps(path)
    assert len(shown) >= 4  # of 8, as it was switched on in the third second
    assert len(shown) < 8
    # what is heard with the first pictures was read before them, and thus before the switch
    assert len(heard) >= len(shown) - 1
    expected = shown[-len(heard) :]
    assert expected[0] - 0.03 < heard[0] < expected[0] + BEEP_SECONDS  # of which it may miss a part
    assert heard[1:] == pytest.approx(expected[1:], abs=0.03)


@pytest.mark.parametrize(("read_before", "has_sound"), [(20, True), (200, False)])
def test_a_recording_begins_when_its_sound_is_known(
    tmp_path: Path, read_before: int, has_sound: bool
) -> None:
    """With the first packet that is read after the switch; at the end of a file there is none."""
    clip = write_clip(tmp_path / "clip.mp4", range(0, 8000, 40))
    recording = SwitchedRecording(
        lambda: tmp_path / "made.mp4", RecordingOptions(), is_threaded=False
    )
    with create_source(str(clip), options=SourceOptions(tap=recording.tap)) as source:
        recording.open(source.open())
        waiting = [source.read() for _ in range(read_before)]
        recording.switch(True)
        for frame in itertools.chain(waiting, iter(source.read, None)):
            assert frame is not None
            recording.write(Job(frame, FrameTrace(0.0), picture=frame.image))
        recording.close()
    with av.open(str(tmp_path / "made.mp4")) as made:
        assert bool(made.streams.audio) == has_sound
        pictures = list(made.decode(video=0))
    begun = read_before if has_sound else round(PATIENCE_SECONDS * 25)
    assert len(pictures) == 200 - begun
    assert pictures[0].pts * pictures[0].time_base == Fraction(begun, 25)


# ── the library ──


def test_only_plain_recordings_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    good = a_recording(folder / "front-door-20260301T120000.250Z.mp4")
    outside = a_recording(tmp_path / "secret" / "out-20260301T120000.000Z.mp4")
    (folder / "link-20260301T120000.000Z.mp4").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    (folder / "folder.mp4").mkdir()
    (folder / "notes.txt").write_text("x")
    (folder / ".events.sqlite3").write_text("x")
    library = RecordingLibrary(folder)
    [entry] = library.entries()
    assert (entry.camera, entry.file, entry.is_growing) == ("front-door", good.name, False)
    assert entry.seconds == pytest.approx(2, abs=0.3)
    assert entry.started_at == pytest.approx(1772366400.25)
    assert entry.bytes == good.stat().st_size
    assert library.path_of(entry.id) == good
    for wrong in (
        "", ".", "..", "../secret/out-20260301T120000.000Z.mp4", str(outside), str(good), good.name,
        entry.id.upper() + "/..", "%2e%2e/secret", "\0", entry.id + "\0",
    ):  # fmt: skip
        with pytest.raises(KeyError):
            library.path_of(wrong)
        with pytest.raises(KeyError):
            library.delete(wrong)
    assert outside.exists()


def test_what_goes_between_listing_and_deleting_is_no_failure(tmp_path: Path) -> None:
    path = a_recording(tmp_path / "a-20260301T120000.000Z.mp4")
    library = RecordingLibrary(tmp_path)
    [entry] = library.entries()
    path.unlink()
    with pytest.raises(KeyError):
        library.delete(entry.id)
    assert library.entries() == []
    assert RecordingLibrary(tmp_path / "none").entries() == []


def test_a_file_that_somebody_else_writes_is_growing(tmp_path: Path) -> None:
    path = a_recording(tmp_path / "a-20260301T120000.000Z.mp4")
    os.utime(path, (time.time() + SETTLED_SECONDS, time.time() + SETTLED_SECONDS))
    library = RecordingLibrary(tmp_path)
    [entry] = library.entries()
    assert entry.is_growing
    with pytest.raises(SinkError, match="being written"):
        library.delete(entry.id)


def test_a_file_that_does_not_play_is_listed_and_can_go(tmp_path: Path) -> None:
    path = tmp_path / "a-20260301T120000.000Z.mp4"
    path.write_bytes(b"no video")
    settle(path)
    library = RecordingLibrary(tmp_path)
    [entry] = library.entries()
    assert entry.seconds == 0
    library.delete(entry.id)
    assert not path.exists()


def test_what_belongs_to_a_clip_goes_with_it(tmp_path: Path) -> None:
    path = a_recording(tmp_path / "door-20260301T120000.000Z.mp4")
    for suffix in (".json", ".jpg", ".jsonl"):  # of who was seen, the picture of them, each frame
        path.with_name(path.name + suffix).write_text("x")
    library = RecordingLibrary(tmp_path)
    [entry] = library.entries()
    library.delete(entry.id)
    assert list(tmp_path.iterdir()) == []


def test_recordings_elsewhere_are_found_by_their_template_alone(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    mine = [
        a_recording(folder / name)
        for name in ("door.mp4", "door-2.mp4", "door-20260301T120000.000Z.mp4")
    ]
    a_recording(folder / "family.mp4")
    library = RecordingLibrary(tmp_path / "recordings")
    place = Place.of_template("door", str(folder / "{name}.mp4"))
    assert place is not None
    with controlled(tmp_path / "other") as other:
        library.add_camera("door", other.camera.recording, [place])
        assert {entry.file for entry in library.entries("door")} == {path.name for path in mine}
    started = Place.of_template("door", "videos/{name}-{started}.mp4")
    assert started is not None
    assert started.stem.fullmatch("door-20260301T120000Z-2")
    assert Place.of_template("door", "videos/{started}/{name}.mp4") is None


def test_a_moment_is_found_in_the_recording_that_shows_it(tmp_path: Path) -> None:
    a_recording(tmp_path / "door-20260301T120000.000Z.mp4", seconds=4)
    library = RecordingLibrary(tmp_path)
    [entry] = library.entries()
    finder = library.finder()
    moment = finder.moment("door", entry.started_at + 2.5)
    assert moment is not None
    assert (moment.id, moment.at_seconds) == (entry.id, 2.5)
    assert finder.moment("door", entry.started_at + 60) is None
    assert finder.moment("yard", entry.started_at + 2.5) is None
    assert finder.file("door", entry.file) == entry.id
    assert finder.file("door", "other.mp4") is None
