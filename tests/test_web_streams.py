"""Live pictures: once encoded for all, the newest for the slow, nothing for nobody."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from pieces import NumberedSource
from web_case import CHANGE, Case, closing_code, next_frame, serving, until
from websockets.sync.client import ClientConnection

from stream.web import live, server, viewer
from stream.web.encode import Form, encode, shrunk
from stream.web.mjpeg import BOUNDARY


def picture_of(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def pictures_within(socket: ClientConnection, seconds: float) -> int:
    """How many come."""
    count, ends_at = 0, time.monotonic() + seconds
    with suppress(TimeoutError):
        while True:
            count += isinstance(socket.recv(max(0.0, ends_at - time.monotonic())), bytes)
    return count


def test_a_frame_comes_clean_with_all_that_can_be_drawn(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.socket("/ws/live/door") as socket:
        header, jpeg = next_frame(socket)
        socket.send("ack")
        later, _ = next_frame(socket)
    picture = picture_of(jpeg)
    assert picture.shape == (48, 64, 3)
    assert np.ptp(picture) <= 4
    assert abs(int(picture.mean()) - header["index"] % 256) <= 2
    assert header["width"] == header["jpeg_width"] == 64
    assert header["pts_seconds"] == pytest.approx(header["index"] * 0.04)
    assert abs(time.time() - header["captured_at"]) < 30
    assert header["age_ms"] >= 0
    (person,) = header["objects"]
    assert person["label"] == "person"
    assert person["box"] == [8.0, 8.0, 40.0, 40.0]
    assert person["colour"].startswith("#")
    assert len(person["polygons"]) == 1
    assert min(person["polygons"][0]) >= 6
    assert max(person["polygons"][0]) <= 41
    assert later["index"] > header["index"]


def test_a_viewer_that_does_not_answer_gets_two_frames_and_the_newest_later(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as case, case.socket("/ws/live/door") as socket:
        first, _ = next_frame(socket)
        second, _ = next_frame(socket)
        emitted = case.pipelines["door"].ledger.counts().emitted
        assert not pictures_within(socket, 1.0)
        until(lambda: case.pipelines["door"].ledger.counts().emitted > emitted + 40, "it goes on")
        newest = case.controls.cameras()["door"].frames.newest
        socket.send("ack")
        third, _ = next_frame(socket)
    assert newest is not None
    assert third["index"] >= newest.job.frame.index > second["index"] + 30
    assert second["index"] > first["index"]


def test_all_viewers_of_a_size_share_one_encoding_and_nobody_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[int, Form]] = []

    def counted(view, frame, form):  # type: ignore[no-untyped-def]
        encoded.append((frame.number, form))
        return encode(view, frame, form)

    monkeypatch.setattr(live, "encode", counted)
    with serving(tmp_path) as case:
        until(lambda: case.pipelines["door"].ledger.counts().emitted > 20, "frames come")
        assert not encoded
        with ExitStack() as stack:
            sockets = [stack.enter_context(case.socket("/ws/live/door")) for _ in range(10)]
            for socket in sockets * 20:
                next_frame(socket)
                socket.send("ack")
        assert len(encoded) == len(set(encoded)) < 10 * 20
        threads = {thread.name for thread in threading.enumerate()}
        assert "live encoder" in threads
        until(
            lambda: "live encoder" not in {one.name for one in threading.enumerate()},
            "the encoder rests",
        )


@pytest.mark.allow_error_log
def test_a_picture_that_cannot_be_encoded_costs_its_viewers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view, frame, form):  # type: ignore[no-untyped-def]
        raise ValueError("it cannot be compressed")

    with serving(tmp_path) as case:
        with monkeypatch.context() as broken:
            broken.setattr(live, "encode", fail)
            with case.socket("/ws/live/door") as socket:
                assert closing_code(socket) is not None
        assert "it cannot be compressed" in caplog.text
        with case.socket("/ws/live/door") as socket:
            next_frame(socket)


def test_a_viewer_that_takes_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(sockets, "TCP_USER_TIMEOUT"):
        pytest.skip("this system cannot do that")
    monkeypatch.setattr(server, "STUCK_SECONDS", 1.0)
    monkeypatch.setattr(server, "SEND_BUFFER_BYTES", 4096)
    monkeypatch.setattr(viewer, "MOST_VIEWERS", 1)
    with serving(tmp_path) as case, case.client() as client, sockets.socket() as stuck:
        stuck.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", case.server.port))
        stuck.sendall(b"GET /stream/door.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

        def answered() -> int:
            with client.stream("GET", "/stream/door.mjpg") as answer:
                return answer.status_code

        until(lambda: answered() == 503, "it watches")
        until(lambda: answered() == 200, "there is room again")


def test_width_and_fps_are_what_was_asked_for(tmp_path: Path) -> None:
    with (
        serving(
            tmp_path, source=lambda: NumberedSource(None, is_live=True, period_seconds=0.01)
        ) as case,
        case.socket("/ws/live/door?width=0&fps=10") as socket,
    ):
        began = time.monotonic()
        for _ in range(6):
            next_frame(socket)
            socket.send("ack")
        assert time.monotonic() - began > 0.35
    tall = np.zeros((200, 400, 3), np.uint8)
    assert shrunk(tall, 100).shape == (50, 100, 3)
    assert shrunk(tall, 800) is tall


def test_mjpeg_is_annotated_and_goes_on(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as case,
        case.client() as client,
        client.stream("GET", "/stream/door.mjpg") as answer,
    ):
        assert answer.headers["content-type"].endswith(f"boundary={BOUNDARY}")
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if body.count(b"--" + BOUNDARY.encode()) > 4:
                break
    parts = body.split(b"--" + BOUNDARY.encode())[1:4]
    pictures = [picture_of(part.split(b"\r\n\r\n", 1)[1]) for part in parts]
    assert all(picture.shape == (48, 64, 3) and np.ptp(picture) > 50 for picture in pictures)


def test_no_camera_and_too_much(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        assert client.get("/stream/none.mjpg").status_code == 404
        assert client.get("/stream/door.mjpg?width=100000").status_code == 422
        with case.socket("/ws/live/none") as socket:
            assert closing_code(socket) == 4404


def test_a_camera_that_goes_ends_its_viewers(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.socket("/ws/live/door") as socket:
        next_frame(socket)
        case.controls.remove("door")
        assert closing_code(socket) == 4404


def test_a_camera_that_goes_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go_on = threading.Event(), threading.Event()

    def slow(view, frame, form):  # type: ignore[no-untyped-def]
        began.set()
        assert may_go_on.wait(20)
        return encode(view, frame, form)

    monkeypatch.setattr(live, "encode", slow)
    waits = []
    with serving(tmp_path) as case, case.client() as client:
        with case.socket("/ws/live/door") as socket:
            assert began.wait(20)
            case.controls.remove("door")
            ends_at = time.monotonic() + 1.5
            while (asked_at := time.monotonic()) < ends_at:
                client.get("/healthz")
                waits.append(time.monotonic() - asked_at)
            assert closing_code(socket) == 4404
        may_go_on.set()
    assert max(waits) < 1  # though its encoder is not done


def test_state_is_told_and_figures_come_each_second(tmp_path: Path) -> None:
    with serving(tmp_path, names=("door", "yard")) as case:
        with case.socket("/ws/live/door") as socket:
            state = json.loads(
                until(lambda: text if isinstance(text := socket.recv(20), str) else "", "state")
            )
        assert state["type"] == "state"
        assert state["state"] == "live"
        assert state["attempt"] == 0
        with case.socket("/ws/status") as socket:
            figures = json.loads(socket.recv(timeout=20))
            later = json.loads(socket.recv(timeout=20))
    assert set(figures["cameras"]) == set(later["cameras"]) == {"door", "yard"}
    door = later["cameras"]["door"]
    assert door["objects"] == {"person": 1}
    assert door["fps_out"] > 0
    assert set(door["age_ms"]) == {"p50", "p95", "p99"}
    assert "model" in door["stages"]


def test_stop_ends_in_time_with_all_kinds_of_viewers(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as case,
        case.client() as client,
        case.socket("/ws/live/door"),
        case.socket("/ws/status"),
        client.stream("GET", "/stream/door.mjpg") as answer,
    ):
        next(answer.iter_bytes())
        began = time.monotonic()
        case.server.close()
        assert time.monotonic() - began < 5


def test_webrtc_shows_the_annotated_picture(tmp_path: Path) -> None:
    aiortc = pytest.importorskip("aiortc")

    def is_encoded() -> bool:
        return "rtc encoder" in {thread.name for thread in threading.enumerate()}

    async def watch(case: Case) -> list[tuple[int, int]]:
        here = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        tracks: asyncio.Queue = asyncio.Queue()
        here.on("track", tracks.put_nowait)
        here.addTransceiver("video", direction="recvonly")
        await here.setLocalDescription(await here.createOffer())
        offer = {"sdp": here.localDescription.sdp, "type": "offer"}
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.post(
                f"{case.url}/api/cameras/door/webrtc", json=offer, headers=CHANGE
            )
        assert answer.status_code == 200, answer.text
        await here.setRemoteDescription(aiortc.RTCSessionDescription(**answer.json()))
        track = await asyncio.wait_for(tracks.get(), 20)
        sizes = []
        for _ in range(5):
            frame = await asyncio.wait_for(track.recv(), 20)
            sizes.append((frame.width, frame.height))
        assert is_encoded()
        case.controls.remove("door")  # whoever watched it is sent away
        await asyncio.to_thread(until, lambda: not is_encoded(), "nothing is encoded any more")
        await here.close()
        return sizes

    with serving(tmp_path, names=("door", "yard")) as case, case.client() as client:
        assert client.get("/api/session").json()["webrtc"] is True
        assert asyncio.run(watch(case)) == [(64, 48)] * 5
        wrong = client.post("/api/cameras/yard/webrtc", json={"sdp": "v=0", "type": "offer"})
        assert wrong.status_code == 422
        assert "H.264" in wrong.json()["detail"]


def test_leaving_in_the_middle_is_no_error(tmp_path: Path) -> None:
    with serving(tmp_path) as case:
        key = "GET /ws/live/door HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        key += "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        key += "Sec-WebSocket-Version: 13\r\n\r\n"
        for is_heard in (False, True) * 5:
            with sockets.create_connection(("127.0.0.1", case.server.port)) as connection:
                connection.sendall(key.encode())
                if is_heard:
                    assert connection.recv(100).startswith(b"HTTP/1.1 101")
        with case.socket("/ws/live/door") as socket:
            next_frame(socket)
