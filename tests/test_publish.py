"""Publishing, to real servers and playlists and through all that befalls them."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import media
import numpy as np
import pytest
from pieces import NumberedSource, OneBoxRuntime, Run
from rtsp_recorder import RtspRecorder, pictures_in, rtsp_recorder

from stream.config_load import load_config
from stream.errors import UsageError
from stream.frame import Frame, FrameTrace
from stream.publish import publication
from stream.publish.clock import PublishClock
from stream.publish.publication import PublishStatistics
from stream.publish.target import parse_publish_target
from stream.sinks.publish import Publish
from stream.sources import ReconnectOptions
from stream.sources.base import SourceInfo
from stream.stages import Job, build_stages
from stream.threaded import ThreadedPipeline

SECRET = "s3cr3t"
SIZE = (128, 96)
PERIOD_SECONDS = 0.04
LIMIT_SECONDS = 60.0
QUICK = ReconnectOptions(first_delay_seconds=0.1, longest_delay_seconds=0.5, proven_seconds=0.2)


def job(index: int, size: tuple[int, int] = SIZE) -> Job:
    """A picture that carries ``index``, 40 ms after the one before."""
    image = media.marked_picture(index % 64, *size)
    frame = Frame(image, index, "test", index * 40, Fraction(1, 1000), 0.0)
    return Job(frame, FrameTrace(0.0), picture=image)


class Publisher:
    """A sink that is given marked pictures at their pace, as from a camera."""

    def __init__(self, *targets: str) -> None:
        self.sink = Publish(targets)
        self.sink.open(
            SourceInfo(
                name="test",
                is_live=True,
                width=SIZE[0],
                height=SIZE[1],
                frame_rate=Fraction(25),
                time_base=Fraction(1, 1000),
                frame_count=None,
            )
        )
        self.count, self.period_seconds = 0, PERIOD_SECONDS

    @property
    def statistics(self) -> PublishStatistics:
        return self.sink.statistics()[0][1]

    def send_until(self, done: Callable[[], bool], size: tuple[int, int] = SIZE) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not done():
            assert time.monotonic() < deadline, self.statistics
            self.sink.write(job(self.count, size))
            self.count += 1
            time.sleep(self.period_seconds)

    def send(self, count: int, size: tuple[int, int] = SIZE) -> None:
        """So many more that go into a connection."""
        wanted = self.statistics.sent + count
        self.send_until(lambda: self.statistics.sent >= wanted, size)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a minute here for the next attempt."""
    monkeypatch.setattr(publication, "OPTIONS", QUICK)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspRecorder]:
    with rtsp_recorder(tmp_path / "received") as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def seen_by(file: Path) -> tuple[list[float], list[int]]:
    """Times and numbers of the pictures that a server got."""
    pictures = pictures_in(file)
    return [seconds for seconds, _ in pictures], [media.number_in(image) for _, image in pictures]


# ── RTSP ──


def test_a_server_gets_every_picture_at_its_time(server: RtspRecorder) -> None:
    publisher = Publisher(server.url())
    publisher.send(60)
    publisher.sink.close()
    server.wait_for_goodbye()
    counts = publisher.statistics
    assert (counts.state, counts.reconnects, counts.trouble) == ("connected", 0, "")
    assert counts.sent + counts.dropped == publisher.count
    wait_for(lambda: server.received() == counts.sent)
    (file,) = server.connections()
    times, numbers = seen_by(file)
    assert len(numbers) == counts.sent
    # what it could not send while it connected is missing after the first picture; as for times,
    # the server corrects them for how they arrive
    steps = [(after - before) % 64 for before, after in pairwise(numbers[1:])]
    assert sum(step == 1 for step in steps) >= 0.9 * len(steps)
    assert all(after > before for before, after in pairwise(times))
    shown_seconds = sum(steps) * PERIOD_SECONDS
    assert times[-1] - times[1] == pytest.approx(shown_seconds, rel=0.3)


def test_a_server_that_was_killed_is_published_to_again(tmp_path: Path) -> None:
    folder = tmp_path / "received"
    with rtsp_recorder(folder) as server:
        port, publisher = server.port, Publisher(server.url())
        publisher.send(10)
        server.kill()
        publisher.send_until(lambda: publisher.statistics.state == "reconnecting")
    with rtsp_recorder(folder, port=port) as server:
        publisher.send(30)
        publisher.sink.close()
        server.wait_for_goodbye()
        wait_for(lambda: len(server.connections()) == 2)
    counts = publisher.statistics
    assert (counts.state, counts.reconnects) == ("connected", 1)
    assert counts.sent + counts.dropped == publisher.count
    _, numbers = seen_by(server.connections()[1])
    assert len(numbers) >= 20


