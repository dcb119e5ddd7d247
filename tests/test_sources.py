"""What every source promises, checked on every kind of source."""

from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import media
import numpy as np
import pytest
import rtsp_server

from stream.errors import SourceError
from stream.frame import Frame
from stream.sources import FrameSource, SourceOptions, create_source
from stream.sources.av_source import AvSource
from stream.sources.demo import FRAME_COUNT, DemoPicture

ENDLESS_SAMPLE = 8  # frames read of a source without an end
SECRET = "s3cr3t"


@dataclass(frozen=True)
class Case:
    """A source that can be opened, and what is true of it; None where nothing is promised."""

    uri: str
    size: tuple[int, int]
    is_live: bool = False
    is_endless: bool = False
    numbers: tuple[int, ...] | None = None
    pts: tuple[int, ...] | None = None
    time_base: Fraction | None = None
    frame_count: int | None = None


def clip_case(make: Callable[[Path], media.Clip], folder: Path) -> AbstractContextManager[Case]:
    clip = make(folder)
    return nullcontext(
        Case(
            uri=str(clip.path),
            size=clip.size,
            numbers=clip.numbers,
            pts=clip.pts,
            time_base=clip.time_base,
            frame_count=clip.frame_count,
        )
    )


def pictures_case(pattern: str, folder: Path) -> AbstractContextManager[Case]:
    pictures = media.picture_folder(folder)
    return nullcontext(
        Case(
            uri=str(pictures / pattern) if pattern else str(pictures),
            size=(128, 96),
            numbers=tuple(range(11)),
            pts=tuple(range(11)),
            time_base=Fraction(1),
            frame_count=12,  # an estimate: one of them is broken
        )
    )


def fixed_case(case: Case, folder: Path) -> AbstractContextManager[Case]:
    return nullcontext(case)


@contextmanager
def http_case(make: Callable[[Path], media.Clip], folder: Path) -> Iterator[Case]:
    clip = make(folder)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Case(
                uri=f"http://user:{SECRET}@127.0.0.1:{server.server_port}/{clip.path.name}",
                size=clip.size,
                numbers=clip.numbers,
                pts=clip.pts,
                frame_count=clip.frame_count,
            )
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def copyfile(self, source: object, outputfile: object) -> None:
        with contextlib.suppress(ConnectionError):  # the player may leave before the end
            super().copyfile(source, outputfile)  # type: ignore[type-var]


@contextmanager
def rtsp_case(folder: Path) -> Iterator[Case]:
    with rtsp_server.rtsp_server(folder, user="user", password=SECRET) as server:
        yield Case(
            uri=server.url(user_info=f"user:{SECRET}"),
            size=(128, 96),
            is_live=True,
            is_endless=True,
            time_base=Fraction(1, 90_000),
        )


@contextmanager
def screen_case(folder: Path) -> Iterator[Case]:
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "160x120x24"]
    with subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL) as xvfb:
        os.close(write_end)
        try:
            with os.fdopen(read_end) as pipe:
                display = pipe.readline().strip()
            yield Case(
                uri=f"screen::{display}",
                size=(160, 120),
                is_live=True,
                is_endless=True,
                time_base=Fraction(1, 1_000_000),
            )
        finally:
            xvfb.terminate()


TEST_PICTURE = "testsrc2=size=96x64:rate=50"

