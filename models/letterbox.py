"""Geometry between a frame and the canvas a model looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A frame resized into the top left corner of a canvas.

    Attributes:
        frame_size: (width, height) px of the frame.
        resized_size: (width, height) px of the frame on the canvas.
    """

    frame_size: tuple[int, int]
    resized_size: tuple[int, int]

    @classmethod
    def by_sides(
        cls, frame_size: tuple[int, int], *, min_side: float, max_side: float
    ) -> Letterbox:
        """As ``GeneralizedRCNNTransform`` resizes, to the pixel.

        The shorter side becomes ``min_side`` px unless the longer would pass ``max_side`` px.
        """
        scale = min(min_side / min(frame_size), max_side / max(frame_size))
        width, height = (max(1, math.floor(side * scale)) for side in frame_size)
        return cls(frame_size, (width, height))

    @classmethod
    def inside(cls, frame_size: tuple[int, int], canvas_size: tuple[int, int]) -> Letterbox:
        """As large as fits into a canvas of (width, height) px with the proportions kept.

        A canvas that one scale makes of the frame, sides rounded down, is filled: so is what
        ``by_sides`` gave it.
        """
        (frame_width, frame_height), (width, height) = frame_size, canvas_size
        if (
            width * frame_height <= (height + 1) * frame_width
            and height * frame_width <= (width + 1) * frame_height
        ):
            return cls(frame_size, canvas_size)
        scale = min(width / frame_width, height / frame_height)
        resized_width, resized_height = (
            max(1, math.floor(side * scale + 1e-9)) for side in frame_size
        )
        return cls(frame_size, (resized_width, resized_height))

    @property
    def scale(self) -> tuple[float, float]:
        """Source pixels per canvas pixel, (x, y)."""
        return (
            self.frame_size[0] / self.resized_size[0],
            self.frame_size[1] / self.resized_size[1],
        )

    def resize(self, image: Image) -> Image:
        """The frame (H,W,3) at ``resized_size``, bilinear without anti-aliasing."""
        if self.resized_size == self.frame_size:
            return image
        resized = cv2.resize(image, self.resized_size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def boxes_to_frame(self, boxes: Floats) -> Floats:
        """Boxes (N,4) xyxy from canvas px to source px, clipped to the frame."""
        scaled = boxes * np.array(self.scale * 2, np.float32)
        return np.asarray(np.clip(scaled, 0, np.array(self.frame_size * 2, np.float32)))

    def keypoints_to_frame(self, keypoints: Floats) -> Floats:
        """Keypoints (N,K,3) of x, y, score from canvas px to source px."""
        return keypoints * np.array((*self.scale, 1), np.float32)
