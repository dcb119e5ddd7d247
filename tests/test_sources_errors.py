"""Whatever is wrong with a source, the user gets one true sentence without a password."""

from __future__ import annotations

import errno
import gc
import re
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import media
import pytest

from stream.errors import RcnnLiveError, SourceError, SourceTimeout, UsageError
from stream.sources import ReconnectOptions, SourceOptions, create_source
from stream.sources.webcam import Webcam

SECRET = "s3cr3t"


def assert_one_sentence(error: BaseException) -> None:
    """One line that begins and ends like a sentence, without the words of a program."""
    text = str(error)
    assert re.fullmatch(r"[^\n]+[^.?\n][.?]", text), text
    assert not re.search(r"[.?] [A-Z]", text), text
    assert not re.search(r"Errno|Error\(|av\.error|avcodec_|avformat_", text), text


def assert_nothing_secret(error: BaseException) -> None:
    """Neither in the message nor in the traceback that would be printed."""
    assert SECRET not in "".join(traceback.format_exception(error))


def open_files() -> set[str]:
    """The descriptors of this process."""
    return {descriptor.name for descriptor in Path("/proc/self/fd").iterdir()}


def play(uri: str, options: SourceOptions) -> None:
    with create_source(uri, options=options) as source:
        source.open()
        while source.read():
            continue


def failure_of(
    uri: str, options: SourceOptions | None = None, *, within_seconds: float = 10
) -> RcnnLiveError:
    """What creating, opening or reading ``uri`` raises; nothing may be left open after it."""
    before = open_files()
    began_at = time.monotonic()
    with pytest.raises(RcnnLiveError) as caught:
        play(uri, options or SourceOptions())
    assert time.monotonic() - began_at < within_seconds
    error = caught.value
    del caught
    gc.collect()
    assert open_files() == before
    assert_one_sentence(error)
    assert_nothing_secret(error)
    return error


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "is empty"),
        ("nothing_like_this.mp4", "a source is a video file"),
        ("~nobody_of_this_name/clip.mp4", "cannot be used as a path"),
        ("x" * 5000, "cannot be used as a path"),
        ("nothing/*.png", "no pictures"),
        ("/dev/null", "neither a file nor a folder"),
        ("rstp://camera/live", "did you mean .*rtsp"),
        ("gopher://camera", "allowed are rtsp, "),
        ("rtsp:///live", "no host"),
        (f"rtsp://user:{SECRET}@/live", "no host"),
        (f"rtsp://user:{SECRET}/@camera/live", "port .* is not a number"),
        (f"rtsp://user:1/{SECRET}@camera/live", "@ after its host"),
        (f"rtsp://user:[{SECRET}@camera/live", r"host .* is none: .* \[ as %5B"),
        (f"rtps://user:{SECRET}@camera/live", "did you mean"),
        (f"rtsp:/user:{SECRET}@camera/live", "no host"),
        ("999", "no camera /dev/video999"),
        ("/dev/video999", "no camera /dev/video999"),
        ("screen::987", "screen :987 cannot be opened"),
        ("lavfi:no_such_filter", "Filter not found"),
        ("lavfi:", "cannot build the graph"),
        ("lavfi:movie=no_such_file.mp4", "cannot build the graph"),
    ],
)
def test_wrong_usage(uri: str, words: str) -> None:
    error = failure_of(uri)
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert re.search(words, str(error)), error


def test_wrong_usage_is_not_tried_again() -> None:
    with pytest.raises(UsageError, match="is none"):
        create_source(f"rtsp://user:[{SECRET}@camera/live", reconnect=ReconnectOptions())


def test_a_nearly_right_file_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "entrance.mp4").touch()
    assert f"did you mean '{tmp_path / 'entrance.mp4'}'?" in str(
        failure_of(str(tmp_path / "entrence.mp4"))
    )


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    error = failure_of(str(tmp_path))
    assert isinstance(error, UsageError)
    assert "no pictures" in str(error)


def test_no_screen_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    error = failure_of("screen")
    assert isinstance(error, UsageError)
    assert "DISPLAY is not set" in str(error)