CASES: dict[str, Callable[[Path], AbstractContextManager[Case]]] = {
    **{name: functools.partial(clip_case, make) for name, make in media.CLIPS.items()},
    "picture folder": functools.partial(pictures_case, ""),
    "picture glob": functools.partial(pictures_case, "view*.png"),
    "one picture": lambda folder: nullcontext(
        Case(uri=str(media.sideways_jpeg(folder)), size=(128, 96), numbers=(5,), frame_count=1)
    ),
    "lavfi": functools.partial(
        fixed_case,
        Case(uri=f"lavfi:{TEST_PICTURE}:duration=0.2", size=(96, 64), pts=tuple(range(10))),
    ),
    "lavfi realtime": functools.partial(
        fixed_case,
        Case(
            uri=f"lavfi:{TEST_PICTURE}:duration=0.2,realtime",
            size=(96, 64),
            is_live=True,
            pts=tuple(range(10)),
        ),
    ),
    "demo": functools.partial(
        fixed_case,
        Case(uri="demo", size=(854, 480), pts=tuple(range(FRAME_COUNT)), frame_count=FRAME_COUNT),
    ),
    "demo live": functools.partial(
        fixed_case, Case(uri="demo:live", size=(854, 480), is_live=True, is_endless=True)
    ),
    "http file": functools.partial(http_case, media.constant_rate),
    "http file without duration": functools.partial(http_case, media.no_duration),
    "rtsp": rtsp_case,
    "screen": screen_case,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with CASES[request.param](tmp_path) as case:
        yield case


@pytest.fixture
def source(case: Case) -> Iterator[FrameSource]:
    with create_source(case.uri) as source:
        yield source


def read_all(source: FrameSource, *, is_endless: bool = False) -> Iterator[Frame]:
    """Every frame, or a sample if there is no end."""
    left = ENDLESS_SAMPLE if is_endless else sys.maxsize
    while left and (frame := source.read()) is not None:
        yield frame
        left -= 1


def open_handles() -> tuple[set[str], int]:
    """What this process has open, and its number of threads, those of libraries included."""
    gc.collect()
    paths = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            paths.add(descriptor + os.readlink(f"/proc/self/fd/{descriptor}"))
    return paths, len(os.listdir("/proc/self/task"))


def test_info_is_true(case: Case, source: FrameSource) -> None:
    info = source.open()
    first = source.read()
    assert first is not None
    assert (info.width, info.height) == case.size == first.size
    assert info.is_live == case.is_live
    assert info.frame_count == case.frame_count
    assert info.time_base == first.time_base
    assert case.time_base in (None, info.time_base)
    assert info.frame_rate is None or info.frame_rate > 0
    assert info.name == first.source_id
    assert SECRET not in repr(info)


def test_every_frame_keeps_the_contract(case: Case, source: FrameSource) -> None:
    info = source.open()
    pts, captured_at, numbers = [], [], []
    for index, frame in enumerate(read_all(source, is_endless=case.is_endless)):
        assert frame.index == index
        assert frame.image.dtype == np.uint8
        assert frame.image.shape[2:] == (3,)
        assert frame.image.flags.c_contiguous
        assert frame.time_base == info.time_base
        assert time.monotonic() - 60 < frame.captured_at <= time.monotonic()
        pts.append(frame.pts)
        captured_at.append(frame.captured_at)
        if case.numbers is not None:
            numbers.append(media.number_in(frame.image))
    assert len(pts) >= 1
    assert pts == sorted(set(pts))
    assert case.pts in (None, tuple(pts))
    assert case.numbers in (None, tuple(numbers))
    if case.is_live:
        assert captured_at == sorted(captured_at)


def test_a_kept_frame_is_not_overwritten(case: Case, source: FrameSource) -> None:
    source.open()
    first = source.read()
    assert first is not None
    before = first.image.copy()
    for _ in range(4):
        source.read()
    assert np.array_equal(first.image, before)


def test_the_end_stays_the_end(case: Case, source: FrameSource) -> None:
    source.open()
    if case.is_endless:
        source.interrupt()
    for _ in read_all(source):
        continue
    assert [source.read() for _ in range(3)] == [None] * 3


def test_close_is_legal_in_every_state(case: Case) -> None:
    source = create_source(case.uri)
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()
    source.open()
    source.read()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_a_source_can_be_opened_again(case: Case, source: FrameSource) -> None:
    firsts = []
    for _ in range(2):
        source.open()
        firsts.append(source.read())
        source.close()
    with create_source(case.uri) as another:
        another.open()
        firsts.append(another.read())
    assert [frame.index for frame in firsts if frame] == [0, 0, 0]
    if not case.is_live:
        assert all(np.array_equal(frame.image, firsts[0].image) for frame in firsts if firsts[0])


def test_interrupt_from_another_thread_ends_the_reading(case: Case, source: FrameSource) -> None:
    source.open()
    timer = threading.Timer(0.05, source.interrupt)
    timer.start()
    began_at = time.monotonic()
    while source.read() is not None:
        assert time.monotonic() - began_at < 5
    timer.join()
    assert source.read() is None


def test_nothing_is_left_open(case: Case) -> None:
    with create_source(case.uri) as source:  # once, so that libraries start their own threads
        source.open()
    before = open_handles()
    with create_source(case.uri) as source:
        source.open()
        source.read()
    deadline = time.monotonic() + 2  # a server's thread may still be saying goodbye
    while open_handles() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_handles() == before


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
