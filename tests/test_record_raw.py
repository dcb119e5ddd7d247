"""Copies of a source's own packets: every byte and every time, with its sound."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
import media
import numpy as np
import pytest
import rtsp_server
from flash_and_beep import beeps, flashes, write_clip
from pieces import Run

from stream.errors import SinkError, UsageError
from stream.sinks.raw_copy import RawCopy
from stream.sinks.remux import PacketFile
from stream.sources import SourceOptions, create_source

Packets = list[tuple[Fraction, Fraction, bool, bytes]]


def packets(path: Path, kind: str) -> Packets:
    """Presentation and decoding time, whether it is a keyframe, the bytes."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (one.pts * one.time_base, one.dts * one.time_base, one.is_keyframe, bytes(one))
            for one in container.demux(stream)
            if one.size and one.pts is not None and one.dts is not None
        ]


def with_sound(path: Path) -> Path:
    """Half a second at 25 fps with B-frames, and a tone of a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound = container.add_stream("aac", rate=48_000)
        for number in range(24):
            picture = media.marked_picture(number)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        wave = np.sin(np.arange(48_000) / 20).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def copy_through(source: Path | str, target: Path) -> int:
    """Read the whole source with a copy; gives how many frames it had."""
    copy = RawCopy(target)
    with create_source(str(source), options=SourceOptions(tap=copy)) as opened:
        opened.open()
        count = 0
        while opened.read() is not None:
            count += 1
    copy.close()
    return count


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_picture_and_sound_of_a_file_are_the_same_bytes_at_the_same_times(
    tmp_path: Path, suffix: str
) -> None:
    clip = with_sound(tmp_path / "clip.mp4")
    target = tmp_path / f"out{suffix}"
    assert copy_through(clip, target) == 24
    assert packets(target, "video") == packets(clip, "video")
    assert packets(target, "audio") == packets(clip, "audio")
    assert len(packets(target, "audio")) > 40


@pytest.mark.parametrize("make", [media.variable_rate, media.hevc, media.constant_rate])
def test_clips_of_every_kind(tmp_path: Path, make: object) -> None:
    clip = make(tmp_path)  # type: ignore[operator]
    copy_through(clip.path, tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4", "video") == packets(clip.path, "video")


def shown(path: Path) -> list[tuple[float, int]]:
    """When each picture is shown, from the first one's time on, and its number."""
    with av.open(str(path)) as container:
        frames = [
            (float(frame.pts * frame.time_base), media.number_in(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]
    return [(when - frames[0][0], number) for when, number in frames]


def test_through_matroska_and_back(tmp_path: Path) -> None:
    """It rounds to milliseconds, and says nothing of when its first packets are decoded."""
    clip = with_sound(tmp_path / "clip.mp4")
    copy_through(clip, tmp_path / "out.mkv")
    copy_through(tmp_path / "out.mkv", tmp_path / "back.mp4")
    expected = shown(clip)
    for name in ("out.mkv", "back.mp4"):
        found = shown(tmp_path / name)
        assert [number for _, number in found] == [number for _, number in expected]
        assert [when for when, _ in found] == pytest.approx(
            [when for when, _ in expected], abs=0.002
        )
    sound = [one[3] for one in packets(clip, "audio")]
    assert [one[3] for one in packets(tmp_path / "back.mp4", "audio")] == sound


@pytest.mark.parametrize(
    ("source", "codec", "target"),
    [(".mp4", "libmp3lame", ".mp4"), (".ts", "aac", ".mp4"), (".mkv", "libopus", ".mkv")],
)
def test_sound_of_every_kind(tmp_path: Path, source: str, codec: str, target: str) -> None:
    clip = write_clip(tmp_path / f"clip{source}", range(0, 2000, 40), sound=codec)
    out = tmp_path / f"out{target}"
    assert copy_through(clip, out) == 50
    assert len(packets(out, "audio")) == len(packets(clip, "audio"))
    assert beeps(out) == pytest.approx(flashes(out), abs=0.03)


def test_sound_that_the_file_cannot_hold_costs_no_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", range(0, 2000, 40), sound="libopus")
    out = tmp_path / "out.mov"
    copy_through(clip, out)
    assert len(packets(out, "video")) == 50
    assert f"{out} has no sound: .mov files cannot hold opus as it is." in caplog.text


def test_a_sound_that_never_comes_does_not_keep_the_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", range(0, 4000, 40)), tmp_path / "out.mp4"
    with av.open(str(clip)) as container:
        file = PacketFile(out, container.streams.get())
        for packet in container.demux(video=0):
            if packet.size:
                file.write(0, packet, Fraction(0), is_live=True)
    assert out.stat().st_size > 2000  # it is not kept in memory for ever
    file.close()
    assert len(packets(out, "video")) == 100
    assert f"{out} has no sound: none came with its first pictures." in caplog.text


def test_packets_without_times_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    media.encode(
        tmp_path / "raw.h264", [media.marked_picture(k) for k in range(5)], pts=range(5),
        container_format="h264",
    )  # fmt: skip
    assert copy_through(tmp_path / "raw.h264", tmp_path / "out.mkv") == 5
    assert "packets without a time are not in" in caplog.text


def test_a_live_stream_from_its_first_keyframe(tmp_path: Path) -> None:
    copy = RawCopy(tmp_path / "out.mp4")
    with rtsp_server.rtsp_server(tmp_path) as server:
        options = SourceOptions(tap=copy)
        for _ in range(2):  # each connection has a file
            with create_source(server.url(), options=options) as source:
                source.open()
                for _ in range(40):
                    assert source.read() is not None
    copy.close()
    for name in ("out.mp4", "out-2.mp4"):
        found = packets(tmp_path / name, "video")
        assert len(found) > 20
        assert found[0][:3] == (0, 0, True)
        with av.open(str(tmp_path / name)) as container:
            numbers = [
                media.number_in(frame.to_ndarray(format="rgb24"))
                for frame in container.decode(video=0)
            ]
        first = numbers[0]
        assert numbers == [(first + k) % 48 for k in range(len(numbers))]


def test_trouble_with_the_copy_is_told_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = media.vp9(tmp_path)
    copy = RawCopy(tmp_path / "out.mov")  # which can hold no VP9
    with create_source(str(clip.path), options=SourceOptions(tap=copy)) as source:
        source.open()
        for _ in range(12):
            assert source.read() is not None
    with pytest.raises(SinkError, match=r"The copy .*out.mov could not be written"):
        copy.close()
    copy.close()
    assert "The run goes on without it." in caplog.text


def test_what_has_no_packets_is_refused(tmp_path: Path) -> None:
    copy = RawCopy(tmp_path / "out.mp4")
    with pytest.raises(UsageError, match="copies video files and network streams, and demo is"):
        create_source("demo", options=SourceOptions(tap=copy))
    with pytest.raises(UsageError, match=r"--record-raw .*out.avi: give a name that ends in"):
        RawCopy(tmp_path / "out.avi")
    copy.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(400)
def test_a_run_with_a_copy(rcnn_live: Run, tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "clip.mp4")
    code, _, err = rcnn_live("run", clip, "--record-raw", "raw.mp4", "--record", "out.mp4")
    assert code == 0, err
    assert packets(Path("raw.mp4"), "audio") == packets(clip, "audio")
    assert packets(Path("raw.mp4"), "video") == packets(clip, "video")
    assert not any("record-raw" in thread.name for thread in threading.enumerate())
    code, _, err = rcnn_live("run", clip, "--record-raw", "raw.mp4", "--blur", "person")
    assert (code, err) == (
        2,
        "rcnn-live: --record-raw would show what is to be hidden: use --record.\n",
    )
    code, _, err = rcnn_live("run", clip, "--record-raw", clip)
    assert code == 2
    assert "is the source already" in err
