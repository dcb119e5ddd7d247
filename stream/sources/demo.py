"""Moving pictures of real people without a file or a network."""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stream.errors import UsageError
from stream.frame import Image
from stream.sources.drawn import Drawn

WIDTH, HEIGHT = 854, 480
FRAME_RATE = 30
FRAME_COUNT = 300  # also the period of all motion, so that an endless demo has no seam

_HORIZON = 232  # px row of camera.png at which the field meets the sky
_FEATHER = 0.07  # of a tile's shorter side: a soft edge, because a hard one looks like an object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    """One photograph on its way through the picture.

    Attributes:
        photograph: file name inside scikit-image.
        crop: (left, top, right, bottom) px of the photograph.
        mirrored: shown as in a mirror.
        height: px of its tile in the picture, at its largest.
        zoom: the part of its height it loses at its smallest.
        anchor: the part of its tile above the point that ``centre`` and ``zoom`` speak of.
        centre: (x, y) px in the picture, the middle of its way.
        reach: (x, y) px it moves away from there, at most.
        turns: (x, y, zoom) periods of each motion in FRAME_COUNT frames.
        phase: radians by which its motion is ahead.
    """

    photograph: str
    crop: tuple[int, int, int, int]
    mirrored: bool
    height: int
    zoom: float
    anchor: float
    centre: tuple[float, float]
    reach: tuple[float, float]
    turns: tuple[int, int, int]
    phase: float

    def matrix(self, k: int, tile_size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """(2,3) float64: from tile px to picture px at frame ``k``; ``tile_size`` is (w, h)."""
        angle = 2 * math.pi * k / FRAME_COUNT
        x_turns, y_turns, zoom_turns = self.turns
        scale = 1 - self.zoom * (0.5 - 0.5 * math.cos(zoom_turns * angle + self.phase))
        x = self.centre[0] + self.reach[0] * math.sin(x_turns * angle + self.phase)
        y = self.centre[1] + self.reach[1] * math.sin(y_turns * angle + 2 * self.phase)
        width, height = tile_size
        return np.array(
            [[scale, 0, x - scale * width / 2], [0, scale, y - scale * height * self.anchor]]
        )


# From back to front. The man stays on the horizon of the field he was photographed in, which is
# also the backdrop: his tile has no visible edge.
_ACTORS = (
    _Actor(
        photograph="camera.png",
        crop=(0, 14, 512, 512),
        mirrored=False,
        height=440,
        zoom=0.2,
        anchor=(_HORIZON - 14) / (512 - 14),
        centre=(620, _HORIZON * HEIGHT / 512),
        reach=(70, 0),
        turns=(1, 1, 2),
        phase=2.4,
    ),
    _Actor(
        photograph="astronaut.png",
        crop=(0, 0, 512, 512),
        mirrored=False,
        height=392,
        zoom=0.24,
        anchor=1,
        centre=(206, 452),
        reach=(38, 10),
        turns=(1, 2, 1),
        phase=0.4,
    ),
    _Actor(
        photograph="astronaut.png",
        crop=(0, 0, 372, 512),
        mirrored=True,
        height=214,
        zoom=0.18,
        anchor=1,
        centre=(432, 462),
        reach=(300, 6),
        turns=(2, 1, 3),
        phase=1.0,
    ),
)


class DemoPicture:
    """Draws frame ``k`` of the demo: a pure function of ``k`` with the period FRAME_COUNT."""

    def __init__(self) -> None:
        self._tiles = [(actor, _tile(actor)) for actor in _ACTORS]
        self._backdrop = _backdrop()

    def draw(self, k: int) -> Image:
        """(HEIGHT,WIDTH,3) uint8 RGB, newly allocated."""
        k %= FRAME_COUNT
        image = self._backdrop.copy()
        for actor, tile in self._tiles:
            _paste(image, tile, actor.matrix(k, (tile.shape[1], tile.shape[0])))
        return image


class Demo(Drawn):
    """The demo as a source of FRAME_COUNT frames, or live without an end."""

    def __init__(self, uri: str, *, is_live: bool) -> None:
        _photograph_folder()
        super().__init__(
            uri,
            lambda: DemoPicture().draw,
            size=(WIDTH, HEIGHT),
            frame_rate=FRAME_RATE,
            frame_count=FRAME_COUNT,
            is_live=is_live,
        )


@functools.cache
def _photograph_folder() -> Path:
    """Where scikit-image keeps its pictures, found without its slow import."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UsageError("The demo shows photographs from scikit-image: pip install scikit-image.")
    return Path(spec.origin).parent / "data"


def _photograph(name: str) -> Image:
    """(512,512,3) uint8 RGB: one of scikit-image's photographs."""
    path = _photograph_folder() / name
    photograph = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if photograph is None:
        raise UsageError(f"The demo cannot read {path}: install scikit-image again.")
    return np.asarray(photograph, dtype=np.uint8)


def _tile(actor: _Actor) -> npt.NDArray[np.uint8]:
    """(H,W,4) uint8: the actor's photograph, multiplied by its alpha, and that alpha."""
    left, top, right, bottom = actor.crop
    photograph = _photograph(actor.photograph)[top:bottom, left:right]
    if actor.mirrored:
        photograph = photograph[:, ::-1]
    width = round(actor.height * photograph.shape[1] / photograph.shape[0])
    scaled = cv2.resize(photograph, (width, actor.height), interpolation=cv2.INTER_AREA)
    alpha = _soft_rectangle(width, actor.height)
    tile = np.dstack([scaled * alpha[..., None], alpha * 255])
    return np.ascontiguousarray(np.rint(tile).astype(np.uint8))


def _soft_rectangle(width: int, height: int) -> npt.NDArray[np.float64]:
    """(height,width) float64 in 0..1: 1 inside, falling smoothly to 0 at every edge."""
    feather = _FEATHER * min(width, height)

    def edge(size: int) -> npt.NDArray[np.float64]:
        distance = np.minimum(np.arange(size), np.arange(size)[::-1])
        ramp = np.clip(distance / feather, 0, 1)
        return np.asarray(ramp * ramp * (3 - 2 * ramp))

    return np.outer(edge(height), edge(width))


def _backdrop() -> Image:
    """(HEIGHT,WIDTH,3) uint8: the empty field behind the man with the camera, made wide."""
    photograph = _photograph("camera.png")[..., 0]
    empty = photograph[:, 450:].astype(np.float64)  # the columns he and his tripod leave free
    row_size = (1, HEIGHT)
    light = cv2.resize(empty.mean(axis=1, keepdims=True), row_size)
    roughness = cv2.resize(cv2.blur(empty.std(axis=1, keepdims=True), (1, 9)), row_size)
    roughness = np.minimum(roughness, 16)  # distant trees are no snowstorm
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 0.8)
    field = light + roughness * noise / noise.std()
    grey = np.rint(field).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _paste(image: Image, tile: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64]) -> None:
    """Lay ``tile`` over ``image`` in place, moved and scaled by ``matrix`` (2,3)."""
    height, width = tile.shape[:2]
    x0, y0 = matrix[:, 2]
    x1, y1 = matrix @ (width, height, 1)
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(WIDTH, math.ceil(x1)), min(HEIGHT, math.ceil(y1))
    shifted = matrix - np.array([[0, 0, left], [0, 0, top]])
    warped = cv2.warpAffine(tile, shifted, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    region = image[top:bottom, left:right]
    behind = cv2.cvtColor(255 - warped[..., 3], cv2.COLOR_GRAY2RGB)
    region[...] = cv2.add(cv2.multiply(region, behind, scale=1 / 255), warped[..., :3])
