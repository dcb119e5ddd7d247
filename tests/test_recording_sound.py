"""The sound of recordings: the same packets, and in sync, whatever becomes of the pictures."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import flash_and_beep
import media
import numpy as np
import numpy.typing as npt
import pytest
import rtsp_server
from flash_and_beep import beeps, every_second, flashes, write_clip
from pieces import CLASS_NAMES, OneBoxRuntime, Run
from test_record_raw import packets
from test_recording import picture_job
from test_recording_segments import segments

from models.detections import Detections
from models.runtimes.base import Canvas
from stream.frame import SourceTime
from stream.sinks import recording as recording_module
from stream.sinks import sound as sound_module
from stream.sinks.recording import Recording
from stream.sinks.segments import Limit, RecordingOptions
from stream.sinks.video_file import GAP_NOTE_SECONDS, VideoFile
from stream.sources import ReconnectOptions, SourceOptions, create_source
from stream.sources.base import SourceInfo
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

SECONDS_25_FPS = range(0, 3000, 40)  # milliseconds
FRAME_SECONDS = 0.04
SYNC_SECONDS = 0.03
PACKET_SECONDS = 1024 / 48_000


class BlindRuntime(OneBoxRuntime):
    """Finds nothing, so that nothing is drawn; takes ``seconds`` a frame."""

    def infer(self, canvas: Canvas) -> Detections:
        super().infer(canvas)
        nothing = np.zeros(0)
        return Detections(
            boxes=np.zeros((0, 4), np.float32),
            labels=nothing.astype(np.int64),
            scores=nothing.astype(np.float32),
            class_names=CLASS_NAMES,
        )


def pipeline_of(
    source: Path | str, sink: Recording, *, seconds: float = 0.0, max_frames: int | None = None
) -> ThreadedPipeline:
    """As ``rcnn-live run`` makes it, with a model that takes ``seconds`` a frame."""
    opened = create_source(
        str(source),
        options=SourceOptions(tap=sink.tap),
        reconnect=ReconnectOptions(first_delay_seconds=0.1, longest_delay_seconds=0.2),
    )
    stages = build_stages(BlindRuntime(seconds), [sink])
    return ThreadedPipeline(opened, stages, max_frames=max_frames)


def record(
    source: Path | str,
    target: Path,
    options: RecordingOptions = RecordingOptions(),  # noqa: B008 - it is frozen
    **how: float,
) -> None:
    record_with(Recording(target, options), source, **how)


def record_with(sink: Recording, source: Path | str, **how: float) -> None:
    pipeline = pipeline_of(source, sink, **how)  # type: ignore[arg-type]
    with pipeline:
        while not pipeline.wait(1.0):
            continue
    pipeline.finish()


def sound_bytes(path: Path) -> list[bytes]:
    return [one[3] for one in packets(path, "audio")]


def times(path: Path, kind: str) -> list[Fraction]:
    return [one[0] for one in packets(path, kind)]


def assert_in_sync(path: Path, count: int) -> None:
    shown, heard = flashes(path), beeps(path)
    assert len(shown) == len(heard) == count
    assert heard == pytest.approx(shown, abs=SYNC_SECONDS)


@pytest.mark.timeout(400)
def test_a_run_copies_the_sound(rcnn_live: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    code, _, err = rcnn_live("run", clip, "--record", "out.mp4", "--no-hud")
    assert code == 0, err
    assert packets(Path("out.mp4"), "audio") == packets(clip, "audio")
    assert times(Path("out.mp4"), "video") == times(clip, "video")
    assert_in_sync(Path("out.mp4"), 3)
    code, _, err = rcnn_live("run", clip, "--record", "silent.mp4", "--no-sound", "--single-thread")
    assert code == 0, err
    with av.open("silent.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_that_begins_before_zero_moves_no_picture(tmp_path: Path, suffix: str) -> None:
    """An AAC encoder's first packet is a packet early."""
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    assert times(clip, "audio")[0] < 0
    out = tmp_path / f"out{suffix}"
    record(clip, out)
    assert sound_bytes(out) == sound_bytes(clip)
    assert times(out, "video") == times(clip, "video")
    found = [float(when) for when in times(out, "audio")]
    assert found == pytest.approx([float(when) for when in times(clip, "audio")], abs=0.001)
    assert_in_sync(out, 3)


