"""Many cameras at once: fair turns, failures that stay their own, edits while they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import rtsp_server
from rtsp_recorder import pictures_in, rtsp_recorder

from stream.camera import Camera
from stream.cameras import summarize_fleet
from stream.config import Config
from stream.config_load import load_config
from stream.fleet import Fleet
from stream.ledger import LedgerCounts
from stream.monitor.snapshot import CameraSnapshot

pytestmark = pytest.mark.usefixtures("one_torch_thread")

# A small canvas and no export: what is tested here is not the model
DEFAULTS = "defaults: {runtime: torch-eager, canvas_side: 64, hud: false}\n"
PATTERN = "lavfi:testsrc2=size=320x180:rate={rate},realtime"


def config_of(folder: Path, cameras: str, more: str = "") -> Config:
    path = folder / "cameras.yaml"
    path.write_text(f"{more}{DEFAULTS}cameras:\n{cameras}", encoding="utf-8")
    return load_config(path)


def pattern(name: str, rate: int = 10, more: str = "") -> str:
    return f"  {name}: {{source: '{PATTERN.format(rate=rate)}'{more}}}\n"


@contextmanager
def running(config: Config) -> Iterator[Fleet]:
    fleet = Fleet(config, lambda _: None)
    try:
        yield fleet
    finally:
        fleet.stop()


def wait_until(
    fleet: Fleet, condition: Callable[[dict[str, CameraSnapshot]], bool], seconds: float = 90
) -> dict[str, CameraSnapshot]:
    deadline = time.monotonic() + seconds
    while True:
        fleet.pump()
        cameras = {camera.name: camera for camera in fleet.snapshots()}
        if condition(cameras):
            return cameras
        states = {name: (c.status, c.counts) for name, c in cameras.items()}
        assert time.monotonic() < deadline, states
        time.sleep(0.05)


def all_emitted(count: int) -> Callable[[dict[str, CameraSnapshot]], bool]:
    return lambda cameras: all(camera.counts.emitted >= count for camera in cameras.values())


def is_balanced(counts: LedgerCounts) -> bool:
    return counts.captured == counts.emitted + sum(counts.dropped.values()) + counts.failed


@pytest.mark.slow
def test_eight_cameras_that_ask_for_too_much_are_served_fairly(tmp_path: Path) -> None:
    """10 to 60 frames a second each, two models; and one is killed, which the others survive."""
    rtsp_server.require()
    with rtsp_server.rtsp_server(tmp_path) as server, rtsp_server.rtsp_server(tmp_path) as other:
        cameras = "".join(pattern(f"pattern{k}", 10 + 10 * k) for k in range(6))
        cameras += f"  good: {{source: '{server.url()}'}}\n  bad: {{source: '{other.url()}'}}\n"
        with running(config_of(tmp_path, cameras)) as fleet:
            wait_until(fleet, all_emitted(1))
            before = {camera.name: camera.counts.emitted for camera in fleet.snapshots()}
            after = wait_until(
                fleet,
                lambda now: sum(now[name].counts.emitted - before[name] for name in now) > 160,
            )
            turns = {name: after[name].counts.emitted - before[name] for name in after}
            mean = sum(turns.values()) / len(turns)
            assert min(turns.values()) > mean / 2, turns
            assert max(turns.values()) < mean * 2, turns
            offered = sum(camera.counts.captured for camera in after.values())
            assert offered > 2 * sum(camera.counts.emitted for camera in after.values())

            other.kill()
            wait_until(fleet, lambda now: now["bad"].status.state == "reconnecting")
            left = {name: camera.counts.emitted for name, camera in after.items()}
            living = wait_until(
                fleet,
                lambda now: all(
                    now[name].counts.emitted > left[name] + 10 for name in now if name != "bad"
                ),
            )
            round_ms = 8e3 / sum(camera.rates[1] for camera in living.values())
            for name, camera in living.items():
                assert camera.restarts == 0
                if name != "bad":
                    assert camera.status.state == "live"
                    # it waits for its turn, behind one frame that does, too
                    assert camera.ages.p95_ms < 3 * round_ms + 500
            with rtsp_server.rtsp_server(tmp_path, port=other.port):
                wait_until(fleet, lambda now: now["bad"].status.state == "live")
                wait_until(fleet, lambda now: now["bad"].reconnects == 1)
    for name, accounts in fleet.accounts().items():
        assert is_balanced(accounts.ledger.counts()), name
        assert accounts.ledger.counts().failed == 0
        assert sum(accounts.ledger.counts().dropped.values()) > 0


def test_an_edit_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    config = config_of(tmp_path, pattern("keep") + pattern("change") + pattern("remove"))
    with running(config) as fleet:
        wait_until(fleet, all_emitted(1))
        assert len(fleet.models()) == 1  # all three share it
        kept: Camera = fleet._cameras["keep"]
        counts = {c.name: c.counts.emitted for c in fleet.snapshots()}
        edited = pattern("keep") + pattern("change", more=", score: 0.9") + pattern("add")
        done = fleet.apply(config_of(tmp_path, edited))
        assert done == "added add; changed change; removed remove"
        now = wait_until(
            fleet,
            lambda now: (
                set(now) == {"keep", "change", "add"}
                and all(now[name].counts.emitted > counts.get(name, 0) for name in now)
                and len(fleet.models()) == 2  # another score is another instance
            ),
        )
        assert fleet._cameras["keep"] is kept
        assert now["keep"].restarts == 0
        assert now["change"].counts.emitted > counts["change"]  # its accounts went on
        assert len({model.model for model in fleet.models()}) == 2
        assert fleet.apply(config_of(tmp_path, edited)) == "no camera changed"
        fleet.apply(config_of(tmp_path, pattern("keep")))
        wait_until(fleet, lambda now: set(now) == {"keep"} and len(fleet.models()) == 1)
    assert set(fleet.accounts()) == {"keep", "change", "remove", "add"}
    assert all(is_balanced(accounts.ledger.counts()) for accounts in fleet.accounts().values())


def test_wrong_settings_of_one_camera_are_its_own(tmp_path: Path) -> None:
    cameras = pattern("good") + pattern("bad", more=", classes: [persn]")
    with running(config_of(tmp_path, cameras)) as fleet:
        now = wait_until(
            fleet,
            lambda now: now["good"].counts.emitted > 2 and now["bad"].status.state == "failed",
        )
        assert "did you mean person?" in now["bad"].status.reason
        assert not fleet.has_ended
        assert fleet.apply(config_of(tmp_path, cameras)) == "tried again bad"
        fixed = cameras.replace("persn", "person")
        assert fleet.apply(config_of(tmp_path, fixed)) == "changed bad"
        wait_until(fleet, all_emitted(1))


def test_wrong_settings_of_a_camera_that_has_run_are_not_tried_again(tmp_path: Path) -> None:
    with running(config_of(tmp_path, pattern("a"))) as fleet:
        wait_until(fleet, all_emitted(1))
        fleet.apply(config_of(tmp_path, pattern("a", more=", classes: [persn]")))
        now = wait_until(fleet, lambda now: "a" in now and now["a"].status.reason != "")
        assert now["a"].status.state == "failed"
        assert now["a"].restarts == 0


def test_damaged_packets_are_counted(tmp_path: Path) -> None:
    source = "faults:corrupt=0.5:lavfi:testsrc2=size=96x64:rate=10:duration=3"
    with running(config_of(tmp_path, f"  a: {{source: '{source}'}}\n")) as fleet:
        wait_until(fleet, lambda _: fleet.has_ended)
        (camera,) = fleet.snapshots()
        assert 0 < camera.corrupt_packets == 30 - camera.counts.captured
        summary = summarize_fleet(fleet)
    assert summary["cameras"]["a"]["corrupt_packets"] == camera.corrupt_packets


def test_a_pipeline_that_fails_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for a while: a file that cannot be made, then it can."""
    monkeypatch.setattr("stream.camera.FIRST_WAIT_SECONDS", 0.1)
    (tmp_path / "out").write_text("in the way of the folder")
    with running(config_of(tmp_path, pattern("a", more=", record: 'out/{name}.mp4'"))) as fleet:
        now = wait_until(fleet, lambda now: now["a"].status.state == "restarting")
        assert "out cannot be made" in now["a"].status.reason
        (tmp_path / "out").unlink()
        wait_until(fleet, all_emitted(3))
        assert fleet.snapshots()[0].restarts >= 1
    assert (tmp_path / "out" / "a.mp4").stat().st_size > 0


