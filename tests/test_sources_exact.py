"""What single kinds of source promise beyond the contract."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import media
import numpy as np
import pytest
from source_cases import TEST_PICTURE, byte_server, read_all

from stream.errors import SourceError
from stream.sources import FrameSource, SourceOptions, create_source
from stream.sources.av_source import AvSource
from stream.sources.demo import FRAME_COUNT, DemoPicture


def test_variable_frame_rate_is_what_ffmpeg_reports(tmp_path: Path) -> None:
    clip = media.variable_rate(tmp_path)
    with av.open(str(clip.path)) as container:
        reported = [frame.pts for frame in container.decode(video=0)]
    with create_source(str(clip.path)) as source:
        source.open()
        frames = [source.read() for _ in reported]
    assert [frame.pts for frame in frames if frame] == reported
    seconds = [frame.pts_seconds for frame in frames if frame]
    assert seconds[:4] == pytest.approx([0, 0.04, 0.06, 0.26])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_agrees_with_opencv(tmp_path: Path, degrees: int) -> None:
    clip = media.rotated(tmp_path, degrees)
    capture = cv2.VideoCapture(str(clip.path))
    read, picture = capture.read()
    capture.release()
    assert read
    assert media.number_in(np.ascontiguousarray(picture[..., ::-1])) == 0
    with create_source(str(clip.path)) as source:
        source.open()
        frame = source.read()
    assert frame is not None
    assert frame.image.shape == picture.shape


def test_missing_times_are_a_frame_apart(tmp_path: Path) -> None:
    clip = media.raw_h264(tmp_path)
    with create_source(str(clip.path)) as source:
        source.open()
        seconds = [frame.pts_seconds for frame in read_all(source)]
    assert seconds == pytest.approx([number / 25 for number in range(12)])


def test_a_new_size_shows_in_the_frames(tmp_path: Path) -> None:
    clip = media.size_change(tmp_path)
    with create_source(str(clip.path)) as source:
        source.open()
        sizes = [frame.size for frame in read_all(source)]
    assert sizes == [(128, 96)] * 12 + [(192, 160)] * 12


@pytest.mark.parametrize(
    ("make", "expected"),
    [(media.damaged_middle, 2), (media.truncated, 1), (media.constant_rate, 0)],
)
def test_damaged_packets_are_counted(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], media.Clip],
    expected: int,
) -> None:
    clip = make(tmp_path)
    with create_source(str(clip.path)) as source:
        assert isinstance(source, AvSource)
        source.open()
        assert [frame.index for frame in read_all(source)] == list(range(len(clip.numbers)))
        assert source.corrupt_packets == expected
    assert source.corrupt_packets == expected
    assert ("damaged" in caplog.text) == (expected > 0)


def test_a_file_cut_short_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = media.truncated(tmp_path)
    with create_source(str(clip.path)) as source:
        source.open()
        assert [frame.index for frame in read_all(source)] == list(range(len(clip.numbers)))
    assert "ends after 16 of 24 frames" in caplog.text


def test_skipped_pictures_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with create_source(str(media.picture_folder(tmp_path))) as source:
        source.open()
        assert len(list(read_all(source))) == 11
    assert caplog.text.count("is skipped") == 1
    assert "view7b.png" in caplog.text


def test_picture_rate_sets_the_time_base(tmp_path: Path) -> None:
    uri = str(media.picture_folder(tmp_path))
    with create_source(uri, options=SourceOptions(picture_rate=2.5)) as source:
        info = source.open()
        seconds = [frame.pts_seconds for frame in (source.read(), source.read()) if frame]
    assert info.frame_rate == Fraction(5, 2)
    assert seconds == pytest.approx([0, 0.4])


def test_live_is_read_as_it_comes() -> None:
    with create_source(f"lavfi:{TEST_PICTURE},realtime") as source:
        source.open()
        frames = [source.read() for _ in range(11)]
    arrivals = [frame.captured_at for frame in frames if frame]
    assert 0.1 < arrivals[-1] - arrivals[0] < 2  # ten frames at 50 per second take 0.2 s


def test_input_options_reach_ffmpeg() -> None:
    options = SourceOptions(input_options={"graph": "testsrc2=size=32x32:duration=1"})
    with create_source("lavfi:color=size=64x64", options=options) as source:
        assert source.open().width == 32


def test_demo_is_a_function_of_the_frame_number() -> None:
    one, other = DemoPicture(), DemoPicture()
    assert np.array_equal(one.draw(37), other.draw(37))
    assert np.array_equal(one.draw(37), one.draw(37 + FRAME_COUNT))
    assert not np.array_equal(one.draw(37), one.draw(38))


def test_demo_moves_smoothly_over_its_seam() -> None:
    picture = DemoPicture()
    pairs = ((FRAME_COUNT - 1, FRAME_COUNT), (100, 101))
    steps = [cv2.absdiff(picture.draw(a), picture.draw(b)).mean() for a, b in pairs]
    assert steps[0] < 3 * steps[1] + 1


def test_a_slow_reader_of_the_live_demo_misses_pictures_but_no_index() -> None:
    with create_source("demo:live") as source:
        source.open()
        first = source.read()
        time.sleep(0.2)
        second = source.read()
    assert first is not None
    assert second is not None
    assert second.index == first.index + 1
    assert second.pts - first.pts >= 5
    assert second.captured_at - first.captured_at >= 0.16


def test_create_source_is_quick_and_does_not_import_scikit_image() -> None:
    program = (
        "import sys; from stream.sources import create_source; s = create_source('demo');"
        "s.open(); s.read(); sys.exit('skimage' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


HTTP_WITHOUT_LENGTH = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"


@pytest.mark.parametrize(("scheme", "head"), [("tcp", b""), ("http", HTTP_WITHOUT_LENGTH)])
def test_the_end_of_a_live_stream_is_a_disconnection(
    tmp_path: Path, scheme: str, head: bytes
) -> None:
    clip = media.no_initial_keyframe(tmp_path)
    content = head + clip.path.read_bytes()
    with byte_server(content) as port, create_source(f"{scheme}://127.0.0.1:{port}") as source:
        info = source.open()
        assert info.is_live
        assert info.frame_count is None
        assert numbers_until_disconnected(source) == clip.numbers


def test_after_damage_a_live_stream_goes_on_at_the_next_keyframe(tmp_path: Path) -> None:
    clip = media.frame_lost(tmp_path)
    content = clip.path.read_bytes()
    with byte_server(content) as port, create_source(f"tcp://127.0.0.1:{port}") as source:
        source.open()
        assert numbers_until_disconnected(source) == clip.numbers
        assert isinstance(source, AvSource)
        assert source.corrupt_packets == 35 - len(clip.numbers)


def numbers_until_disconnected(source: FrameSource) -> tuple[int, ...]:
    numbers = []
    with pytest.raises(SourceError, match="was disconnected"):
        numbers.extend(media.number_in(frame.image) for frame in read_all(source))
    return tuple(numbers)
