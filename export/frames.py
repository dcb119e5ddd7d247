"""Real pictures: to calibrate an export with, and to prove it with."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from models.errors import DataError, UsageError
from models.letterbox import Image

DEMO = "demo"  # in place of a path: photographs that come with scikit-image
CALIBRATION_PHASE, PROOF_PHASE = 0.0, 0.5  # an export is proven on frames it was not made with

_PHOTOGRAPHS = ("astronaut.png", "camera.png", "coffee.png", "chelsea.png", "motorcycle_left.png")
_CUT_AWAY = 0.3  # of a photograph's sides, at most
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def load_frames(source: Path, count: int, *, phase: float, option: str) -> list[Image]:
    """Up to ``count`` frames, spread evenly over all there are.

    Args:
        source: a video, a picture, a folder of pictures, or ``DEMO``.
        count: how many.
        phase: 0..1, where between two of them the first one is taken.
        option: the command line option it was given with, for the message.

    Returns:
        RGB (h,w,3) uint8 each.

    Raises:
        UsageError: if there is no such file.
        DataError: if nothing in it can be read.
    """
    if str(source) == DEMO:
        return demo_frames(count, phase=phase)
    if not source.exists():
        raise UsageError(f"{option} {source} does not exist: give a video, a folder, or '{DEMO}'.")
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix.lower() in _SUFFIXES)
        return [_picture(path) for path in _spread(files, count, phase)] or _nothing(source, option)
    if source.suffix.lower() in _SUFFIXES:
        return [_picture(source)]
    return _video_frames(source, count, phase) or _nothing(source, option)


def frame_size(video: Path, option: str) -> tuple[int, int]:
    """(width, height) px of a video's or picture's frames. Raises as ``load_frames``."""
    height, width = load_frames(video, 1, phase=0.0, option=option)[0].shape[:2]
    return width, height


def demo_frames(count: int, *, phase: float = PROOF_PHASE) -> list[Image]:
    """Cuts of photographs of people and things; another ``phase`` gives other cuts."""
    spec = importlib.util.find_spec("skimage")  # without its slow import
    if spec is None or spec.origin is None:
        raise UsageError("The demo is photographs from scikit-image: pip install scikit-image.")
    folder = Path(spec.origin).parent / "data"
    frames = []
    for number in range(count):
        photograph = _picture(folder / _PHOTOGRAPHS[number % len(_PHOTOGRAPHS)])
        height, width = photograph.shape[:2]
        cut = _CUT_AWAY * (number + phase) / count
        frame = photograph[int(cut * height / 2) :, int(cut * width) :]
        mirrored = number // len(_PHOTOGRAPHS) % 2 == 1
        frames.append(np.ascontiguousarray(frame[:, ::-1] if mirrored else frame))
    return frames


def _spread(files: list[Path], count: int, phase: float) -> list[Path]:
    number = min(count, len(files))
    return [files[int((at + phase) * len(files) / number)] for at in range(number)]


def _picture(path: Path) -> Image:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DataError(f"{path} cannot be read as a picture: it is damaged or none.")
    return np.asarray(picture, np.uint8)


def _video_frames(path: Path, count: int, phase: float) -> list[Image]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video in it.")
            return list(_at_even_times(container, count, phase))
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or "its data is damaged"
        raise DataError(f"{path} cannot be read as a video: {reason}.") from error


def _at_even_times(
    container: av.container.InputContainer, count: int, phase: float
) -> Iterator[Image]:
    stream = container.streams.video[0]
    duration = container.duration  # in av.time_base, µs
    if not duration:  # such as a raw stream: the first ones must do
        for number, frame in enumerate(container.decode(stream)):
            if number == count:
                return
            yield _as_image(frame)
        return
    begin = container.start_time or 0
    for number in range(count):
        wanted = begin + int((number + phase) * duration / count)
        container.seek(wanted)
        found = _first_from(container, stream, wanted / av.time_base)
        if found is not None:
            yield _as_image(found)


def _first_from(
    container: av.container.InputContainer, stream: av.VideoStream, seconds: float
) -> av.VideoFrame | None:
    """The first frame from a time on, or the last one before the end."""
    last = None
    for frame in container.decode(stream):
        last = frame
        if frame.time is None or frame.time >= seconds:
            break
    return last


def _as_image(frame: av.VideoFrame) -> Image:
    """Upright, as a run of the pipeline sees it."""
    quarter_turns = round(frame.rotation / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns), np.uint8)


def _nothing(source: Path, option: str) -> list[Image]:
    raise DataError(
        f"{option} {source} has no picture in it: give a video or a folder of pictures."
    )