def test_a_camera_records_in_segments_and_goes_on_with_them(tmp_path: Path) -> None:
    camera = pattern("a", more=", record: 'out/{name}.mp4', segment: 0.4s, keep: '7d,1GB'")
    for number in (1, 2):  # runs, of which the second leaves the first one's files alone
        with running(config_of(tmp_path, camera)) as fleet:
            wait_until(fleet, all_emitted(8))
        files = sorted((tmp_path / "out").iterdir())
        assert all(file.name.startswith("a-20") for file in files)
        assert len(files) >= 2 * number
        for file in files:
            with av.open(str(file)) as container:
                assert next(container.decode(video=0)).width == 320


@pytest.mark.slow
def test_each_camera_is_published_where_it_says(tmp_path: Path) -> None:
    with rtsp_recorder(tmp_path / "server") as server:
        cameras = pattern("a", more=f", publish: '{server.url()}'")
        cameras += pattern("b", more=", publish: 'hls/{name}.m3u8'")
        with running(config_of(tmp_path, cameras)) as fleet:
            wait_until(fleet, all_emitted(30))
            wait_until(fleet, lambda _: len(server.connections()) == 1 and server.received() > 9)
        (received,) = server.connections()
    assert {image.shape for _, image in pictures_in(received)} == {(180, 320, 3)}
    with av.open(str(tmp_path / "hls" / "b.m3u8")) as container:
        shown = sum(1 for _ in container.decode(video=0))
    assert shown > 9


