"""A live source that comes back, tested against a real RTSP server and all that befalls it."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import av
import media
import pytest
from pieces import Collector, OneBoxRuntime
from rtsp_server import RtspServer, rtsp_server
from watched import LIMIT_SECONDS, OPTIONS, QUICK, Watched

from stream.errors import SourceDenied, SourceError
from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sinks.video_file import VideoFile
from stream.sources import FrameSource, ReconnectOptions, SourceOptions, SourceStatus, create_source
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

UDP = SourceOptions(open_timeout_seconds=3.0, read_timeout_seconds=0.5, rtsp_transport="udp")
PATIENT = ReconnectOptions(first_delay_seconds=0.1, longest_delay_seconds=0.5, waits_for_first=True)
SECRET = "s3cr3t"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    with rtsp_server(tmp_path) as server:
        yield server


def later(action: Callable[[], object], seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_a_frozen_server_is_left_and_found_again(server: RtspServer) -> None:
    watched = Watched(server.url())
    with watched.source as source:
        source.open()
        watched.read_until(lambda frame: frame.index == 10)
        server.freeze()
        thaw = later(server.thaw, 2.5)
        frames = watched.read_until(lambda frame: frame.gap_seconds > 0)
        frames += watched.read_until(lambda frame: frame.index == frames[-1].index + 5)
        thaw.join()
    assert 1.0 < frames[-6].gap_seconds < LIMIT_SECONDS
    assert all(after.pts > before.pts for before, after in pairwise(frames))
    assert watched.states()[:2] == ["connecting", "live"]
    assert watched.states()[-2:] == ["reconnecting", "live"]
    assert "silent for 0.5 s" in watched.told[2].reason
    for frame in frames:
        media.number_in(frame.image)  # whole pictures only


def test_a_server_that_accepts_and_says_nothing_is_asked_again() -> None:
    options = SourceOptions(open_timeout_seconds=0.4, read_timeout_seconds=0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        source = create_source(
            f"rtsp://user:{SECRET}@127.0.0.1:{port}/live", options=options, reconnect=PATIENT
        )
        told: list[SourceStatus] = []
        source.watch(told.append)
        source.watch(lambda status: source.interrupt() if status.attempt == 3 else None)
        with source, pytest.raises(SourceError, match="interrupted"):
            source.open()
    assert [status.attempt for status in told] == [1, 2, 3]
    assert "silent for 0.4 s" in told[-1].reason
    assert SECRET not in repr(told)


def test_a_refused_port_is_tried_until_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = create_source(f"rtsp://127.0.0.1:{port}/live", options=OPTIONS, reconnect=PATIENT)
    told: list[SourceStatus] = []
    source.watch(told.append)
    opened: list[object] = []
    opening = threading.Thread(target=lambda: opened.append(source.open()))
    opening.start()
    while len(told) < 3:
        time.sleep(0.01)
    assert "refuses the connection" in told[-1].reason
    with rtsp_server(tmp_path, port=port):
        opening.join(LIMIT_SECONDS)
        assert opened
        source.close()


@pytest.mark.parametrize("user_info", ["", f"user:{SECRET}x"])
def test_a_wrong_password_says_so_and_does_not_hammer(tmp_path: Path, user_info: str) -> None:
    with rtsp_server(tmp_path, user="user", password=SECRET) as server:
        url = server.url(user_info=user_info)
        with create_source(url, reconnect=QUICK) as source, pytest.raises(SourceDenied):
            source.open()
        source = create_source(url, reconnect=ReconnectOptions(waits_for_first=True))
        told: list[SourceStatus] = []
        source.watch(told.append)
        source.watch(lambda status: source.interrupt() if status.attempt == 2 else None)
        with source, pytest.raises(SourceError):
            source.open()
    assert "wants a user and a password" in told[-1].reason
    assert told[-1].next_attempt_in_seconds == 30
    assert SECRET not in repr(told)


@pytest.mark.parametrize(
    ("path", "words"), [("nothing_here", "no stream at this path"), ("audio", "holds audio only")]
)
def test_a_wrong_path_and_one_of_sound(server: RtspServer, path: str, words: str) -> None:
    watched = Watched(server.url(path))
    with watched.source as source, pytest.raises(SourceError, match=words):
        source.open()
    assert watched.states() == ["connecting", "failed"]


def test_a_picture_that_changes_its_size(tmp_path: Path) -> None:
    """Without a new connection; the recording goes on in another file."""
    with rtsp_server(tmp_path, sizes=[(128, 96), (192, 160)]) as server:
        frames = Kept()
        recording = VideoFile(tmp_path / "out.mp4")
        pipeline = ThreadedPipeline(
            create_source(server.url(), options=OPTIONS, reconnect=QUICK),
            build_stages(OneBoxRuntime(), [recording, frames]),
            max_frames=110,
        )
        run(pipeline)
    assert {frame.size for frame in frames.frames} == {(128, 96), (192, 160)}
    assert pipeline.status.reconnects == 0
    recorded = {path.name: played(path) for path in tmp_path.glob("out*.mp4")}
    assert {"out.mp4", "out-2.mp4"} <= set(recorded)
    assert sum(count for count, _ in recorded.values()) == pipeline.ledger.counts().emitted
    assert {size for _, size in recorded.values()} == {(128, 96), (192, 160)}


@pytest.mark.parametrize("options", [OPTIONS, UDP])
def test_lost_packets_cost_pictures_and_nothing_else(
    tmp_path: Path, options: SourceOptions
) -> None:
    with rtsp_server(tmp_path, loss=0.05) as server:
        watched = Watched(server.url(), options)
        with watched.source as source:
            source.open()
            frames = watched.read_until(lambda frame: frame.index == 40)
    assert watched.states() == ["connecting", "live"]
    assert all(after.pts > before.pts for before, after in pairwise(frames))
    assert whole(frames) >= 0.9 * len(frames)


def test_packets_with_wrong_bytes_are_dropped_and_counted(tmp_path: Path) -> None:
    with rtsp_server(tmp_path, damage=0.3) as server:
        watched = Watched(server.url())
        with watched.source as source:
            source.open()
            watched.read_until(lambda _: source.corrupt_packets > 3)
        assert source.corrupt_packets > 3
    assert watched.states() == ["connecting", "live"]


def test_the_time_of_the_server_s_clock(server: RtspServer) -> None:
    """It comes with the first sender report, after some seconds; the server is this machine."""
    watched = Watched(server.url())
    with watched.source as source:
        source.open()
        (*before, frame) = watched.read_until(lambda frame: frame.wall_time is not None)
    assert before[0].wall_time is None
    assert frame.wall_time == pytest.approx(frame.arrival_wall_time, abs=1.0)


def whole(frames: list[Frame]) -> int:
    """How many show what was sent, as far as their marks tell."""
    count = 0
    for frame in frames:
        try:
            media.number_in(frame.image)
        except AssertionError:
            continue
        count += 1
    return count


class Kept(Collector):
    """Keeps what is known of every frame, but not the decoder's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    def write(self, job) -> None:  # type: ignore[no-untyped-def]
        super().write(job)
        self.frames.append(dataclasses.replace(job.frame, planes=None))


