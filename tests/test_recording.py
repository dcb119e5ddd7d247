"""Recordings: timestamps to the tick, odd sizes, changed sizes, and accidents of every kind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import SinkError
from stream.frame import Frame, FrameTrace
from stream.sinks.video_file import VideoFile
from stream.sources.base import SourceInfo
from stream.stages import Job

ROOT = Path(__file__).resolve().parents[1]


def record(
    path: Path,
    pts: list[int],
    time_base: Fraction,
    *,
    sizes: list[tuple[int, int]] | None = None,
    is_live: bool = False,
) -> None:
    sizes = sizes or [(160, 120)] * len(pts)
    sink = VideoFile(path)
    width, height = sizes[0]
    sink.open(
        SourceInfo(
            name="test",
            is_live=is_live,
            width=width,
            height=height,
            frame_rate=Fraction(30),
            time_base=time_base,
            frame_count=None,
        )
    )
    for index, (stamp, size) in enumerate(zip(pts, sizes, strict=True)):
        sink.write(picture_job(index, stamp, time_base, size))
    sink.close()


def picture_job(index: int, pts: int, time_base: Fraction, size: tuple[int, int]) -> Job:
    """A picture with a bright column that walks to the right, so that frames can be told apart."""
    image = np.full((size[1], size[0], 3), 30, np.uint8)
    image[:, (index * 4) % size[0] : (index * 4) % size[0] + 4] = (250, 120, 10)
    frame = Frame(image, index, "test", pts, time_base, 0.0)
    return Job(frame, FrameTrace(0.0), picture=image)


def played(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times and pictures; only the very last packet of a cut-off file may be damaged."""
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
        frames = []
        for number, packet in enumerate(packets):
            try:
                frames += packet.decode()
            except av.InvalidDataError:
                assert number >= len(packets) - 2, f"packet {number} of {len(packets)} is damaged"
    times = [frame.pts * frame.time_base for frame in frames]
    return times, [frame.to_ndarray(format="rgb24") for frame in frames]


CLOCKS = {
    "30 fps": (Fraction(1, 12800), [512 * k for k in range(40)]),
    "NTSC": (Fraction(1001, 30000), list(range(40))),
    "variable": (Fraction(1, 90000), [sum(range(k)) * 100 + 3003 * k for k in range(40)]),
    "late start": (Fraction(1, 90000), [900_000 + 3000 * k for k in range(40)]),
    "microseconds": (Fraction(1, 1_000_000), [33_367 * k + k % 3 for k in range(40)]),
    "one a second": (Fraction(1, 1), list(range(40))),
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_are_the_source_s(tmp_path: Path, clock: str, suffix: str) -> None:
    time_base, pts = CLOCKS[clock]
    path = tmp_path / f"out{suffix}"
    record(path, pts, time_base)
    times, pictures = played(path)
    expected = [stamp * time_base for stamp in pts]
    tolerance = Fraction(1, 1000) if suffix == ".mkv" else 0  # Matroska counts milliseconds
    assert len(times) == len(expected)
    assert all(abs(a - b) <= tolerance for a, b in zip(times, expected, strict=True))
    for index in (0, 7, 39):  # the right picture at the right time
        assert pictures[index][:, (index * 4) % 160 + 1].mean() > 90


def test_a_live_recording_starts_at_zero(tmp_path: Path) -> None:
    pts = [8_000_000_000 + 33_000 * k for k in range(10)]
    record(tmp_path / "out.mp4", pts, Fraction(1, 1_000_000), is_live=True)
    times, _ = played(tmp_path / "out.mp4")
    assert times == [Fraction(33_000 * k, 1_000_000) for k in range(10)]


def test_the_picture_is_yuv420p_h264_in_the_right_colours(tmp_path: Path) -> None:
    record(tmp_path / "out.mp4", [0, 40], Fraction(1, 1000))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    _, pictures = played(tmp_path / "out.mp4")
    red, green, blue = pictures[0][60, 1].astype(int)
    assert red > 190 > green > blue


@pytest.mark.parametrize("size", [(161, 120), (160, 121), (161, 121), (3, 5)])
def test_odd_sizes_gain_a_row_or_column(tmp_path: Path, size: tuple[int, int]) -> None:
    record(tmp_path / "out.mp4", [0, 40, 80], Fraction(1, 1000), sizes=[size] * 3)
    _, pictures = played(tmp_path / "out.mp4")
    assert pictures[0].shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)


def test_a_picture_of_another_size_is_fitted_in(tmp_path: Path) -> None:
    sizes = [(160, 120), (320, 240), (80, 200), (160, 120), (31, 17)]
    record(tmp_path / "out.mp4", [40 * k for k in range(5)], Fraction(1, 1000), sizes=sizes)
    _, pictures = played(tmp_path / "out.mp4")
    assert [picture.shape for picture in pictures] == [(120, 160, 3)] * 5


def test_a_live_source_that_changes_its_size_goes_on_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "out-2.mp4").write_text("of somebody else")
    sizes = [(160, 120)] * 3 + [(320, 240)] * 2 + [(160, 120)]
    stamps = [1000 + 40 * k for k in range(6)]
    record(tmp_path / "out.mp4", stamps, Fraction(1, 1000), sizes=sizes, is_live=True)
    assert (tmp_path / "out-2.mp4").read_text() == "of somebody else"
    for name, count, shape in (
        ("out.mp4", 3, (120, 160, 3)),
        ("out-3.mp4", 2, (240, 320, 3)),
        ("out-4.mp4", 1, (120, 160, 3)),
    ):
        times, pictures = played(tmp_path / name)
        assert times == [Fraction(40 * k, 1000) for k in range(count)]
        assert [picture.shape for picture in pictures] == [shape] * count


