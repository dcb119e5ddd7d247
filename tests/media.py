"""Clips for the tests, each made by the function that describes it.

Every picture carries its number: see ``marked_picture``. Its colours and its two rows also show
whether it is RGB and upright.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType

Image = npt.NDArray[np.uint8]

BITS = 6  # of the number in a picture, so it counts to 63
RED, BLUE = (200, 40, 40), (40, 40, 200)


@dataclass(frozen=True)
class Clip:
    """A clip and what is true of it.

    Attributes:
        path: of the file.
        size: (width, height) px, upright.
        numbers: the number in each picture that a player shows, in order.
        pts: presentation times in units of ``time_base``, or None if the file holds none.
        time_base: seconds per unit of pts.
        frame_count: what the file announces, None for nothing.
    """

    path: Path
    size: tuple[int, int]
    numbers: tuple[int, ...]
    pts: tuple[int, ...] | None
    time_base: Fraction
    frame_count: int | None


def marked_picture(number: int, width: int = 128, height: int = 96) -> Image:
    """(H,W,3) RGB: red above left, blue above right, below ``number`` in bars, low bit first."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = BLUE
    edges = [round(bit * width / BITS) for bit in range(BITS + 1)]
    for bit in range(BITS):
        image[height // 2 :, edges[bit] : edges[bit + 1]] = 225 if number >> bit & 1 else 30
    return image


def number_in(image: Image) -> int:
    """The number in a marked picture, after a check that it is upright and RGB."""
    height, width = image.shape[:2]
    for colour, x in ((RED, 0.25), (BLUE, 0.75)):
        seen = image[height // 4, int(width * x)].astype(int)
        assert np.abs(seen - colour).max() < 40, f"expected {colour}, got {seen}"
    row = image[height * 3 // 4].mean(axis=1)
    return int(sum((row[int((bit + 0.5) * width / BITS)] > 128) << bit for bit in range(BITS)))


def encode(
    target: Path | io.RawIOBase,
    pictures: Sequence[Image],
    *,
    pts: Sequence[int],
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    container_format: str | None = None,
    pixel_format: str = "yuv420p",
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    comment: str | None = None,
) -> None:
    """Write ``pictures`` as the only stream of a file; ``rotation`` in degrees counterclockwise."""
    with av.open(
        target,
        "w",
        format=container_format,
        options=container_options or {},
        metadata_encoding="latin-1",
    ) as container:
        if comment:
            container.metadata["comment"] = comment
        stream: Any = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = time_base
        stream.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for when, picture in zip(pts, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pict_type = PictureType.NONE
            frame.pts, frame.time_base = when, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(count: int, **size: int) -> list[Image]:
    return [marked_picture(number, **size) for number in range(count)]


def _clip(path: Path, count: int = 24, **changes: Any) -> Clip:
    """The truth about a usual clip of ``count`` frames at 25 fps, but for ``changes``."""
    facts = {
        "size": (128, 96),
        "numbers": tuple(range(count)),
        "pts": tuple(range(0, count * 512, 512)),
        "time_base": Fraction(1, 12_800),
        "frame_count": count,
    }
    return Clip(path=path, **(facts | changes))  # type: ignore[arg-type]


def constant_rate(folder: Path) -> Clip:
    """MP4, H.264 with B-frames, 25 fps; the index at the start, so that it can be streamed."""
    path = folder / "constant_rate.mp4"
    options = {"movflags": "faststart"}
    encode(path, _pictures(24), pts=range(24), container_options=options)
    return _clip(path)


def variable_rate(folder: Path) -> Clip:
    """MP4, H.264, gaps of 20 to 400 ms."""
    path = folder / "variable_rate.mp4"
    pts = (0, 24, 36, 156, 168, 408, 432, 480, 492, 504, 600, 612)
    encode(path, _pictures(12), pts=pts, time_base=Fraction(1, 600))
    with av.open(str(path)) as container:  # the muxer chooses a finer time base
        time_base = container.streams.video[0].time_base
    assert time_base is not None
    ticks = tuple(int(when * Fraction(1, 600) / time_base) for when in pts)
    return _clip(path, 12, pts=ticks, time_base=time_base)


def rotated(folder: Path, degrees: int) -> Clip:
    """MP4 whose display matrix asks for ``degrees`` counterclockwise."""
    path = folder / f"rotated_{degrees}.mp4"
    quarter_turns = degrees // 90
    lying = [np.ascontiguousarray(np.rot90(picture, -quarter_turns)) for picture in _pictures(12)]
    encode(path, lying, pts=range(12), rotation=degrees)
    return _clip(path, 12)


def odd_size_444(folder: Path) -> Clip:
    """MP4, H.264 4:4:4, 129x97."""
    path = folder / "odd_size_444.mp4"
    pictures = _pictures(12, width=129, height=97)
    encode(path, pictures, pts=range(12), pixel_format="yuv444p")
    return _clip(path, 12, size=(129, 97))


def hevc(folder: Path) -> Clip:
    """MP4, HEVC."""
    path = folder / "hevc.mp4"
    options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"}
    encode(path, _pictures(12), pts=range(12), codec="libx265", codec_options=options)
    return _clip(path, 12)


def vp9(folder: Path) -> Clip:
    """WebM, VP9, times in milliseconds; a WebM announces no number of frames."""
    path = folder / "vp9.webm"
    _encode_vp9(path, 12)
    milliseconds = tuple(range(0, 480, 40))
    return _clip(path, 12, pts=milliseconds, time_base=Fraction(1, 1000), frame_count=12)


def _encode_vp9(target: Path | io.RawIOBase, count: int) -> None:
    options = {"deadline": "realtime", "cpu-used": "8"}
    encode(
        target,
        _pictures(count),
        pts=range(count),
        codec="libvpx-vp9",
        codec_options=options,
        container_format="webm",
    )


class _Pipe(io.RawIOBase):
    """A target that, like a pipe, cannot go back to fill in the duration."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)


def no_duration(folder: Path) -> Clip:
    """WebM written to a pipe: no duration, no index."""
    path = folder / "no_duration.webm"
    pipe = _Pipe()
    _encode_vp9(pipe, 12)
    path.write_bytes(pipe.content)
    milliseconds = tuple(range(0, 480, 40))
    return _clip(path, 12, pts=milliseconds, time_base=Fraction(1, 1000), frame_count=None)


def raw_h264(folder: Path, size: tuple[int, int] = (128, 96), count: int = 12) -> Clip:
    """A naked H.264 stream without any times."""
    path = folder / f"raw_{size[0]}.h264"
    pictures = _pictures(count, width=size[0], height=size[1])
    encode(path, pictures, pts=range(count), container_format="h264")
    return _clip(
        path, count, size=size, pts=None, time_base=Fraction(1, 1_200_000), frame_count=None
    )


def size_change(folder: Path) -> Clip:
    """A naked H.264 stream that goes on at another size."""
    path = folder / "size_change.h264"
    small, large = raw_h264(folder), raw_h264(folder, (192, 160))
    path.write_bytes(small.path.read_bytes() + large.path.read_bytes())
    return _clip(
        path,
        numbers=small.numbers + large.numbers,
        pts=None,
        time_base=small.time_base,
        frame_count=None,
    )


def times_out_of_order(folder: Path) -> Clip:
    """AVI, H.264 with B-frames: it has no place for times, so they come out of order."""
    path = folder / "times_out_of_order.avi"
    encode(path, _pictures(24), pts=range(24))
    return _clip(path, pts=None, time_base=Fraction(1, 25))


def metadata_not_utf8(folder: Path) -> Clip:
    """AVI, MPEG-4, with a comment in Latin-1."""
    path = folder / "metadata_not_utf8.avi"
    encode(path, _pictures(12), pts=range(12), codec="mpeg4", comment="caf\xe9 \xfc\xdf")
    assert b"caf\xe9" in path.read_bytes()
    ticks = tuple(range(12))
    return _clip(path, 12, pts=ticks, time_base=Fraction(1, 25))


def transport_stream(folder: Path) -> Clip:
    """MPEG-TS, H.264 without B-frames, a keyframe every 12 frames; times begin above 0."""
    path = folder / "transport_stream.ts"
    options = {"g": "12", "bf": "0", "sc_threshold": "0"}
    encode(path, _pictures(36), pts=range(36), codec_options=options)
    with av.open(str(path)) as container:
        pts = tuple(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    return _clip(path, 36, pts=pts, time_base=Fraction(1, 90_000))


def no_initial_keyframe(folder: Path) -> Clip:
    """The transport stream without its first 5 frames: only from frame 12 on it can be decoded."""
    whole = transport_stream(folder)
    with av.open(str(whole.path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    path = folder / "no_initial_keyframe.ts"
    path.write_bytes(whole.path.read_bytes()[positions[5] :])
    assert whole.pts is not None
    return _clip(
        path,
        numbers=tuple(range(12, 36)),
        pts=whole.pts[12:],
        time_base=whole.time_base,
        frame_count=31,
    )


def frame_lost(folder: Path) -> Clip:
    """The transport stream without frame 15; what a live view shows of it.

    FFmpeg notices the gap while it still holds frame 13, and marks that as damaged.
    """
    whole = transport_stream(folder)
    with av.open(str(whole.path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    content = whole.path.read_bytes()
    path = folder / "frame_lost.ts"
    path.write_bytes(content[: positions[15]] + content[positions[16] :])
    return _clip(
        path,
        numbers=(*range(13), *range(24, 36)),
        pts=None,
        time_base=whole.time_base,
        frame_count=None,
    )


def truncated(folder: Path) -> Clip:
    """An MP4 that was cut off inside frame 15, its index at the start."""
    path = folder / "truncated.mp4"
    options = {"movflags": "faststart"}
    encode(
        path,
        _pictures(24),
        pts=range(24),
        codec_options={"bf": "0"},
        container_options=options,
    )
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    position = positions[15]
    assert position is not None
    path.write_bytes(path.read_bytes()[: position + 5])
    return _clip(path, numbers=tuple(range(15)), pts=tuple(range(0, 15 * 512, 512)))


def damaged_middle(folder: Path) -> Clip:
    """MP4 of MPEG-4 keyframes, of which frames 5 and 6 are overwritten."""
    path = folder / "damaged_middle.mp4"
    encode(path, _pictures(12), pts=range(12), codec="mpeg4", codec_options={"g": "1"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in packets[5:7]:
        assert position is not None
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    left = [number for number in range(12) if number not in (5, 6)]
    return _clip(
        path,
        12,
        numbers=tuple(left),
        pts=tuple(number * 512 for number in left),
    )


def audio_only(folder: Path) -> Path:
    """An MP4 with one second of silence."""
    path = folder / "audio_only.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return path


def picture_folder(folder: Path, count: int = 11) -> Path:
    """PNGs named so that alphabetical order would be wrong, one of them broken, and a text."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(count):
        picture = cv2.cvtColor(marked_picture(number), cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(pictures / f"view{number}.png"), picture)
    (pictures / "view7b.png").write_bytes(b"not a picture")
    (pictures / "notes.txt").write_text("not a picture either", encoding="utf-8")
    return pictures


def sideways_jpeg(folder: Path) -> Path:
    """A JPEG whose EXIF orientation (6) asks to be turned clockwise."""
    lying = np.ascontiguousarray(np.rot90(marked_picture(5)))
    encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(lying, cv2.COLOR_RGB2BGR))
    assert encoded
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = folder / "sideways.jpg"
    path.write_bytes(jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:])
    return path


CLIPS: dict[str, Callable[[Path], Clip]] = {
    "constant_rate": constant_rate,
    "variable_rate": variable_rate,
    "rotated_90": lambda folder: rotated(folder, 90),
    "rotated_180": lambda folder: rotated(folder, 180),
    "rotated_270": lambda folder: rotated(folder, 270),
    "odd_size_444": odd_size_444,
    "hevc": hevc,
    "vp9": vp9,
    "no_duration": no_duration,
    "raw_h264": raw_h264,
    "size_change": size_change,
    "times_out_of_order": times_out_of_order,
    "metadata_not_utf8": metadata_not_utf8,
    "transport_stream": transport_stream,
    "no_initial_keyframe": no_initial_keyframe,
    "truncated": truncated,
    "damaged_middle": damaged_middle,
}
"""Every clip that plays to its end with a known outcome."""
