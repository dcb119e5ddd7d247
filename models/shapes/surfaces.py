"""Backgrounds, colours and light: everything in a picture that is no object."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_OCTAVES = (3, 7, 19)  # places across the picture at which each layer of noise has a value
_LEAST_CONTRAST = 90.0  # RGB distance of an object's colour from the background's mean
_SENSOR_NOISE = 2.5  # standard deviation, of 255
_GRAIN = 48  # px by which the noise is larger than a picture, so that each frame's is another


def noise(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Smooth noise (H,W) float32 in 0..1 of ``size`` (width, height) px."""
    total = np.zeros((size[1], size[0]), np.float32)
    for octave, places in enumerate(_OCTAVES):
        layer = generator.random((places, places), np.float32) / 2**octave
        total += cv2.resize(layer, size, interpolation=cv2.INTER_CUBIC)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def background(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A textured picture (H,W,3) float32 in 0..255: clouds of two colours, strokes, blots."""
    first, second = (np.array(random_color(generator), np.float32) for _ in range(2))
    clouds = noise(generator, size)[..., None]
    picture: Floats = first * clouds + second * (1 - clouds)
    picture += np.float32(0.35) * (128 - picture)  # paler than most objects
    clutter = picture.copy()
    for _ in range(generator.integers(4, 14)):
        _stroke(generator, clutter, size)
    for _ in range(generator.integers(2, 6)):
        _blot(generator, clutter, size)
    cv2.addWeighted(picture, 0.5, clutter, 0.5, 0.0, picture)
    return picture


def _stroke(generator: np.random.Generator, picture: Floats, size: tuple[int, int]) -> None:
    ends = (generator.random((2, 2)) * size).astype(int).tolist()
    width = int(generator.integers(1, max(3, min(size) // 40)))
    cv2.line(picture, ends[0], ends[1], random_color(generator), width, cv2.LINE_AA)


def _blot(generator: np.random.Generator, picture: Floats, size: tuple[int, int]) -> None:
    """An ellipse with soft edges, which is no circle."""
    centre = (generator.random(2) * size).astype(int).tolist()
    long = float(generator.uniform(0.06, 0.18)) * min(size)
    axes = [max(1, round(long)), max(1, round(long * generator.uniform(0.25, 0.5)))]
    layer = np.zeros(picture.shape[:2], np.uint8)
    cv2.ellipse(layer, centre, axes, float(generator.uniform(0, 180)), 0, 360, 255, cv2.FILLED)
    soft = max(3, round(long / 2))
    cover = (
        cv2.blur(cv2.blur(layer, (soft, soft)), (soft, soft)).astype(np.float32)[..., None] / 255
    )
    picture += cover * (np.array(random_color(generator), np.float32) - picture)


def random_color(generator: np.random.Generator) -> tuple[float, float, float]:
    """RGB, each 0..255."""
    hue, saturation, value = generator.uniform((0, 0.2, 0.25), (1, 1, 1))
    red, green, blue = (255 * part for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def color_against(generator: np.random.Generator, behind: Floats) -> Floats:
    """A colour (3,) float32 that differs clearly from ``behind`` (3,)."""
    while True:
        color = np.array(random_color(generator), np.float32)
        if float(np.linalg.norm(color - behind)) >= _LEAST_CONTRAST:
            return color


class Light:
    """A light that falls from one side and swells slowly; and the camera's noise.

    Args:
        generator: of the world.
        size: (width, height) px.
    """

    def __init__(self, generator: np.random.Generator, size: tuple[int, int]) -> None:
        width, height = size
        angle, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0.0, 0.25)
        across = np.linspace(-1, 1, width, dtype=np.float32) * float(np.cos(angle))
        down = np.linspace(-1, 1, height, dtype=np.float32) * float(np.sin(angle))
        self._field = (1 + slope * (across[None] + down[:, None])).astype(np.float32)[..., None]
        self._gain, self._swing = generator.uniform(0.8, 1.1), generator.uniform(0.0, 0.15)
        self._period, self._phase = generator.uniform(60, 200), generator.uniform(0, 2 * np.pi)
        grain = generator.standard_normal((height + _GRAIN, width + _GRAIN, 3), np.float32)
        self._grain = grain * np.float32(_SENSOR_NOISE)

    def shine(self, picture: Floats, k: int) -> npt.NDArray[np.uint8]:
        """The picture (H,W,3) float32 as the camera sees it in frame ``k``, uint8."""
        wave = np.sin(2 * np.pi * k / self._period + self._phase)
        gain = np.float32(self._gain + self._swing * wave)
        top, left = 37 * k % _GRAIN, 101 * k % _GRAIN
        grain = self._grain[top : top + picture.shape[0], left : left + picture.shape[1]]
        lit = picture * (self._field * gain)
        lit += grain
        return np.clip(np.rint(lit, out=lit), 0, 255, out=lit).astype(np.uint8)
