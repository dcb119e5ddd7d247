"""Recordings in segments, on slow and full disks, by every encoder, with what was found beside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pieces import OneBoxRuntime, Run
from test_recording import picture_job, played

from stream.errors import SinkError, UsageError
from stream.sinks import recording as recording_module
from stream.sinks.encoders import pick_encoder
from stream.sinks.qualities import QUALITIES
from stream.sinks.recording import QUEUE_CAPACITY, Recording
from stream.sinks.segments import BYTES, SECONDS, Limit, RecordingOptions, SegmentFiles, sidecar_of
from stream.sinks.video_file import VideoFile
from stream.sources.base import SourceInfo
from stream.stages import Job

SIZE = (160, 120)
TIME_BASE = Fraction(1, 1000)
SEGMENT_NAME = re.compile(r"out-\d{8}T\d{6}\.\d{3}Z\.(mp4|mkv)")


def info(*, is_live: bool = False) -> SourceInfo:
    return SourceInfo(
        name="test",
        is_live=is_live,
        width=SIZE[0],
        height=SIZE[1],
        frame_rate=Fraction(25),
        time_base=TIME_BASE,
        frame_count=None,
    )


def noisy_job(index: int) -> Job:
    """A picture that no encoder makes small."""
    job = picture_job(index, 40 * index, TIME_BASE, SIZE)
    job.picture = np.random.default_rng(index).integers(0, 255, (120, 160, 3), np.uint8)
    return job


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if SEGMENT_NAME.fullmatch(path.name))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("is_live", [False, True], ids=["file", "live"])
def test_every_segment_plays_and_no_frame_is_between_them(
    tmp_path: Path, suffix: str, is_live: bool
) -> None:
    sink = VideoFile(tmp_path / f"out{suffix}", RecordingOptions(segment=Limit(seconds=2)))
    sink.open(info(is_live=is_live))
    for index in range(130):
        sink.write(picture_job(index, 5000 + 40 * index, TIME_BASE, SIZE))
    sink.close()
    files = segments(tmp_path)
    assert set(tmp_path.iterdir()) == set(files)
    assert sink.file_count == len(files) == 3
    lengths = []
    for number, file in enumerate(files):
        times, pictures = played(file)
        assert times == [Fraction(40 * k, 1000) for k in range(len(times))]
        first = 50 * number  # the right pictures are in the right segment
        assert pictures[0][:, (first * 4) % 160 + 1].mean() > 90
        with av.open(str(file)) as container:
            assert next(container.demux(video=0)).is_keyframe
        lengths.append(len(times))
    assert lengths == [50, 50, 30]


def test_segments_by_size(tmp_path: Path) -> None:
    sink = VideoFile(tmp_path / "out.mp4", RecordingOptions(segment=Limit(bytes=300_000)))
    sink.open(info())
    for index in range(120):
        sink.write(noisy_job(index))
    sink.close()
    files = segments(tmp_path)
    assert len(files) > 2
    # and what the encoder still held back
    assert all(300_000 < file.stat().st_size < 700_000 for file in files[:-1])
    assert sum(len(played(file)[0]) for file in files) == 120


def test_a_segment_never_takes_the_name_of_another(tmp_path: Path) -> None:
    files = SegmentFiles(tmp_path / "out.mp4")
    taken = [files.begun_at(0.9995)]
    taken[0].touch()
    taken.append(files.begun_at(0.9995))
    assert [path.name for path in taken] == [
        "out-19700101T000000.999Z.mp4",
        "out-19700101T000001.000Z.mp4",
    ]


@pytest.fixture
def kept_files(tmp_path: Path) -> list[Path]:
    """Four segments of 1000 bytes with sidecars of 500, each a day older than the next."""
    files = SegmentFiles(tmp_path / "out.mp4")
    now, made = time.time(), []
    for days in (4, 3, 2, 1):
        path = files.begun_at(now - 86_400 * days)
        path.write_bytes(bytes(1000))
        sidecar_of(path).write_bytes(bytes(500))
        os.utime(path, (now - 86_400 * days,) * 2)
        made.append(path)
    return made


@pytest.mark.parametrize(
    ("keep", "removed"),
    [("60h", 2), ("3kb", 2), ("5kb", 1), ("90h,3kb", 2), ("1d,100gb", 3), ("1kb", 3), ("9d", 0)],
)
def test_old_segments_go_and_nothing_else(
    tmp_path: Path, kept_files: list[Path], keep: str, removed: int
) -> None:
    others = [
        tmp_path / name
        for name in ("out.mp4", "out-2.mp4", "out-20200101T000000.000Z.mkv", "holiday.mp4",
                     "in-20200101T000000.000Z.mp4", "out-20200101T000000.000Z.mp4.txt")
    ]  # fmt: skip
    for other in others:
        other.write_bytes(bytes(5000))
        os.utime(other, (0, 0))
    link = tmp_path / "out-20200101T000000.000Z.mp4"
    link.symlink_to(tmp_path / "holiday.mp4")
    limit = Limit.parse(keep, "--keep", "…", (SECONDS, BYTES))
    gone = SegmentFiles(tmp_path / "out.mp4").remove_old(limit, current=kept_files[-1])
    assert gone == kept_files[:removed]
    left = kept_files[removed:]
    there = {*others, link, *left, *map(sidecar_of, left)}
    assert set(tmp_path.iterdir()) == there


def test_what_a_run_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "CHECK_SECONDS", 0.0)
    options = RecordingOptions(segment=Limit(seconds=1), keep=Limit(bytes=600_000))
    sink = Recording(tmp_path / "out.mp4", options)
    sink.open(info())
    for index in range(200):
        sink.write(noisy_job(index))
    sink.close()
    files = segments(tmp_path)
    assert sink.statistics().files == 8
    assert 1 <= len(files) < 8
    assert sum(len(played(file)[0]) for file in files) == 25 * len(files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--segment", "ten"), r"--segment 'ten': give a length \(30s, 10m, 1h\) or a size"),
        (("--segment", "0m"), "--segment '0m': give a length"),
        (("--segment", "1m,2h"), "--segment '1m,2h': give a length"),
        (("--keep", "7d"), "--keep removes old segments: give --segment, too, such as 10m"),
        (("--segment", "1m", "--keep", "7"), r"--keep '7': give an age \(7d\), a size"),
        (("--min-free", "2d"), "--min-free '2d': give a size, such as 2GB"),
    ],
)
def test_wrong_options_are_one_sentence(
    rcnn_live: Run, options: tuple[str, ...], message: str
) -> None:
    code, _, err = rcnn_live("run", "demo", "--record", "out.mp4", *options)
    assert code == 2
    assert re.match(f"rcnn-live: {message}", err), err
    assert len(err.splitlines()) == 1


def test_options_without_a_recording_are_refused(rcnn_live: Run) -> None:
    for option in (("--segment", "1m"), ("--min-free", "1GB"), ("--sidecar",)):
        code, _, err = rcnn_live("run", "demo", *option)
        assert (code, err) == (
            2,
            f"rcnn-live: {option[0]} is for a recording: give --record, too.\n",
        )


_RECORD_FOR_EVER = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from pieces import OneBoxRuntime
from test_recording_segments import info, noisy_job
from stream.sinks.recording import Recording
from stream.sinks.segments import Limit, RecordingOptions
sink = Recording(Path({path!r}), RecordingOptions(segment=Limit(seconds=4), sidecar=True))
sink.open(info())
for index in range(100000):
    job = noisy_job(index)
    job.detections = OneBoxRuntime().detect(job.frame.image)
    sink.write(job)
    print(index, flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_kill_costs_the_last_moments_of_the_last_segment(tmp_path: Path, suffix: str) -> None:
    root = Path(__file__).resolve().parents[1]
    code = _RECORD_FOR_EVER.format(
        root=str(root), tests=str(root / "tests"), path=str(tmp_path / f"out{suffix}")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 190:
                process.kill()
                break
    files, count = segments(tmp_path), 0
    assert len(files) == 2
    for file in files:
        times, _ = played(file)
        count += len(times)
        lines = sidecar_of(file).read_text().splitlines()
        rows = [json.loads(line) for line in lines]  # whole, every one
        assert len(rows) >= len(times)
        assert [row["recording_pts_seconds"] for row in rows[: len(times)]] == pytest.approx(
            [float(time) for time in times], abs=0.001
        )
    # of 25 a second: what waited for the thread, what the encoder held, half a second of file
    assert count > 190 - QUEUE_CAPACITY - 40


# Slow and full disks


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every write waits for the event."""
    goes_on, write = threading.Event(), VideoFile.write

    def wait_and_write(self: VideoFile, job: Job) -> None:
        assert goes_on.wait(30)
        write(self, job)

    monkeypatch.setattr(VideoFile, "write", wait_and_write)
    yield goes_on
    goes_on.set()


