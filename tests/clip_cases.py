"""Videos, sightings and the way of both into clips, for the tests of clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media
import numpy as np

from models.detections import Detections
from stream.frame import Frame, FrameTrace, SourceTime
from stream.sinks.event_clips import EventClips
from stream.sources.base import SourceInfo
from stream.stages import Job

CLASS_NAMES = ("__background__", "person", "dog")
FRAME_RATE, GROUP = 25, 12  # frames a second; between two keyframes
SIZE = (128, 96)
Packets = list[tuple[Fraction, Fraction, bool, bytes]]


def video(
    path: Path, count: int = 250, *, sound: bool = True, noise: int = 0, codec: str = "aac"
) -> Path:
    """Marked pictures with B-frames, and a tone; with ``noise`` px a side pictures of noise."""
    chance = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height = (noise, noise) if noise else SIZE
        stream.pix_fmt, stream.gop_size = "yuv420p", GROUP
        stream.thread_count = 1
        stream.options = {"sc_threshold": "0", "preset": "ultrafast", "bf": "2"}
        stream.options |= {"qp": "20"} if noise else {}
        tone: Any = container.add_stream(codec, rate=48_000, layout="mono") if sound else None
        for number in range(count):
            picture = media.marked_picture(number % 64)
            picture[:8, 56:72] = chance.integers(0, 255, (8, 16, 3))  # no two packets are the same
            if noise:
                picture = chance.integers(0, 255, (noise, noise, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if tone is not None:
            wave = np.sin(np.arange(48_000 * count // FRAME_RATE) / 20).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def packets(path: Path, kind: str = "video") -> Packets:
    """Presentation and decoding time, whether it is a keyframe, the bytes; as they are stored."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (one.pts * one.time_base, one.dts * one.time_base, one.is_keyframe, bytes(one))
            for one in container.demux(stream)
            if one.size and one.pts is not None and one.dts is not None
        ]


def played(path: Path) -> list[int]:
    """The number in each picture that a player shows."""
    with av.open(str(path)) as container:
        return [
            media.number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]


def found(*, is_seen: bool, label: int = 1, score: float = 0.9) -> Detections:
    """One object or none."""
    if not is_seen:
        return Detections.empty(CLASS_NAMES)
    return Detections(
        boxes=np.array([[8, 8, 40, 40]], np.float32),
        labels=np.array([label], np.int64),
        scores=np.array([score], np.float32),
        class_names=CLASS_NAMES,
    )


def info(*, is_live: bool) -> SourceInfo:
    """Of the videos here."""
    return SourceInfo(
        name="door",
        is_live=is_live,
        width=SIZE[0],
        height=SIZE[1],
        frame_rate=Fraction(FRAME_RATE),
        time_base=Fraction(1, 12_800),
        frame_count=None,
    )


def feed(
    clips: EventClips,
    path: Path,
    seen: Collection[int],
    *,
    is_live: bool = False,
    connection: int = 1,
    after: Callable[[int], None] = lambda _index: None,
) -> None:
    """One connection: every packet into the tap, every picture with its sightings into the sink.

    Args:
        clips: open.
        path: of the video.
        seen: indices of frames with a person.
        is_live: as the source would say.
        connection: its number.
        after: called after each frame.
    """
    with av.open(str(path)) as container:
        streams = list(container.streams)
        taker = clips.begin(streams, is_live=is_live, connection=connection)
        index = 0
        for packet in container.demux(streams):
            taker.take(packet)
            if packet.stream is not streams[0]:
                continue
            for picture in packet.decode():
                clips.write(job(picture, index, connection, is_seen=index in seen))
                after(index)
                index += 1
        taker.end()


def job(picture: Any, index: int, connection: int, *, is_seen: bool) -> Job:
    frame = Frame(
        picture.to_ndarray(format="rgb24"),
        index,
        "door",
        picture.pts,
        picture.time_base,
        1000.0 + index / FRAME_RATE,
        wall_time=1_800_000_000.0 + index / FRAME_RATE,
        source_time=SourceTime(connection, picture.pts * picture.time_base),
    )
    score = 0.5 + index % 10 / 25
    return Job(frame, FrameTrace(frame.captured_at), detections=found(is_seen=is_seen, score=score))


def described(folder: Path) -> list[dict[str, Any]]:
    """What is said of each clip, in order."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
