"""The contract of every sink, and what each promises on its own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pieces import OneBoxRuntime
from pycocotools import mask as coco_mask

from stream.errors import SinkError, UsageError
from stream.frame import Frame, FrameTrace
from stream.sinks.base import Sink
from stream.sinks.events import EventLog
from stream.sinks.publish import Publish
from stream.sinks.trace import TraceLog
from stream.sinks.video_file import VideoFile
from stream.sinks.window import Window
from stream.sources.base import SourceInfo
from stream.stages import Job

INFO = SourceInfo(
    name="test",
    is_live=False,
    width=64,
    height=48,
    frame_rate=Fraction(25),
    time_base=Fraction(1, 1000),
    frame_count=None,
)

FILE_SINKS: dict[str, tuple[str, Callable[[Path], Sink]]] = {
    "record mp4": ("out.mp4", VideoFile),
    "record mkv": ("out.mkv", VideoFile),
    "record mov": ("out.mov", VideoFile),
    "events": ("out.jsonl", lambda path: EventLog(str(path))),
    "events with masks": ("out.jsonl", lambda path: EventLog(str(path), masks=True)),
    "trace": ("out.jsonl", lambda path: TraceLog(str(path))),
    "publish": ("out.m3u8", lambda path: Publish([str(path)])),
}


@pytest.fixture(params=FILE_SINKS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[Path], Sink]]:
    name, make = FILE_SINKS[request.param]
    return tmp_path / name, make


def job(index: int, *, size: tuple[int, int] = (64, 48)) -> Job:
    image = np.full((size[1], size[0], 3), 40 + index, np.uint8)
    frame = Frame(image, index, "test", index * 40, Fraction(1, 1000), 100.0 + index)
    trace = FrameTrace(frame.captured_at)
    trace.began["model"], trace.ended["model"] = 100.01 + index, 100.03 + index
    runtime = OneBoxRuntime()
    return Job(frame, trace, detections=runtime.detect(image), picture=image.copy())


def test_contract_no_frame_no_file(made: tuple[Path, Callable[[Path], Sink]]) -> None:
    path, make = made
    path.write_bytes(b"an older recording")
    sink = make(path)
    sink.open(INFO)
    sink.close()
    assert path.read_bytes() == b"an older recording"


def test_contract_close_is_legal_in_every_state(made: tuple[Path, Callable[[Path], Sink]]) -> None:
    path, make = made
    make(path).close()
    sink = make(path)
    sink.open(INFO)
    sink.write(job(0))
    sink.close()
    size = path.stat().st_size
    sink.close()
    assert path.stat().st_size == size > 0


def test_contract_many_frames(made: tuple[Path, Callable[[Path], Sink]]) -> None:
    path, make = made
    sink = make(path)
    sink.open(INFO)
    for index in range(30):
        one = job(index)
        before = one.frame.image.copy()
        sink.write(one)
        assert np.array_equal(one.frame.image, before)
    sink.close()
    assert path.stat().st_size > 100


def test_contract_an_impossible_path_is_refused_at_once(
    made: tuple[Path, Callable[[Path], Sink]], tmp_path: Path
) -> None:
    path, make = made
    with pytest.raises(UsageError, match="does not exist, create it first"):
        make(tmp_path / "missing" / path.name)
    path.mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        make(path)
    assert list(tmp_path.iterdir()) == [path]


def test_events_hold_what_was_found(tmp_path: Path) -> None:
    sink = EventLog(str(tmp_path / "e.jsonl"), masks=True)
    sink.open(INFO)
    sink.write(job(3))
    sink.close()
    (line,) = (tmp_path / "e.jsonl").read_text().splitlines()
    event = json.loads(line)
    (found,) = event.pop("detections")
    kind = {"schema": 1, "type": "frame"}
    assert event == {
        **kind, "source": "test", "index": 3, "pts_seconds": 0.12, "size": [64, 48]
    }  # fmt: skip
    mask = coco_mask.decode(found.pop("mask"))
    assert mask.shape == (48, 64)
    assert mask[10:38, 10:38].all()
    assert not mask[:6].any()
    assert found == {"label": "person", "score": round(43 / 255, 4), "box": [8, 8, 40, 40]}


def test_events_go_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    sink = EventLog("-")
    sink.open(INFO)
    sink.write(job(0))
    sink.close()
    assert json.loads(out.getvalue())["index"] == 0
    assert not out.closed


def test_a_full_disk_is_one_sentence() -> None:
    """/dev/full is a disk that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sink = EventLog("/dev/full")
    sink.open(INFO)
    with pytest.raises(SinkError, match=r"^--events /dev/full cannot be written: No space left"):
        sink.write(job(0))
    sink.close()


def test_trace_tells_work_from_waiting(tmp_path: Path) -> None:
    sink = TraceLog(str(tmp_path / "t.jsonl"))
    sink.open(INFO)
    sink.write(job(0))
    sink.close()
    row = json.loads((tmp_path / "t.jsonl").read_text())
    assert row["stages_ms"] == {"model": 20.0}
    assert row["waits_ms"] == {"model": 10.0}
    assert row["age_ms"] == 30.0


def test_a_window_without_a_display_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform in {"darwin", "win32"}:
        pytest.skip("this system always has a display")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="--window needs a display"):
        Window("test", lambda: None)


def test_a_recording_needs_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.mp4, \.m4v, \.mov, \.mkv"):
        VideoFile(tmp_path / "out.avi")
