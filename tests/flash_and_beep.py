"""Clips in which a white picture and a beep begin at the same moment, and what is left of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

FLASH_PICTURES = 2
BEEP_SECONDS = 0.08
BEEP_HZ = 1000
SIZE = (128, 96)  # (width, height) px


def every_second(number: int) -> bool:
    """Which pictures of 25 a second are white."""
    return number % 25 in (10, 11)


def write_clip(
    path: Path,
    milliseconds: Sequence[int],
    *,
    is_white: Callable[[int], bool] = every_second,
    sound: str | None = "aac",
    sound_rate: int = 48_000,
    sound_from: float = 0.0,
    sound_seconds: float | None = None,
) -> Path:
    """Write pictures at these times, without B-frames, and a sound.

    Args:
        path: of the file.
        milliseconds: when each picture is shown.
        is_white: whether a picture is, by its number; else it is dark.
        sound: its encoder, None for none.
        sound_rate: Hz.
        sound_from: seconds at which it begins.
        sound_seconds: of its end; by default that of the last picture.
    """
    until = milliseconds[-1] / 1000 + 0.04 if sound_seconds is None else sound_seconds
    whites = [is_white(number) for number in range(len(milliseconds))]
    begins = [
        milliseconds[number] / 1000
        for number, white in enumerate(whites)
        if white and not (number and whites[number - 1])
    ]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"g": "25", "bf": "0"})
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        audio: Any = None if sound is None else container.add_stream(sound, rate=sound_rate)
        if audio is not None:
            audio.layout = "mono"
        for when, white in zip(milliseconds, whites, strict=True):
            picture = np.full((SIZE[1], SIZE[0], 3), 235 if white else 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pict_type = PictureType.NONE
            frame.pts, frame.time_base = when, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            wave = wave_of(begins, sound_rate, until)[round(sound_from * sound_rate) :]
            samples = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            samples.sample_rate, samples.time_base = sound_rate, Fraction(1, sound_rate)
            samples.pts = round(sound_from * sound_rate)
            resampler = av.AudioResampler(audio.format, "mono", sound_rate)
            for part in [*resampler.resample(samples), None]:
                container.mux(audio.encode(part))
    return path


def wave_of(begins: Sequence[float], rate: int, seconds: float) -> np.ndarray:
    """Beeps that begin at these seconds, 16 bits."""
    times = np.arange(round(seconds * rate)) / rate
    wave = 20_000 * np.sin(2 * np.pi * BEEP_HZ * times)
    beeps = np.zeros(len(times), bool)
    for begin in begins:
        beeps |= (times >= begin) & (times < begin + BEEP_SECONDS)
    return (wave * beeps).astype(np.int16)


def flashes(path: Path) -> list[float]:
    """Seconds at which pictures turn white."""
    with av.open(str(path)) as container:
        seen = [
            (
                float(frame.pts * frame.time_base),
                frame.to_ndarray(format="gray")[60:, 60:].mean() > 128,
            )
            for frame in container.decode(video=0)
        ]
    whites = [False, *(white for _, white in seen)]
    return [
        when for (when, white), before in zip(seen, whites, strict=False) if white and not before
    ]


def beeps(path: Path) -> list[float]:
    """Seconds at which the sound gets loud."""
    found: list[float] = []
    for when, loud in loudness(path):
        if loud and (not found or when - found[-1] > 3 * BEEP_SECONDS):
            found.append(when)
    return found


def loudness(path: Path) -> list[tuple[float, bool]]:
    """Seconds of each millisecond of sound, and whether it is loud."""
    heard: list[tuple[float, bool]] = []
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                assert part.pts is not None
                begin, step = float(part.pts * part.time_base), max(1, stream.rate // 1000)
                samples = np.abs(part.to_ndarray()[0])
                heard += [
                    (begin + k / stream.rate, bool(samples[k : k + step].max() > 0.2))
                    for k in range(0, len(samples), step)
                ]
    return heard