def test_a_server_that_is_not_there_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    publisher = Publisher(f"rtsp://127.0.0.1:{port}/live")
    publisher.send_until(lambda: bool(publisher.statistics.trouble))
    told = publisher.statistics
    assert "refuses the connection" in told.trouble
    assert (told.state, told.sent) == ("connecting", 0)
    with rtsp_recorder(tmp_path / "received", port=port):
        publisher.send(5)
        publisher.sink.close()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [one.getMessage().rpartition("/live ")[2] for one in warnings][:1] == [
        "refuses the connection: is the server up, the port right? Trying again."
    ]
    assert sum("refuses" in one.getMessage() for one in warnings) == 1
    assert publisher.statistics.reconnects == 0


def test_a_picture_of_another_size_needs_another_connection(server: RtspRecorder) -> None:
    publisher = Publisher(server.url())
    publisher.send(10)
    publisher.send(10, size=(193, 161))  # odd sides gain a column and a row
    publisher.sink.close()
    counts = publisher.statistics
    assert (counts.state, counts.reconnects, counts.trouble) == ("connected", 1, "")
    assert counts.sent + counts.dropped == publisher.count
    wait_for(lambda: len(server.connections()) == 2)
    sizes = [pictures_in(file)[0][1].shape for file in server.connections()]
    assert sizes == [(96, 128, 3), (162, 194, 3)]


@pytest.mark.parametrize("user_info", ["", f"user:{SECRET}-not"])
def test_a_wrong_password_says_so_and_does_not_hammer(
    tmp_path: Path,
    user_info: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publication, "OPTIONS", ReconnectOptions())
    caplog.set_level(logging.DEBUG)
    with rtsp_recorder(tmp_path / "received", user="user", password=SECRET) as server:
        publisher = Publisher(server.url(user_info=user_info))
        publisher.send_until(lambda: bool(publisher.statistics.trouble))
        publisher.send_until(lambda: publisher.count >= 60)
        publisher.sink.close()
    assert "wants a user and a password" in publisher.statistics.trouble
    told = [record.getMessage() for record in caplog.records if "wants a user" in record.message]
    assert len(told) == 1
    assert SECRET not in caplog.text + repr(publisher.sink.statistics()) + repr(publisher.sink)


def test_the_right_password_is_let_in(tmp_path: Path) -> None:
    password = "p@ss/w:rd"
    with rtsp_recorder(tmp_path / "received", user="user", password=password) as server:
        publisher = Publisher(server.url(user_info="user:p%40ss%2Fw%3Ard"))
        publisher.send(5)
        publisher.sink.close()
    assert publisher.statistics.state == "connected"


class Noise(NumberedSource):
    """Pictures that are hard to encode: they fill every buffer on their way."""

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None:
            return None
        chance = np.random.default_rng(frame.index % 8)
        image = chance.integers(0, 255, (480, 640, 3), dtype=np.uint8)
        return Frame(image, frame.index, "noise", frame.pts, frame.time_base, frame.captured_at)


def test_a_frozen_server_holds_up_neither_the_run_nor_its_end(server: RtspRecorder) -> None:
    sink = Publish([server.url()])
    pipeline = ThreadedPipeline(
        Noise(None, is_live=True, period_seconds=PERIOD_SECONDS),
        build_stages(OneBoxRuntime(), [sink]),
    )

    def statistics() -> PublishStatistics:
        return sink.statistics()[0][1]

    def emitted() -> int:
        return pipeline.ledger.counts().emitted

    pipeline.start()
    try:
        wait_for(lambda: statistics().sent > 10)
        before, began_at = emitted(), time.monotonic()
        wait_for(lambda: emitted() >= before + 50)
        usual_seconds = time.monotonic() - began_at
        server.freeze()
        # until every buffer is full, and the connection is given up for its silence
        wait_for(lambda: statistics().state == "reconnecting")
        before, began_at = emitted(), time.monotonic()
        wait_for(lambda: emitted() >= before + 50)
        frozen_seconds = time.monotonic() - began_at
    finally:
        stopped_at = time.monotonic()
        pipeline.stop()
        while not pipeline.wait(0.05):
            continue
        stop_seconds = time.monotonic() - stopped_at
    pipeline.finish()
    assert frozen_seconds < 3 * usual_seconds + 3  # a slow machine is no frozen server
    assert stop_seconds < 5
    assert "silent for too long" in statistics().trouble
    counts = statistics()
    assert counts.sent + counts.dropped == pipeline.ledger.counts().emitted