def test_a_slow_disk_costs_frames_of_a_live_source_and_no_time(
    tmp_path: Path, slow_disk: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Recording(tmp_path / "out.mp4")
    sink.open(info(is_live=True))
    for index in range(100):  # would never end if one of them waited
        sink.write(picture_job(index, 40 * index, TIME_BASE, SIZE))
    slow_disk.set()
    sink.close()
    counts = sink.statistics()
    assert counts.written + counts.dropped == 100
    assert 1 <= counts.written <= QUEUE_CAPACITY + 1
    assert len(played(tmp_path / "out.mp4")[0]) == counts.written
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("1 frames are not in the recording")
    assert len(told) < 10


def test_a_file_waits_for_a_slow_disk(tmp_path: Path, slow_disk: threading.Event) -> None:
    sink = Recording(tmp_path / "out.mp4")
    sink.open(info())
    threading.Timer(0.3, slow_disk.set).start()
    for index in range(2 * QUEUE_CAPACITY):
        sink.write(picture_job(index, 40 * index, TIME_BASE, SIZE))
    sink.close()
    assert sink.statistics().written == 2 * QUEUE_CAPACITY
    assert sink.statistics().dropped == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_recording_stops_before_the_disk_is_full_and_goes_on_when_it_is_not(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording_module, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(recording_module, "ROOM_BYTES", 0)
    options = RecordingOptions.parse(min_free="1MB")
    sink = Recording(small_disk / "out.mp4", options, is_threaded=False)
    sink.open(info())
    for index in range(300):
        sink.write(noisy_job(index))
    first = sink.statistics()
    assert not first.is_going
    assert first.written + first.unrecorded == 300
    assert min(first.written, first.unrecorded) > 20
    assert shutil.disk_usage(small_disk).free > 500_000  # the encoder held some frames back
    assert len(played(small_disk / "out.mp4")[0]) == first.written
    (small_disk / "out.mp4").unlink()
    for index in range(300, 320):
        sink.write(noisy_job(index))
    sink.close()
    last = sink.statistics()
    assert (last.is_going, last.written, last.files) == (True, first.written + 20, 2)
    assert len(played(small_disk / "out-2.mp4")[0]) == 20
    stopped, went_on = [record.getMessage() for record in caplog.records]
    assert re.search(r"stops: [\d.]+ [kM]B are free, and 1.0 MB shall be", stopped)
    assert went_on.endswith("goes on.")


def test_old_segments_that_cannot_be_removed_do_not_let_the_disk_get_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SegmentFiles, "remove_old", refuse)
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    options = RecordingOptions(
        segment=Limit(seconds=60), keep=Limit(seconds=60), min_free_bytes=1000
    )
    sink = Recording(tmp_path / "out.mp4", options, is_threaded=False)
    sink.open(info())
    sink.write(noisy_job(0))
    assert not sink.statistics().is_going
    sink.close()
    assert not segments(tmp_path)


def test_a_surprise_leaves_a_finished_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Recording(tmp_path / "out.mp4")
    sink.open(info())
    write = sink._video.write

    def fail_at_the_third(job: Job) -> None:
        if job.frame.index == 2:
            raise ValueError("nobody knew")
        write(job)

    monkeypatch.setattr(sink._video, "write", fail_at_the_third)
    for index in range(3):
        sink.write(noisy_job(index))
    with pytest.raises(ValueError, match="nobody knew"):
        sink.close()
    assert len(played(tmp_path / "out.mp4")[0]) == 2


def test_a_full_disk_is_told_at_the_end_too(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Recording(small_disk / "out.mp4")
    sink.open(info())
    for index in range(400):
        sink.write(noisy_job(index))
    with pytest.raises(SinkError, match="No space left on device; what was written until then"):
        sink.close()
    sink.close()  # told once
    counts = sink.statistics()
    assert counts.written + counts.unrecorded == 400
    assert not counts.is_going
    assert "No space left on device" in counts.trouble
    assert len(played(small_disk / "out.mp4")[0]) > 10
    assert "The run goes on without it." in caplog.text


# Encoders and what was found


@pytest.mark.parametrize("encoder", ["x264", "x265", "svtav1"])
@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mkv"])
def test_every_encoder_keeps_the_times(tmp_path: Path, encoder: str, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    sink = VideoFile(path, RecordingOptions(encoder=encoder))
    sink.open(info())
    for index in range(30):
        sink.write(picture_job(index, 40 * index, TIME_BASE, SIZE))
    sink.close()
    times, pictures = played(path)
    assert times == [Fraction(40 * k, 1000) for k in range(30)]
    assert pictures[29][:, 29 * 4 + 1].mean() > 90
    with av.open(str(path)) as container:
        name = container.streams.video[0].codec_context.name
        assert name == {"x264": "h264", "x265": "hevc", "svtav1": "libdav1d"}[encoder]


@pytest.mark.parametrize("encoder", ["x264", "x265", "svtav1"])
def test_a_higher_quality_is_a_larger_file(tmp_path: Path, encoder: str) -> None:
    sizes = []
    for quality in QUALITIES:
        path = tmp_path / f"{quality}.mp4"
        sink = VideoFile(path, RecordingOptions(encoder=encoder, quality=quality))
        sink.open(info())
        for index in range(5):
            sink.write(noisy_job(index))
        sink.close()
        sizes.append(path.stat().st_size)
    assert sizes == sorted(set(sizes))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux says how it shares")
@pytest.mark.parametrize("encoder", ["x264", "x265", "svtav1"])
def test_no_encoder_takes_a_core_for_itself(tmp_path: Path, encoder: str) -> None:
    ways = {os.SCHED_OTHER}
    sink = VideoFile(tmp_path / "out.mp4", RecordingOptions(encoder=encoder))
    sink.open(info())
    for index in range(5):
        sink.write(picture_job(index, 40 * index, TIME_BASE, SIZE))
        ways |= {os.sched_getscheduler(int(one.name)) for one in Path("/proc/self/task").iterdir()}
    sink.close()
    assert ways == {os.SCHED_OTHER}


def test_an_encoder_that_is_not_here_is_one_sentence() -> None:
    with pytest.raises(SinkError, match=r"videotoolbox does not work here .* these do: x264, x265"):
        pick_encoder(*SIZE, "videotoolbox")
    with pytest.raises(UsageError, match=r"svtav1 goes into .mp4 and .mkv only"):
        VideoFile(Path("out.mov"), RecordingOptions(encoder="svtav1"))


def test_the_sidecar_has_the_recording_s_times(tmp_path: Path) -> None:
    options = RecordingOptions(segment=Limit(seconds=1), sidecar=True)
    sink = Recording(tmp_path / "out.mp4", options)
    sink.open(info())
    for index in range(40):
        job = picture_job(index, 7000 + 40 * index, TIME_BASE, SIZE)
        job.detections = OneBoxRuntime().detect(job.frame.image)
        sink.write(job)
    sink.close()
    files, indices = segments(tmp_path), []
    assert len(files) == 2
    for file in files:
        rows = [json.loads(line) for line in sidecar_of(file).read_text().splitlines()]
        times, _ = played(file)
        assert [row["recording_pts_seconds"] for row in rows] == [float(time) for time in times]
        assert all(len(row["detections"]) == 1 for row in rows)
        indices += [row["index"] for row in rows]
    assert indices == list(range(40))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("more", [(), ("--single-thread",)], ids=["threads", "single thread"])
def test_a_run_records_in_segments(rcnn_live: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    code, _, err = rcnn_live(
        "run", "demo", "--record", "out.mkv", "--segment", "0.2s", "--keep", "7d,50GB",
        "--min-free", "1MB", "--sidecar", "--quality", "low", "--max-frames", 12,
        "--summary", "s.json", *more,
    )  # fmt: skip
    assert code == 0, err
    files = segments(tmp_path)
    assert len(files) > 1
    assert sum(len(played(file)[0]) for file in files) == 12
    assert json.loads((tmp_path / "s.json").read_text())["recording"] == {
        "written": 12,
        "dropped": 0,
        "unrecorded": 0,
        "files": len(files),
        "trouble": "",
        "is_going": True,
    }
