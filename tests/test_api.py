from __future__ import annotations

import gc
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import rtsp_server
from pieces import Collector, NumberedSource, OneBoxRuntime

from stream import open_pipeline
from stream.api import DetectionStream
from stream.bounded_queue import Policy
from stream.errors import SourceError, UsageError
from stream.sources import SourceOptions
from stream.worker import Worker

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 5.0


class Pieces:
    """What a stream was made of, to look at afterwards."""

    def __init__(self) -> None:
        self.source, self.runtime, self.sink = NumberedSource(), OneBoxRuntime(), Collector()

    def have_ended(self) -> bool:
        is_closed = ("close", "capture") in self.source.calls
        return is_closed and self.runtime.closed and self.sink.opened == self.sink.closed


Open = Callable[..., tuple[DetectionStream, Pieces]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a stream of numbered frames through a small model."""

    def open_it(
        source: NumberedSource | None = None, seconds: float = 0.0, **options: Any
    ) -> tuple[DetectionStream, Pieces]:
        made = Pieces()
        made.source = source or made.source
        made.runtime.seconds = seconds
        monkeypatch.setattr("stream.api.create_source", lambda *_, **__: made.source)
        monkeypatch.setattr("stream.api.open_runtime", lambda *_, **__: made.runtime)
        return open_pipeline("numbers", min_score=0.0, sinks=[made.sink], **options), made

    return open_it


def ended_threads() -> bool:
    names = {thread.name for thread in threading.enumerate()}
    return not names & {"open_pipeline", "capture", "model", "sinks"}


def test_every_frame_of_a_file_with_what_was_found_in_it(opened: Open) -> None:
    stream, made = opened(NumberedSource(20))
    rows = [(frame.index, detections.scores[0]) for frame, detections in stream]
    assert [index for index, _ in rows] == list(range(20))
    for index, score in rows:
        assert score == pytest.approx(index / 255)
    assert made.sink.indices == list(range(20))
    assert made.have_ended()
    assert ended_threads()
    assert list(stream) == []  # an end is an end


def test_a_file_waits_for_the_loop(opened: Open) -> None:
    stream, _ = opened(NumberedSource(12))
    indices = []
    for frame, _detections in stream:
        time.sleep(0.03)
        indices.append(frame.index)
    assert indices == list(range(12))
    assert (stream.skipped, stream.dropped) == (0, 0)


def test_a_live_source_does_not_and_gives_the_newest(opened: Open) -> None:
    stream, _ = opened(NumberedSource(None, is_live=True, period_seconds=0.005))
    ages, indices = [], []
    for frame, _detections in stream:
        ages.append(time.monotonic() - frame.captured_at)
        indices.append(frame.index)
        if len(indices) == 8:
            break
        time.sleep(0.2)
    assert sorted(ages)[4] < 0.1  # half of the time the loop took, on a busy machine
    assert indices[-1] > 40
    assert stream.skipped > 40


@pytest.mark.parametrize("policy", [Policy.BLOCK, Policy.DROP_OLDEST])
def test_break_ends_it_at_once(opened: Open, policy: Policy) -> None:
    made: Pieces | None = None

    def first() -> int:
        nonlocal made
        stream, made = opened(NumberedSource(None), policy=policy)
        for frame, _detections in stream:
            return frame.index
        return -1

    assert first() >= 0
    assert made is not None
    assert made.have_ended()  # not soon, but now
    assert ended_threads()
    assert made.sink.closed == 1


def test_an_exception_in_the_loop_ends_it(opened: Open) -> None:
    stream, made = opened(NumberedSource(None))
    with pytest.raises(ZeroDivisionError), stream:  # noqa: PT012
        for frame, _detections in stream:
            frame.index / 0
    assert made.have_ended()
    assert ended_threads()


def test_an_exception_without_with_ends_it_when_its_traceback_goes(opened: Open) -> None:
    made: list[Pieces] = []

    def work() -> None:
        stream, pieces = opened(NumberedSource(None))
        made.append(pieces)
        for frame, _detections in stream:
            frame.index / 0

    try:
        work()
    except ZeroDivisionError:
        assert not made[0].have_ended()  # the traceback still holds the loop
    gc.collect()
    assert made[0].have_ended()
    assert ended_threads()


def test_garbage_in_a_cycle_is_no_leak(opened: Open) -> None:
    stream, made = opened(NumberedSource(None))
    next(stream)
    stream.myself = stream  # type: ignore[attr-defined]
    del stream
    gc.collect()
    assert made.have_ended()


def test_garbage_that_is_collected_by_a_thread_of_the_pipeline(opened: Open) -> None:
    stream, made = opened(NumberedSource(None))
    next(stream)
    holder = [stream]
    del stream
    worker = Worker("collector", holder.clear)
    worker.start()
    assert worker.join(STOP_SECONDS)
    deadline = time.monotonic() + STOP_SECONDS
    while not (made.have_ended() and ended_threads()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("frames_taken", [0, 1, 3])
def test_close_in_every_state(opened: Open, frames_taken: int) -> None:
    stream, made = opened(NumberedSource(None))
    for _ in range(frames_taken):
        next(stream)
    stream.close()
    assert made.have_ended()
    assert ended_threads()
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
    with stream:
        pass


def test_an_error_comes_after_the_frames_before_it_and_once(opened: Open) -> None:
    source = NumberedSource(20, fails_at=(5, SourceError("The cable was cut.")))
    stream, made = opened(source)
    indices = []
    with pytest.raises(SourceError, match=r"^The cable was cut\.$"):  # noqa: PT012
        for frame, _detections in stream:
            indices.append(frame.index)
    assert indices == list(range(5))
    assert made.have_ended()
    assert list(stream) == []
    stream.close()


def test_an_error_while_the_loop_is_busy_still_stops_everything(opened: Open) -> None:
    source = NumberedSource(None, fails_at=(3, SourceError("The cable was cut.")))
    stream, made = opened(source)
    next(stream)
    deadline = time.monotonic() + STOP_SECONDS
    while ("close", "capture") not in source.calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(SourceError, match="The cable was cut"):
        stream.close()
    assert made.have_ended()


def test_an_error_nobody_asks_for_is_a_warning(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    source = NumberedSource(None, fails_at=(1, SourceError("The cable was cut.")))
    stream, _ = opened(source)
    next(stream)
    time.sleep(0.2)
    del stream
    assert "The cable was cut." in caplog.text


def test_a_source_that_cannot_be_opened_is_told_by_the_first_frame(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = SourceOptions(open_timeout_seconds=1.0)
        url = f"tcp://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        stream = open_pipeline(url, runtime="torch-eager", source_options=options, reconnect=False)
        assert stream.info is None
        with pytest.raises(SourceError) as raised:
            next(stream)
    assert "secret" not in str(raised.value)
    assert ended_threads()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mask_rcnn_persn"}, "mask_rcnn_person"),
        ({"classes": ["cat"]}, "no class 'cat'"),
        ({"source": "no such file.mp4"}, "no such file.mp4"),
    ],
)
def test_what_cannot_be_is_a_sentence_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_pipeline(**{"source": "demo", "runtime": "torch-eager", **options})
    assert ended_threads()


@pytest.mark.usefixtures("one_torch_thread")
def test_the_readme_s_program_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 10
    address = "rtsp://user:password@camera/stream"
    assert address in code
    with rtsp_server.rtsp_server(tmp_path, user="user", password="password") as server:
        code = code.replace(address, server.url(user_info="user:password"))
        # nothing to export for pictures of this size
        code = code.replace("track=True", "track=True, runtime='torch-eager'")
        namespace: dict[str, Any] = {}
        exec(compile(code, "README.md", "exec"), namespace)
        assert namespace["frame"].index >= 50
    namespace.clear()
    assert ended_threads()
    assert "password" not in capsys.readouterr().out


def test_leaving_the_program_finishes_the_recording(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from stream import open_pipeline
from stream.sinks.video_file import VideoFile

stream = open_pipeline("demo:live", canvas_side=128, sinks=[VideoFile(Path("out.mp4"))],
                       runtime="torch-eager")
for _ in range(3):
    frame, detections = next(stream)
print(frame, detections, flush=True)
raise SystemExit(3)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert ran.stderr == ""
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 3


def test_asking_for_it_is_quick_until_it_is_used() -> None:
    """``rcnn-live --help`` imports the package, too."""
    code = "import stream, sys; print('torch' in sys.modules, 'open_pipeline' in dir(stream))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