def test_a_gap_is_as_long_in_the_recording_and_told_for_a_while(tmp_path: Path) -> None:
    sink = VideoFile(tmp_path / "out.mp4")
    sink.open(
        SourceInfo(
            name="test",
            is_live=True,
            width=320,
            height=240,
            frame_rate=Fraction(25),
            time_base=Fraction(1, 1000),
            frame_count=None,
        )
    )
    jobs = [picture_job(0, stamp, Fraction(1, 1000), (320, 240)) for stamp in (0, 9000, 10_000)]
    jobs.append(picture_job(0, 12_000, Fraction(1, 1000), (320, 240)))
    jobs[1].frame = dataclasses.replace(jobs[1].frame, gap_seconds=9.0)
    before = [np.array(job.picture) for job in jobs]
    for job in jobs:
        sink.write(job)
    sink.close()
    assert all(np.array_equal(job.picture, one) for job, one in zip(jobs, before, strict=True))
    times, pictures = played(tmp_path / "out.mp4")
    assert times == [0, 9, 10, 12]
    written = [int((picture[200:, 20:] > 150).sum()) for picture in pictures]  # white letters
    assert written[0] == written[3] == 0
    assert min(written[1:3]) > 100


def test_no_frame_waits_for_a_later_one(tmp_path: Path) -> None:
    """Without reordering, decode time is presentation time."""
    record(tmp_path / "out.mp4", [40 * k for k in range(40)], Fraction(1, 1000))
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    assert all(packet.pts == packet.dts for packet in packets)
    assert 1 <= sum(packet.is_keyframe for packet in packets) < 20  # not every frame


_WRITE_FOR_EVER = """
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import numpy as np
from test_recording import picture_job
from stream.sinks.video_file import VideoFile
from stream.sources.base import SourceInfo
sink = VideoFile(Path({path!r}))
sink.open(SourceInfo(name="t", is_live=False, width=160, height=120, frame_rate=Fraction(25),
                     time_base=Fraction(1, 1000), frame_count=None))
noise = np.random.default_rng(0)
for index in range(100000):
    job = picture_job(index, 40 * index, Fraction(1, 1000), (160, 120))
    job.picture = noise.integers(0, 255, job.picture.shape, np.uint8)
    sink.write(job)
    print(index, flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_recording_plays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    code = _WRITE_FOR_EVER.format(root=str(ROOT), tests=str(ROOT / "tests"), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 200:
                process.kill()
                break
    times, _ = played(path)
    assert times[0] == 0
    assert times[-1] > Fraction(200 * 40, 1000) - 2  # all but the last moments
    assert len(times) == round(times[-1] * 25) + 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("is_noisy", "count"), [(True, 2), (False, 4)], ids=["noisy", "grey"])
def test_a_recording_plays_from_its_first_moments_on(
    tmp_path: Path, suffix: str, *, is_noisy: bool, count: int
) -> None:
    """As a kill would leave it: from the second picture on, or after a tenth of a second."""
    size = (320, 240)
    sink = VideoFile(tmp_path / f"out{suffix}")
    sink.open(
        SourceInfo(
            name="test",
            is_live=True,
            width=size[0],
            height=size[1],
            frame_rate=Fraction(25),
            time_base=Fraction(1, 1000),
            frame_count=None,
        )
    )
    for index in range(count):
        job = picture_job(index, 40 * index, Fraction(1, 1000), size)
        if is_noisy:
            noise = np.random.default_rng(index).integers(0, 255, (240, 320, 3), np.uint8)
            job.picture = noise
        sink.write(job)
    times, _ = played(tmp_path / f"out{suffix}")
    sink.close()
    assert times == [Fraction(40 * k, 1000) for k in range(count - 1)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_leaves_a_recording_that_plays(tmp_path: Path, suffix: str) -> None:
    """A file size limit stands in for the disk: writes beyond 600 kB fail."""
    path, limit = tmp_path / f"out{suffix}", 600_000
    code = _WRITE_FOR_EVER.format(root=str(ROOT), tests=str(ROOT / "tests"), path=str(path))
    code = code.replace(
        "noise =",
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\nnoise =",
    ).replace(
        "    sink.write(job)",
        "    try:\n"
        "        sink.write(job)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error, file=sys.stderr)\n"
        "        try:\n"
        "            sink.close()\n"
        "        except Exception as error:\n"
        "            print(type(error).__name__, error, file=sys.stderr)\n"
        "        sys.exit(0)",
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    messages = done.stderr.strip().splitlines()
    assert messages[0].startswith(f"SinkError The recording {path} could not be written: File too")
    assert all(message.startswith("SinkError") for message in messages)
    assert path.stat().st_size <= limit
    times, _ = played(path)
    assert len(times) > 10


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this container may not mount")
    try:
        noise = np.random.default_rng(0)
        sink = VideoFile(small / "out.mp4")
        sink.open(
            SourceInfo(
                name="test",
                is_live=False,
                width=160,
                height=120,
                frame_rate=Fraction(25),
                time_base=Fraction(1, 1000),
                frame_count=None,
            )
        )

        def fill() -> None:
            for index in range(10_000):
                job = picture_job(index, 40 * index, Fraction(1, 1000), (160, 120))
                job.picture = noise.integers(0, 255, (120, 160, 3), np.uint8)
                sink.write(job)

        with pytest.raises(SinkError, match="No space left on device"):
            fill()
        with pytest.raises(SinkError):
            sink.close()
        times, _ = played(small / "out.mp4")
        assert len(times) > 10
    finally:
        subprocess.run(["umount", str(small)], check=True)