def test_files_end_and_so_does_the_fleet(tmp_path: Path) -> None:
    cameras = "  a: {source: 'lavfi:testsrc2=size=96x64:rate=10:duration=0.5', events: a.jsonl}\n"
    (tmp_path / "a.jsonl").write_text("of an earlier run")
    with running(config_of(tmp_path, cameras)) as fleet:
        wait_until(fleet, lambda _: fleet.has_ended)
        (camera,) = fleet.snapshots()
        assert (camera.status.state, camera.counts.emitted) == ("ended", 5)
        assert fleet.models() == []  # closed with its last camera
    assert (tmp_path / "a.jsonl").read_text() == "of an earlier run"
    lines = (tmp_path / "a-2.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert all('"source":"a"' in line for line in lines)


def test_a_canvas_can_be_given(tmp_path: Path) -> None:
    cameras = (
        "  wide: {source: 'lavfi:testsrc2=size=320x180,realtime', canvas: 64x112}\n"
        "  tall: {source: 'lavfi:testsrc2=size=96x160,realtime', canvas: 64x112}\n"
    )
    with running(config_of(tmp_path, cameras)) as fleet:
        wait_until(fleet, all_emitted(2))
        (model,) = fleet.models()
        assert model.model == "mask_rcnn_person 64x112"
        assert model.cameras == 2


def test_a_stop_before_anything_has_begun(tmp_path: Path) -> None:
    began = time.monotonic()
    with running(config_of(tmp_path, pattern("a") + pattern("b"))) as fleet:
        pass
    assert time.monotonic() - began < 10
    assert fleet.has_ended
