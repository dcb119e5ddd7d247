"""Cameras that speak something else go away and come back: MJPEG, HLS, RTSP over TLS."""

from __future__ import annotations

import contextlib
import subprocess
from itertools import pairwise
from pathlib import Path

import media
import pytest
from http_cameras import camera_whose_sound_goes_on, files_of, live_playlist, mjpeg_camera
from rtsp_server import rtsp_server
from watched import Watched

from stream.sources import SourceOptions, SourceState, SourceStatus


def test_mjpeg_comes_back() -> None:
    with mjpeg_camera() as port:
        watched = Watched(f"http://127.0.0.1:{port}/video.mjpg")
        source = watched.source
        info = source.open()
        assert info.is_live
        before = watched.read_until(lambda frame: frame.index == 10)
    with source, mjpeg_camera(port):
        after = watched.read_until(lambda frame: frame.gap_seconds > 0)
        after += watched.read_until(lambda frame: frame.index == after[-1].index + 5)
    frames = before + after
    assert all(later.pts > earlier.pts for earlier, later in pairwise(frames))
    for frame in frames:
        media.number_in(frame.image)
    assert "reconnecting" in watched.states()
    assert watched.states()[-1] == "live"


def test_hls_comes_back(tmp_path: Path) -> None:
    options = SourceOptions(open_timeout_seconds=4.0, read_timeout_seconds=2.0)
    with live_playlist(tmp_path) as playlist, contextlib.ExitStack() as second_life:
        with files_of(tmp_path) as port:
            watched = Watched(f"http://127.0.0.1:{port}/{playlist.name}", options)
            source = watched.source
            assert source.open().is_live
            before = watched.read_until(lambda frame: frame.index == 10)

        def come_back(status: SourceStatus) -> None:
            if status.state is SourceState.RECONNECTING and status.attempt == 2:
                second_life.enter_context(files_of(tmp_path, port))

        source.watch(come_back)
        with source:
            after = watched.read_until(lambda frame: frame.gap_seconds > 0)
            after += watched.read_until(lambda frame: frame.index == after[-1].index + 5)
    frames = before + after
    assert all(later.pts > earlier.pts for earlier, later in pairwise(frames))
    for frame in frames:
        media.number_in(frame.image)
    assert watched.states()[-1] == "live"


def test_sound_that_goes_on_without_a_picture_holds_no_reader() -> None:
    with camera_whose_sound_goes_on() as port:
        watched = Watched(f"http://127.0.0.1:{port}/live.ts")
        with watched.source as source:
            source.open()
            frames = watched.read_until(lambda frame: frame.gap_seconds > 0)
            frames += watched.read_until(lambda frame: frame.gap_seconds > 0)
    assert frames[-1].gap_seconds < 4
    assert watched.states()[-3:] == ["stalled", "reconnecting", "live"]
    assert {status.left_behind for status in watched.told} == {0}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """As cameras have them: signed by nobody."""
    key, signed = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    subprocess.run(
        ["openssl", "req", "-x509", *subject, "-keyout", str(key), "-out", str(signed)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    both = tmp_path / "both.pem"
    both.write_text(signed.read_text() + key.read_text())
    return both


def test_rtsp_over_tls_comes_back(tmp_path: Path, certificate: Path) -> None:
    user, password = "admin", "s3cr3t"
    with rtsp_server(tmp_path, user=user, password=password, certificate=certificate) as server:
        watched = Watched(server.url(user_info=f"{user}:{password}"))
        source = watched.source
        assert source.open().is_live
        before = watched.read_until(lambda frame: frame.index == 10)
        port = server.port
        server.kill()
    with (
        source,
        rtsp_server(tmp_path, user=user, password=password, certificate=certificate, port=port),
    ):
        after = watched.read_until(lambda frame: frame.gap_seconds > 0)
        after += watched.read_until(lambda frame: frame.index == after[-1].index + 5)
    assert all(later.pts > earlier.pts for earlier, later in pairwise(before + after))
    assert password not in str(watched.told)