def run(pipeline: ThreadedPipeline) -> None:
    pipeline.start()
    deadline = time.monotonic() + 2 * LIMIT_SECONDS
    while not pipeline.wait(0.05):
        assert time.monotonic() < deadline
    pipeline.finish()


def played(path: Path) -> tuple[int, tuple[int, int]]:
    """Frames, and their size."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return len(frames), (frames[0].width, frames[0].height)


KILLS = 20
BACK_SECONDS = 2.0


def open_handles() -> tuple[int, int]:
    """Files and threads, those of libraries included."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_twenty_restarts_of_the_server(tmp_path: Path) -> None:
    """Every reconnect soon after the server's return; nothing grows, nothing is lost count of."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = create_source(f"rtsp://127.0.0.1:{port}/live", options=OPTIONS, reconnect=PATIENT)
    kept = Kept()
    sinks: list[Sink] = [VideoFile(tmp_path / "out.mp4"), kept]
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), sinks))
    pipeline.start()
    handles: list[tuple[int, int]] = []
    memory: list[int] = []
    for _ in range(KILLS + 1):
        with rtsp_server(tmp_path, port=port) as server:
            seen, returned_at = len(kept.frames), time.monotonic()
            while len(kept.frames) < seen + 8:
                assert not pipeline.wait(0.01)
                assert time.monotonic() - returned_at < LIMIT_SECONDS
            back_seconds = kept.frames[seen].captured_at - returned_at
            assert back_seconds < BACK_SECONDS
            handles.append(open_handles())
            memory.append(resident_bytes())
            server.kill()
    pipeline.stop()
    while not pipeline.wait(0.05):
        continue
    pipeline.finish()
    counts = pipeline.ledger.counts()
    assert counts.captured == counts.emitted + sum(counts.dropped.values())
    assert sum(frame.gap_seconds > 0 for frame in kept.frames) == KILLS
    assert pipeline.status.reconnects == KILLS
    assert all(after.pts > before.pts for before, after in pairwise(kept.frames))
    frames, _ = played(tmp_path / "out.mp4")
    assert frames == counts.emitted
    for kind in (0, 1):  # what is waiting for the collector comes and goes
        counts_of_kind = [handle[kind] for handle in handles]
        assert max(counts_of_kind[-5:]) <= max(counts_of_kind[:10]) + 2
    assert memory[-1] - memory[5] < 20 * 2**20


def end_by_closing(source: FrameSource) -> None:
    source.close()


def end_by_interrupting(source: FrameSource) -> None:
    source.interrupt()
    assert source.read() is None
    source.close()


def end_by_a_full_pipeline(source: FrameSource) -> None:
    run(ThreadedPipeline(source, build_stages(OneBoxRuntime(), [Collector()]), max_frames=3))


@pytest.mark.parametrize("end", [end_by_closing, end_by_interrupting, end_by_a_full_pipeline])
def test_every_exit_says_goodbye(server: RtspServer, end: Callable[[FrameSource], None]) -> None:
    """Cameras hold a place for a viewer that left without TEARDOWN."""
    source = create_source(server.url(), options=OPTIONS, reconnect=QUICK)
    source.open()
    assert source.read() is not None
    end(source)
    server.wait_for_goodbye()