# ── HLS ──


def listed(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text().splitlines() if not line.startswith("#")]


def played(playlist: Path, at_most: int | None = None) -> list[int]:
    """Numbers of the pictures; at the end of what is still written a player would wait for more."""
    with av.open(str(playlist), timeout=LIMIT_SECONDS) as container:
        frames = islice(container.decode(video=0), at_most)
        return [media.number_in(frame.to_ndarray(format="rgb24")) for frame in frames]


def test_a_playlist_can_be_played_and_does_not_grow(tmp_path: Path) -> None:
    """Also while the picture changes its size; what an earlier run left is gone."""
    folder, mine = tmp_path, tmp_path / "live-mine.ts"
    old = folder / "live-1700000000.ts"
    for file in (old, mine):
        file.write_bytes(b"from an earlier run")
    publisher = Publisher(str(folder))
    publisher.period_seconds /= 3  # of a playlist only the pictures' own times count
    playlist = folder / "live.m3u8"
    most = 0
    for number in range(12):
        publisher.send(25, size=SIZE if number < 10 else (192, 160))
        most = max(most, len(list(folder.glob("live-1*.ts*"))))
    publisher.sink.close()
    assert not old.exists()
    assert mine.exists()
    assert most <= 9  # 6 that are listed, 2 that players may still read, one that is written
    text = playlist.read_text()
    assert 2 <= len(listed(playlist)) <= 6
    assert "#EXT-X-ENDLIST" in text
    assert "#EXT-X-DISCONTINUITY" in text
    assert all(float(length) < 1.5 for length in re.findall(r"#EXTINF:([\d.]+)", text))
    numbers = played(playlist)
    assert len(numbers) > 50
    assert numbers[-1] == (publisher.count - 1) % 64


def test_a_playlist_is_valid_after_a_kill(tmp_path: Path) -> None:
    """Of the process that writes it; the program begins another one."""
    publisher = Publisher(str(tmp_path / "a %d.m3u8"))
    publisher.send(60)
    own = str(os.getpid())
    found = subprocess.run(["pgrep", "-P", own, "-f", "muxer.py"], capture_output=True, check=True)
    os.kill(int(found.stdout), signal.SIGKILL)
    assert len(played(tmp_path / "a %d.m3u8", at_most=20)) == 20
    publisher.send(40)
    publisher.sink.close()
    counts = publisher.statistics
    assert (counts.state, counts.reconnects) == ("connected", 1)
    assert all((tmp_path / name).exists() for name in listed(tmp_path / "a %d.m3u8"))
    assert len(played(tmp_path / "a %d.m3u8")) > 60


def test_a_file_is_published_at_its_own_pace(tmp_path: Path) -> None:
    sink = Publish([str(tmp_path)])
    pipeline = ThreadedPipeline(NumberedSource(25), build_stages(OneBoxRuntime(), [sink]))
    began_at = time.monotonic()
    pipeline.start()
    wait_for(lambda: pipeline.wait(0.05))
    pipeline.finish()
    assert time.monotonic() - began_at >= 24 * PERIOD_SECONDS
    assert pipeline.ledger.counts().emitted == 25


def test_the_command_line_gives_an_account_of_it(tmp_path: Path, rcnn_live: Run) -> None:
    outputs = ("--publish", "live.m3u8", "--summary", "s.json")
    code, _, told = rcnn_live("run", "demo", "--max-frames", 3, *outputs)
    assert code == 0, told
    assert "live.m3u8 connected with" in " ".join(told.split())
    (counts,) = json.loads((tmp_path / "s.json").read_text())["publications"]
    assert (counts["to"], counts["state"]) == ("live.m3u8", "connected")
    assert counts["sent"] + counts["dropped"] == 3
    with av.open(str(tmp_path / "live.m3u8")) as container:
        assert sum(1 for _ in container.decode(video=0)) == counts["sent"]


# ── RTMP ──


def test_rtmp_reaches_a_listener(tmp_path: Path) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/app/{SECRET}"
    numbers: list[int] = []

    def listen() -> None:
        with av.open(url, options={"listen": "1"}, timeout=LIMIT_SECONDS) as container:
            try:
                decoded = container.decode(video=0)
                numbers.extend(
                    media.number_in(frame.to_ndarray(format="rgb24")) for frame in decoded
                )
            except OSError:
                return  # so a listener meets the end

    publisher = Publisher(url)
    listener = threading.Thread(target=listen)
    listener.start()
    publisher.send(40)
    publisher.sink.close()
    listener.join(LIMIT_SECONDS)
    assert not listener.is_alive()
    assert len(numbers) == publisher.statistics.sent
    steps = [(after - before) % 64 for before, after in pairwise(numbers[1:])]
    assert sum(step == 1 for step in steps) >= 0.9 * len(steps)
    assert SECRET not in repr(publisher.sink.statistics())