def test_a_busy_camera_and_one_that_is_none() -> None:
    camera = Webcam("999", options=SourceOptions())
    busy = camera._explain_open(OSError(errno.EBUSY, "Device or resource busy"))
    assert "in use by another program" in str(busy)
    other = camera._explain_open(OSError(errno.ENOTTY, "Inappropriate ioctl for device"))
    assert "is not a camera" in str(other)
    for error in (busy, other):
        assert isinstance(error, SourceError)
        assert_one_sentence(error)


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def broken_pictures(folder: Path) -> Path:
    (folder / "one.png").write_bytes(b"")
    (folder / "two.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zero bytes": (file_of("clip.webm", b""), "is empty"),
    "web page": (file_of("clip.avi", b"\n<!DOCTYPE html><title>404</title>" * 99), "a web page"),
    "git-lfs pointer": (
        file_of("clip.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a git-lfs pointer",
    ),
    "noise": (file_of("clip.mp4", bytes(range(256)) * 400), "holds no"),
    "audio only": (media.audio_only, "no video stream: it holds audio only"),
    "broken pictures": (broken_pictures, "no picture that can be read"),
    "one broken picture": (file_of("one.png", b"\x89PNG"), "no picture that can be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file(tmp_path: Path, name: str) -> None:
    make, words = BAD_FILES[name]
    error = failure_of(str(make(tmp_path)))
    assert type(error) is SourceError
    assert error.exit_code == 1
    assert words in str(error)


def test_a_video_without_a_whole_picture(tmp_path: Path) -> None:
    clip = media.constant_rate(tmp_path)
    content = clip.path.read_bytes()
    clip.path.write_bytes(content[: content.index(b"mdat") + 8])
    assert "no whole picture" in str(failure_of(str(clip.path)))


def test_a_retry_after_a_failure_works(tmp_path: Path) -> None:
    clip = media.constant_rate(tmp_path)
    content = clip.path.read_bytes()
    clip.path.write_bytes(b"")
    with create_source(str(clip.path)) as source:
        with pytest.raises(SourceError):
            source.open()
        clip.path.write_bytes(content)
        assert source.open().width == 128
        assert source.read() is not None


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "tcp"])
def test_a_closed_port(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure_of(f"{scheme}://user:{SECRET}@127.0.0.1:{port}/live", within_seconds=1)
    assert "refuses the connection" in str(error)


@pytest.mark.parametrize("mark", ["'", '"', " "])
def test_a_password_with_a_quotation_mark_or_a_space_shows_nowhere(mark: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure_of(f"rtsp://user:{SECRET}{mark}x@127.0.0.1:{port}/live", within_seconds=1)
    assert f"rtsp://***@127.0.0.1:{port}/live refuses" in str(error)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "tcp"])
def test_a_server_that_accepts_and_says_nothing(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = SourceOptions(open_timeout_seconds=0.5, read_timeout_seconds=0.3)
        uri = f"{scheme}://user:{SECRET}@127.0.0.1:{port}/live"
        error = failure_of(uri, options, within_seconds=1.5)
    assert isinstance(error, SourceTimeout)
    assert "silent for 0.5 s" in str(error)


def test_an_unknown_host() -> None:
    error = failure_of(f"rtsp://user:{SECRET}@no-such-host.invalid/live")
    assert "name of its host" in str(error)


def test_a_protocol_that_this_ffmpeg_lacks_or_a_silent_srt_host() -> None:
    options = SourceOptions(open_timeout_seconds=0.5)
    error = failure_of(f"srt://127.0.0.1:9/?passphrase={SECRET}", options)
    assert isinstance(error, SourceError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_timeout_seconds": 0.0},
        {"read_timeout_seconds": float("nan")},
        {"picture_rate": -1},
        {"rtsp_transport": "carrier pigeon"},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        SourceOptions(**wrong)  # type: ignore[arg-type]
    assert_one_sentence(caught.value)
    assert next(iter(wrong)) in str(caught.value)