@pytest.mark.parametrize(
    ("source", "target", "codec"),
    [(".mp4", ".mp4", "libmp3lame"), (".mkv", ".mp4", "libopus"), (".mov", ".mov", "pcm_alaw"),
     (".ts", ".mp4", "aac"), (".ts", ".mkv", "aac")],
)  # fmt: skip
def test_sound_of_every_kind_is_copied(
    tmp_path: Path, source: str, target: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / f"clip{source}", SECONDS_25_FPS, sound=codec)
    out = tmp_path / f"out{target}"
    record(clip, out)
    copied = sound_bytes(clip)
    if source == ".ts":  # whose packets have headers of 7 bytes that a file's have not
        copied = [one[7:] for one in copied]
    assert sound_bytes(out) == copied
    assert len(copied) > 10
    assert_in_sync(out, 3)
    assert not caplog.records


@pytest.mark.parametrize(
    ("source", "target", "codec", "rate"),
    [(".mov", ".mp4", "pcm_alaw", 8000), (".mkv", ".mov", "libopus", 48_000)],
)
def test_what_a_file_cannot_hold_is_encoded_anew(
    tmp_path: Path,
    source: str,
    target: str,
    codec: str,
    rate: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = write_clip(tmp_path / f"clip{source}", SECONDS_25_FPS, sound=codec, sound_rate=rate)
    out = tmp_path / f"out{target}"
    record(clip, out)
    assert_in_sync(out, 3)
    name = codec.removeprefix("lib")
    assert [one.getMessage() for one in caplog.records] == [
        f"The sound is encoded anew, as AAC: {target} files cannot hold {name}."
    ]
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert float(times(out, "audio")[-1]) > 2.8


def test_pictures_at_any_times(tmp_path: Path) -> None:
    milliseconds = list(np.cumsum([7, 150, 33, 33, 300, 16, 40, 95] * 6))
    clip = write_clip(tmp_path / "clip.mp4", milliseconds, is_white=lambda k: k % 8 in (2, 3))
    record(clip, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4", "video") == times(clip, "video")
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")
    assert_in_sync(tmp_path / "out.mp4", 6)


def test_sound_that_begins_late_and_ends_late(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(0, 5000, 40), sound_from=3.1, sound_seconds=7)
    record(clip, tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")
    assert beeps(tmp_path / "out.mp4") == pytest.approx([3.4, 4.4], abs=SYNC_SECONDS)


def test_without_sound_nothing_changes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS, sound=None)
    record(clip, tmp_path / "out.mp4")
    record(clip, tmp_path / "silent.mp4", RecordingOptions(sound=False))
    assert packets(tmp_path / "out.mp4", "video") == packets(tmp_path / "silent.mp4", "video")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams) == 1


def test_sources_without_packets_are_recorded_all_the_same(tmp_path: Path) -> None:
    record("lavfi:testsrc2=size=128x96:rate=25:duration=1", tmp_path / "out.mp4")
    assert len(packets(tmp_path / "out.mp4", "video")) == 25


# Segments


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_segments_share_the_sound_without_a_hole_or_a_repeat(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(0, 4000, 40))
    options = RecordingOptions(segment=Limit(seconds=0.75))
    record(clip, tmp_path / f"out{suffix}", options)
    files = segments(tmp_path)
    assert len(files) == 6
    whole = sound_bytes(clip)
    parts = [one for file in files for one in sound_bytes(file)]
    assert parts == whole[len(whole) - len(parts) :]  # all but what is heard before the pictures
    assert len(whole) - len(parts) <= 1
    begins_at = Fraction(0)
    for file in files:
        heard, shown = times(file, "audio"), times(file, "video")
        assert -0.001 <= heard[0] < PACKET_SECONDS + 0.001
        assert shown[0] == 0
        in_clip = [when for when in (0.4, 1.4, 2.4, 3.4) if 0 <= when - begins_at < shown[-1]]
        assert beeps(file) == pytest.approx(
            [when - begins_at for when in in_clip], abs=SYNC_SECONDS
        )
        assert flashes(file) == pytest.approx([when - begins_at for when in in_clip], abs=0.001)
        begins_at += shown[-1] + Fraction(40, 1000)
    assert begins_at == 4


# Live


def loop_begins(path: Path) -> list[float]:
    """Seconds at which the server's loop of 48 pictures began, by every picture's number.

    Pictures after a gap have a note where their number is.
    """
    with av.open(str(path)) as container:
        pictures = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    found, noted_until = [], 0.0
    for (before, _), (when, picture) in pairwise(pictures):
        if when - before > 0.5:
            noted_until = when + GAP_NOTE_SECONDS
        if when >= noted_until:
            found.append(when - FRAME_SECONDS * media.number_in(picture))
    return found


def has_sound_around(begin: float, sound: npt.NDArray[np.float64]) -> bool:
    """Whether there are packets without a hole from just before a beep until after it."""
    around = sound[(sound > begin - 0.2) & (sound < begin + 0.3)]
    if len(around) < 3 or around[0] > begin - 0.1 or around[-1] < begin + 0.2:
        return False
    return bool(np.diff(around).max() < 0.15)


def assert_loops_beep(path: Path, least: int) -> None:
    """Every beep begins with a loop, by the pictures around it, and none is missing."""
    begins, heard = loop_begins(path), beeps(path)
    sound = np.array(times(path, "audio"))
    for beep in heard:
        near = [abs(begin - beep) for begin in begins if abs(begin - beep) < 0.5]
        if near and beep > 0.05:  # not one that had begun before the recording did
            assert min(near) < FRAME_SECONDS
    # of a loop just before or after a hole few pictures tell, which may have come late
    told = Counter(round(begin, 1) for begin in begins if has_sound_around(begin, sound))
    expected = {begin for begin, pictures in told.items() if pictures >= 12}
    assert len(expected) >= least
    for begin in expected:
        assert min(abs(begin - beep) for beep in heard) < 0.1


@pytest.mark.parametrize("codec", rtsp_server.SOUNDS)
def test_a_camera_s_sound_stays_in_sync_when_pictures_are_dropped(
    tmp_path: Path, codec: str
) -> None:
    with rtsp_server.rtsp_server(tmp_path, sound=codec) as server:
        # a model that takes 60 ms a picture loses every third
        record(server.url(), tmp_path / "out.mp4", seconds=0.06, max_frames=115)
    shown = times(tmp_path / "out.mp4", "video")
    assert shown[0] == 0
    assert len(shown) < 110
    assert_loops_beep(tmp_path / "out.mp4", 2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        name = container.streams.audio[0].codec_context.name
    assert name == ("opus" if codec == "opus" else "aac")


def test_sound_comes_back_with_the_camera(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "out.mp4")
    with rtsp_server.rtsp_server(tmp_path, sound="aac") as server:
        pipeline = pipeline_of(server.url(), sink)
        with pipeline:
            wait_for_frames(pipeline, 60)
            server.kill()
            with rtsp_server.rtsp_server(tmp_path, sound="aac", port=server.port):
                wait_for_frames(pipeline, 200)
                pipeline.stop()
                while not pipeline.wait(1.0):
                    continue
        pipeline.finish()
    assert pipeline.status.reconnects == 1
    assert sink.statistics().files == 1
    assert_loops_beep(tmp_path / "out.mp4", 2)
    heard = times(tmp_path / "out.mp4", "audio")
    gaps = [after - before for before, after in pairwise(heard)]
    assert sum(gap > 2 * PACKET_SECONDS for gap in gaps) == 1  # while there was no camera


def wait_for_frames(pipeline: ThreadedPipeline, count: int) -> None:
    """Until so many frames have been written."""
    for _ in range(600):
        if pipeline.ledger.counts().emitted >= count:
            return
        assert not pipeline.wait(0.1)
    pytest.fail(f"no {count} frames within a minute")


# What can go wrong


def live_info() -> SourceInfo:
    return SourceInfo(
        name="test",
        is_live=True,
        width=160,
        height=120,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        frame_count=None,
    )


def write_live(
    sink: VideoFile, connection: int, milliseconds: Sequence[int], own_clock: float = 100.0
) -> None:
    """Pictures of a connection whose own times are ``own_clock`` seconds more."""
    for index, when in enumerate(milliseconds):
        job = picture_job(index, when, Fraction(1, 1000), (160, 120))
        own = SourceTime(connection, Fraction(when, 1000) + Fraction(own_clock))
        job.frame = dataclasses.replace(job.frame, source_time=own)
        sink.write(job)


@contextmanager
def connected(sink: VideoFile, clip: Path, connection: int) -> Iterator[Callable[..., None]]:
    """A connection that gives the clip's sound up to a time, by a clock that is ahead."""
    assert sink.tap is not None
    with av.open(str(clip)) as container:
        streams = [container.streams.video[0], container.streams.audio[0]]
        taker = sink.tap.begin(streams, is_live=True, connection=connection)
        left = [one for one in container.demux(streams[1]) if one.pts is not None]

        def give(until: float, own_clock: float = 100.0) -> None:
            while left and left[0].pts * left[0].time_base < until:
                packet = left.pop(0)
                packet.pts += round(own_clock / packet.time_base)
                taker.take(packet)

        yield give
        taker.end()


def give_sound(sink: VideoFile, clip: Path, connection: int, until: float = 99.0) -> None:
    """A whole connection's sound, at times that are 100 s more than the clip's."""
    with connected(sink, clip, connection) as give:
        give(until)


def test_a_sound_that_never_comes_does_not_keep_the_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    for suffix in (".mp4", ".mkv"):
        sink = VideoFile(tmp_path / f"out{suffix}")
        sink.open(live_info())
        give_sound(sink, clip, 0, until=-1.0)
        write_live(sink, 0, range(0, 5000, 40))
        on_disk = (tmp_path / f"out{suffix}").stat().st_size
        sink.close()
        assert len(packets(tmp_path / f"out{suffix}", "video")) == 125
        assert on_disk > 5000  # it is not kept in memory for ever
    told = [one.getMessage() for one in caplog.records]
    assert told == [f"{tmp_path / 'out.mp4'} has no sound: none came with its first pictures."]


def test_a_camera_that_comes_back_with_another_sound_goes_on_in_another_file(
    tmp_path: Path,
) -> None:
    clips = [
        write_clip(tmp_path / f"{rate}.mp4", SECONDS_25_FPS, sound_rate=rate)
        for rate in (48_000, 44_100)
    ]
    sink = VideoFile(tmp_path / "out.mp4")
    sink.open(live_info())
    give_sound(sink, clips[0], 0)
    write_live(sink, 0, range(0, 2000, 40))
    give_sound(sink, clips[0], 1)  # the same again, from its beginning
    write_live(sink, 1, range(2000, 2200, 40))
    give_sound(sink, clips[1], 2)
    write_live(sink, 2, range(2200, 3000, 40))
    sink.close()
    assert sink.file_count == 2
    assert beeps(tmp_path / "out.mp4") == pytest.approx([0.4, 1.4], abs=SYNC_SECONDS)
    with av.open(str(tmp_path / "out-2.mp4")) as container:
        assert container.streams.audio[0].rate == 44_100
    assert times(tmp_path / "out-2.mp4", "audio")[0] < 1024 / 44_100
    assert beeps(tmp_path / "out-2.mp4") == pytest.approx([0.2], abs=SYNC_SECONDS)


def test_a_clock_that_is_set_takes_the_sound_along(tmp_path: Path) -> None:
    """The recording's time goes on where the source's own goes back by 99 s."""
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    sink = VideoFile(tmp_path / "out.mp4")
    sink.open(live_info())
    with connected(sink, clip, 0) as give:
        for when in SECONDS_25_FPS:
            own_clock = 100.0 if when < 1900 else 1.0
            give(when / 1000 + 0.04, own_clock)
            write_live(sink, 0, [when], own_clock)
    sink.close()
    assert beeps(tmp_path / "out.mp4") == pytest.approx([0.4, 1.4, 2.4], abs=SYNC_SECONDS)
    heard = times(tmp_path / "out.mp4", "audio")
    assert sum(after - before > 0.03 for before, after in pairwise(heard)) == 1
    assert max(after - before for before, after in pairwise(heard)) < 0.2


def test_sound_of_while_the_recording_had_stopped_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    free = iter([10**9] * 25 + [0] * 25 + [10**9] * 99)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    monkeypatch.setattr(recording_module, "CHECK_SECONDS", 0.0)
    sink = Recording(
        tmp_path / "out.mp4", RecordingOptions(min_free_bytes=10**6), is_threaded=False
    )
    record_with(sink, clip)
    heard, gone_on = tmp_path / "out.mp4", tmp_path / "out-2.mp4"
    assert len(times(heard, "video")) + len(times(gone_on, "video")) == 50
    assert beeps(heard) == pytest.approx([0.4], abs=SYNC_SECONDS)
    assert_in_sync(gone_on, 1)
    assert times(gone_on, "audio")[0] >= times(gone_on, "video")[0] == 2


def test_sound_that_was_read_ahead_is_not_heard_after_the_last_picture(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    sink = VideoFile(tmp_path / "out.mp4")
    sink.open(live_info())
    give_sound(sink, clip, 0)  # all 3 s of it
    write_live(sink, 0, range(0, 1000, 40))
    sink.stop_before(picture_job(25, 1000, Fraction(1, 1000), (160, 120)).frame)
    sink.close()
    assert beeps(tmp_path / "out.mp4") == pytest.approx([0.4], abs=SYNC_SECONDS)
    assert 0.9 < times(tmp_path / "out.mp4", "audio")[-1] < 1


def test_sound_that_waits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sound_module, "LIMIT_BYTES", 50_000)
    clip = write_clip(tmp_path / "clip.mp4", SECONDS_25_FPS)
    sink = VideoFile(tmp_path / "out.mp4")
    sink.open(live_info())
    give_sound(sink, clip, 0)
    kept = list(sink._sound._connections[0].packets)
    assert sum(packet.size for packet in kept) < 50_000
    assert 50 < len(kept) < 120  # of 142
    write_live(sink, 0, range(0, 3000, 40))
    sink.close()
    assert sound_bytes(tmp_path / "out.mp4") == sound_bytes(clip)[-len(kept) :]
    assert beeps(tmp_path / "out.mp4")[-1] == pytest.approx(2.4, abs=SYNC_SECONDS)
    assert "packets of sound are not in the recording" in caplog.text


_RECORD_FOR_EVER = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_recording_sound import pipeline_of
from stream.sinks.recording import Recording
pipeline = pipeline_of({clip!r}, Recording(Path({path!r})), seconds=0.005)
pipeline.start()
while not pipeline.wait(0.05):
    print(pipeline.ledger.counts().emitted, flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_recording_plays_with_its_sound(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(0, 40_000, 40), is_white=every_second)
    root, out = Path(__file__).resolve().parents[1], tmp_path / f"out{suffix}"
    code = _RECORD_FOR_EVER.format(
        root=str(root), tests=str(root / "tests"), clip=str(clip), path=str(out)
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 220:
                process.kill()
                break
    shown, heard = flash_and_beep.flashes(out), beeps(out)
    assert len(shown) >= 5
    both = min(len(shown), len(heard))
    assert both >= len(shown) - 1
    assert heard[:both] == pytest.approx(shown[:both], abs=SYNC_SECONDS)