# ── what is refused, and where it is said ──

REFUSED = {
    "srt://127.0.0.1:9000": "this FFmpeg has no srt, but rtsp://HOST/PATH",
    "ftp://host/x": "it has to be rtsp://HOST/PATH",
    "rtsp:///x": "There is no host in the URL",
    f"rtsp://user:{SECRET}@host:x/y": "The port in the URL of --publish is not a number",
    "rtmp://host": "it names no app and key",
    "out.mp4": r"it has to be .* or FILE\.m3u8",
    "missing/out.m3u8": "does not exist, create it first",
}


@pytest.mark.parametrize("target", REFUSED)
def test_what_cannot_be_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[target]) as refusal:
        parse_publish_target(target)
    assert SECRET not in str(refusal.value)


def test_a_server_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rtsp://h/x is given twice: leave out one of them\."):
        Publish([f"rtsp://user:{SECRET}@h/x"] * 2)


def test_a_playlist_given_twice_is_refused(rcnn_live: Run) -> None:
    code, _, told = rcnn_live("run", "demo", "--publish", "a.m3u8", "--publish", "a.m3u8")
    assert code == 2
    assert "a.m3u8 is --publish already" in told.replace("\n", " ")


def test_names_hold_nothing_secret() -> None:
    target = parse_publish_target(f"rtmp://user:{SECRET}@host:1936/app/{SECRET}?token={SECRET}")
    assert target.name == "rtmp://host:1936/app/…"
    assert SECRET not in repr(target)
    target = parse_publish_target(f"rtsp://user:{SECRET}@host:8554/cam/1?token={SECRET}")
    assert target.name == "rtsp://host:8554/cam/1"


def write_config(folder: Path, *lines: str) -> Path:
    file = folder / "cameras.yaml"
    file.write_text("cameras:\n" + "\n".join(f"  {line}" for line in lines), encoding="utf-8")
    return file


def test_cameras_publish_each_to_its_own_place(tmp_path: Path) -> None:
    config = load_config(
        write_config(
            tmp_path,
            f"a: {{source: demo, publish: 'rtsp://user:{SECRET}@host/{{name}}'}}",
            "b: {source: demo, publish: ['hls/{name}.m3u8', 'rtmp://host/live/{name}']}",
        )
    )
    a, b = config.cameras["a"], config.cameras["b"]
    assert a.publish == (f"rtsp://user:{SECRET}@host/{{name}}",)
    assert b.publish == (str(tmp_path / "hls/{name}.m3u8"), "rtmp://host/live/{name}")
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a: {source: demo, publish: 'srt://h:1'}"], r"line 2: publish is .*has no srt"),
        (["a: {source: demo, publish: x.mp4}"], r"line 2: publish is 'x.mp4': it has to be"),
        (["a: {source: demo, publish: 'rtsp://h/{camera}'}"], "camera} means nothing"),
        (
            [f"{name}: {{source: demo, publish: 'rtsp://h/x'}}" for name in "ab"],
            "publish of b is that of a too: put {name} into it",
        ),
    ],
)
def test_mistakes_in_a_configuration_are_told(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_config(write_config(tmp_path, *lines))


def test_a_live_source_keeps_its_times() -> None:
    clock = PublishClock(is_live=True)
    assert [clock.place(pts, 100.0) for pts in (5.0, 5.04, 65.0)] == [
        (0.0, 5.0),
        (0.0, 5.04),
        (0.0, 65.0),
    ]


def test_a_file_waits_until_it_is_time() -> None:
    clock = PublishClock(is_live=False)
    assert clock.place(5.0, 100.0) == (0.0, 100.0)
    wait, shown_at = clock.place(5.25, 100.125)
    assert (wait, shown_at) == (0.125, 100.25)
    assert clock.place(5.5, 100.625) == (0.0, 100.5)  # a little late
    assert clock.place(5.75, 103.0) == (0.0, 103.0)  # the model is slow: from here
    assert clock.place(6.0, 103.0) == (0.25, 103.25)
    assert clock.place(66.0, 103.25) == (1.0, 104.25)  # no stop waits for the next picture
