"""A live source, tested against a real RTSP server."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import media
import pytest
from rtsp_server import RtspServer, rtsp_server

from stream.errors import SourceError, SourceTimeout
from stream.sources import FrameSource, SourceOptions, create_source

PASSWORD = "s3cr3t"
READ_TIMEOUT_SECONDS = 0.5
OPTIONS = SourceOptions(open_timeout_seconds=3.0, read_timeout_seconds=READ_TIMEOUT_SECONDS)
MARGIN_SECONDS = 1.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    with rtsp_server(tmp_path) as server:
        yield server


@pytest.fixture
def playing(server: RtspServer) -> Iterator[FrameSource]:
    """An open source that has shown a frame."""
    with create_source(server.url(), options=OPTIONS) as source:
        source.open()
        assert source.read() is not None
        yield source


def read_to_the_end(source: FrameSource) -> None:
    while source.read() is not None:
        continue


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_arrive(server: RtspServer, transport: str) -> None:
    options = SourceOptions(rtsp_transport=transport)  # type: ignore[arg-type]
    with create_source(server.url(), options=options) as source:
        info = source.open()
        frames = [source.read() for _ in range(20)]
    assert (info.width, info.height, info.is_live) == (128, 96, True)
    assert info.frame_count is None
    assert info.frame_rate == 25
    shown = [frame for frame in frames if frame]
    numbers = [media.number_in(frame.image) for frame in shown]
    assert numbers == [(numbers[0] + step) % 48 for step in range(20)]
    seconds = shown[-1].pts_seconds - shown[0].pts_seconds
    assert seconds == pytest.approx(19 / 25, abs=0.2)
    assert shown[-1].captured_at - shown[5].captured_at == pytest.approx(14 / 25, abs=0.2)


def test_the_first_frame_is_there_quickly(server: RtspServer) -> None:
    began_at = time.monotonic()
    with create_source(server.url()) as source:
        source.open()
        assert time.monotonic() - began_at < 1.5  # FFmpeg's own probing alone takes 1 s


def test_a_user_with_the_password(tmp_path: Path) -> None:
    with rtsp_server(tmp_path, user="user", password=PASSWORD) as server:
        url = server.url(user_info=f"user:{PASSWORD}")
        with create_source(url, options=OPTIONS) as source:
            info = source.open()
            frame = source.read()
    assert frame is not None
    assert PASSWORD not in f"{info} {frame}"


@pytest.mark.parametrize("user_info", ["", "user:wr0ng"])
def test_a_wrong_password(tmp_path: Path, user_info: str) -> None:
    with (
        rtsp_server(tmp_path, user="user", password=PASSWORD) as server,
        create_source(server.url(user_info=user_info), options=OPTIONS) as source,
        pytest.raises(SourceError, match="wants a user and a password") as caught,
    ):
        source.open()
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_path(server: RtspServer) -> None:
    with (
        create_source(server.url("nothing_here"), options=OPTIONS) as source,
        pytest.raises(SourceError, match="no stream at this path"),
    ):
        source.open()


def test_a_server_that_dies(server: RtspServer, playing: FrameSource) -> None:
    server.kill()
    began_at = time.monotonic()
    with pytest.raises(SourceError, match="disconnected"):
        read_to_the_end(playing)
    assert time.monotonic() - began_at < MARGIN_SECONDS


def test_a_server_that_freezes(server: RtspServer, playing: FrameSource) -> None:
    server.freeze()
    began_at = time.monotonic()
    with pytest.raises(SourceTimeout, match=r"silent for 0\.5 s"):
        read_to_the_end(playing)
    assert time.monotonic() - began_at < 2 * READ_TIMEOUT_SECONDS + MARGIN_SECONDS
    closing_at = time.monotonic()
    playing.close()
    assert time.monotonic() - closing_at < MARGIN_SECONDS


def test_a_server_that_is_frozen_from_the_start(server: RtspServer) -> None:
    server.freeze()
    options = SourceOptions(open_timeout_seconds=0.5)
    began_at = time.monotonic()
    with (
        create_source(server.url(), options=options) as source,
        pytest.raises(SourceTimeout, match=r"silent for 0\.5 s"),
    ):
        source.open()
    assert time.monotonic() - began_at < 0.5 + MARGIN_SECONDS


def test_interrupt_during_a_frozen_read(server: RtspServer, playing: FrameSource) -> None:
    server.freeze()
    timer = threading.Timer(0.1, playing.interrupt)
    began_at = time.monotonic()
    timer.start()
    read_to_the_end(playing)
    assert time.monotonic() - began_at < 2 * READ_TIMEOUT_SECONDS + MARGIN_SECONDS
    timer.join()


def test_a_restarted_server_can_be_opened_again(tmp_path: Path) -> None:
    with rtsp_server(tmp_path) as server:
        source = create_source(server.url(), options=OPTIONS)
        source.open()
        server.kill()
        with pytest.raises(SourceError):
            read_to_the_end(source)
    with source:
        with pytest.raises(SourceError, match="refuses the connection"):
            source.open()
        with rtsp_server(tmp_path, port=server.port):
            source.open()
            frame = source.read()
    assert frame is not None
    assert frame.index == 0
