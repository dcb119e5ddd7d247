"""Cameras of cameras.yaml under control: they share a model, come and go, keep what was drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.cameras import FileWatch, _reload
from stream.config import Config
from stream.config_load import load_config
from stream.control.controls import Controls
from stream.control.types import LiveSettings, Places
from stream.control.zone_store import ZoneStore
from stream.fleet import Fleet
from stream.zones import Zone

pytestmark = pytest.mark.usefixtures("one_torch_thread")

DEFAULTS = "defaults: {runtime: torch-eager, canvas_side: 64, hud: false}\n"
PATTERN = "lavfi:testsrc2=size=160x90:rate=5,realtime"
LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))


def written(folder: Path, *cameras: str) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(f"{DEFAULTS}cameras:\n" + "".join(cameras), encoding="utf-8")
    return path


def pattern(name: str, more: str = "") -> str:
    return f"  {name}: {{source: '{PATTERN}'{more}}}\n"


@contextmanager
def running(path: Path) -> Iterator[tuple[Fleet, Controls, FileWatch]]:
    zones = ZoneStore.beside(path)
    config: Config = zones.applied(load_config(path))
    controls = Controls(path.parent / "recordings", zones)
    fleet = Fleet(config, lambda _: None, controls)
    try:
        yield fleet, controls, FileWatch(path, config, zones)
    finally:
        fleet.stop()
        controls.close()


def wait_until(fleet: Fleet, condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        fleet.pump()
        states = [(camera.name, camera.status) for camera in fleet.snapshots()]
        assert time.monotonic() < deadline, states
        time.sleep(0.05)


def test_cameras_of_other_scores_share_a_model_and_come_and_go(tmp_path: Path) -> None:
    path = written(tmp_path, pattern("front"), pattern("back", ", score: 0.8, classes: [person]"))
    with running(path) as (fleet, controls, watch):
        assert set(controls.cameras()) == {"front", "back"}
        front, back = controls.cameras()["front"], controls.cameras()["back"]
        wait_until(fleet, lambda: front.status().state == back.status().state == "live")
        wait_until(fleet, lambda: front.frames.newest is not None)
        assert len(fleet.models()) == 1
        assert back.settings == LiveSettings(0.8, ("person",))
        assert front.describe().limits.class_names == ("person",)
        front.replace_settings(LiveSettings(0.2))
        assert back.settings.score == 0.8

        # what is drawn neither restarts the camera nor is it undone when the file is read again
        front.replace_places(Places((LEFT,)))
        pipeline = fleet._cameras["front"]._pipeline
        notices: list[str] = []
        _reload(fleet, watch, notices.append)
        assert notices == [f"{path}: no camera changed."]
        assert controls.cameras()["front"] is front
        wait_until(fleet, lambda: front.status().zones == {"left": {}})
        assert fleet._cameras["front"]._pipeline is pipeline

        written(tmp_path, pattern("front", ", score: 0.6"), pattern("side"))
        _reload(fleet, watch, notices.append)
        assert notices[-1] == f"{path}: added side; changed front; removed back."
        wait_until(fleet, lambda: set(controls.cameras()) == {"front", "side"})
        wait_until(fleet, lambda: controls.cameras()["front"] is not front)
        assert controls.cameras()["front"].places == Places((LEFT,))  # it stayed
        assert controls.cameras()["front"].settings.score == 0.6  # as the file says


def test_a_camera_s_own_recording_shows_as_on_and_can_be_ended(tmp_path: Path) -> None:
    template = str(tmp_path / "films" / "{name}-{started}.mp4")
    path = written(tmp_path, pattern("front", f", record: '{template}'"))
    with running(path) as (fleet, controls, _):
        front = controls.cameras()["front"]
        wait_until(fleet, lambda: front.status().recording.written > 2)
        state = front.status().recording
        assert state.on
        assert state.file is not None
        [entry] = controls.recordings.entries("front")
        assert (entry.file, entry.is_growing) == (state.file, True)
        assert not front.set_recording(False).on
        assert front.set_recording(True).on
        wait_until(fleet, lambda: front.status().recording.written > 2)
        assert front.status().recording.file != state.file
    assert len(list((tmp_path / "films").glob("front-*.mp4"))) == 2
    assert len(controls.recordings.entries("front")) == 2


def test_recordings_without_a_page_are_refused(
    tmp_path: Path, rcnn_live: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, error = rcnn_live("run", "demo", "--recordings", tmp_path / "films")
    assert code == 2
    assert "give --serve, too" in error
